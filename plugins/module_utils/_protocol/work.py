# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and end what takes work by itself, such as a worker of a queue."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import Process
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases


def start_work(layout: Layout, release: str, seconds: float) -> Process | None:
    """Start the processes of ``release`` that take work by themselves; return the first that doesn't run after it.

    Only a release that has passed at the front door takes work. What the release before it has taken, it ends itself:
    it is asked to when it is retired.

    Args:
        seconds: that systemd waits for a start.
    """
    for process in Releases(layout).processes_taking(release, requests=False):
        units = layout.units_of(release, [process])
        runs = all(systemd.state(unit).is_active for unit in units)
        if not (runs or systemd.start(units, seconds)):
            return process
        systemd.enable(layout, units)
    return None


def refuse_work(layout: Layout, release: str) -> None:
    """Let what takes work by itself take no more, nor after a boot; wait for nothing."""
    units = _units(layout, release)
    if units:
        systemd.disable(layout, units)
        systemd.ask_to_stop(units)


def end_work(layout: Layout, release: str, bounds: Bounds) -> None:
    """Let what takes work by itself end what it has, and take no more, nor after a boot."""
    units = _units(layout, release)
    if units:
        systemd.disable(layout, units)
        systemd.stop(units, bounds.stop_seconds)


def _units(layout: Layout, release: str) -> list[str]:
    """Of all that a release may have: what is there decides, not what it says of itself."""
    return layout.units_of(release, [process for process in layout.processes if not process.takes_requests])
