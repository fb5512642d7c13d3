# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop processes that fetch their own work, such as workers of a queue."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import Process
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases


def start_work(layout: Layout, release: str, seconds: float) -> Process | None:
    """Start the processes of ``release`` that fetch their own work; return the first one that doesn't run then.

    Only a release that has passed at the front door takes work. The release before it finishes its own work when it is
    retired.

    Args:
        seconds: how long systemd waits for a start.
    """
    for process in Releases(layout).processes_taking(release, requests=False):
        units = layout.units_of(release, [process])
        runs = all(systemd.state(unit).is_active for unit in units)
        if not (runs or systemd.start(units, seconds)):
            return process
        systemd.enable(layout, units)
    return None


def refuse_work(layout: Layout, release: str) -> None:
    """Stop processes from fetching more work, also after a boot; don't wait for them."""
    units = _units(layout, release)
    if units:
        systemd.disable(layout, units)
        systemd.ask_to_stop(units)


def end_work(layout: Layout, release: str, bounds: Bounds) -> None:
    """Stop processes from fetching more work, also after a boot, and wait until they finish their current work."""
    units = _units(layout, release)
    if units:
        systemd.disable(layout, units)
        systemd.stop(units, bounds.stop_seconds)


def _units(layout: Layout, release: str) -> list[str]:
    """Return the units of all such processes that a release may have, whatever its manifest says."""
    return layout.units_of(release, [process for process in layout.processes if not process.takes_requests])
