# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim an app's name on a host, and reject damage that a claim can't repair."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import faults


def claim(layout: Layout, environment: str, *, dry: bool = False) -> list[str]:
    """Claim the app's name on the host for this environment, and make its directories; return the paths that changed.

    Also repair damage if nothing is lost by that. Any other damage stops a deploy before this step.

    Raises:
        Refused: the host is not stamped, and something else uses the app's name; or the stamp is damaged.
    """
    found = faults(layout, environment)
    for fault in () if dry else found:
        if fault.repair:
            fault.repair()
        elif fault.path == layout.environment_id:
            raise Refused(fault.finding)
    return [str(fault.path) for fault in found if fault.repair]


def refuse_damage(layout: Layout, environment: str) -> None:
    """Reject the damage that a deploy would reject, except that of the site, which isn't published here.

    Raises:
        Refused: there is damage that only people can repair.
    """
    found = [fault.finding for fault in faults(layout, environment, publishes=False) if not fault.repair]
    if found:
        raise Refused(*found, heading=f"{layout.app} is damaged on this host. Nothing was changed.")
