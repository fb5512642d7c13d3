# SPDX-License-Identifier: GPL-3.0-or-later
"""Start what takes work by itself, such as a worker of a queue."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import Process
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases


def start_work(layout: Layout, release: str, seconds: float) -> Process | None:
    """Start the processes of ``release`` that take work by themselves; return the first that doesn't run after it.

    Only a release that has passed at the front door takes work. What the release before it has taken, it ends itself:
    it is asked to when it is retired.

    Args:
        seconds: that systemd waits for a start.
    """
    for process in Releases(layout).takers(release, of_requests=False):
        units = layout.units_of(release, [process])
        systemd.enable(layout, units)
        runs = all(systemd.state(unit).is_active for unit in units)
        if not (runs or systemd.start(units, seconds)):
            return process
    return None
