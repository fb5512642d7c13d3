# SPDX-License-Identifier: GPL-3.0-or-later
"""Take an app's name on a host, and refuse what a claim could not repair."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import faults


def claim(layout: Layout, environment: str, *, dry: bool = False) -> list[str]:
    """Take the app's name on the host for this environment, and make the app's directories; return what was not as it
    must be.

    Also repair what somebody damaged, as far as nothing is lost by that. The rest stops a deploy before this step.

    Raises:
        Refused: the host is not stamped, and somebody else has the app's name; or its stamp is damaged.
    """
    found = faults(layout, environment)
    for fault in () if dry else found:
        if fault.repair:
            fault.repair()
        elif fault.path == layout.environment_id:
            raise Refused(fault.finding)
    return [str(fault.path) for fault in found if fault.repair]


def refuse_damage(layout: Layout, environment: str) -> None:
    """Refuse to work with state that a deploy refuses, too; that of the site apart, which nobody publishes here.

    Raises:
        Refused: there is some that only people can repair.
    """
    found = [fault.finding for fault in faults(layout, environment, publishes=False) if not fault.repair]
    if found:
        raise Refused(*found, heading=f"{layout.app} can't be used as it is on this host. Nothing was changed.")
