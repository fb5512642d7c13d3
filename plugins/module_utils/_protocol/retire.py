# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop every release but the live one, after its accepted requests."""

from __future__ import annotations

import os
import time

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import formerly_live, record
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, noted_release

from .work import end_work


def retire(layout: Layout, bounds: Bounds) -> dict[str, float]:
    """Stop every release but the live one, after its accepted requests; return the seconds for each.

    Stop nothing if there is no live release, because any running release is better than none; or while the live one is
    on trial, because the one before it may be needed again. An unreadable trial may be that of the live release.
    """
    live = Releases(layout).live()
    if not live or (os.path.lexists(layout.trial) and noted_release(layout.trial) in ("", live)):
        return {}
    seconds = {release: stop_release(layout, release, bounds) for release in superfluous(layout)}
    # Check the ledger, not this run: a killed run may have stopped a release without recording it.
    for release in formerly_live(layout):
        facts = {"seconds": seconds[release]} if release in seconds else {}
        record(layout, "retired", release, **facts)
    return seconds


def stop_release(layout: Layout, release: str, bounds: Bounds) -> float:
    """Let ``release`` finish its work and its accepted requests, and disable it; return the seconds it took.

    Its workers stop taking work while requests are still served.
    """
    began = time.monotonic()
    end_work(layout, release, bounds)
    systemd.wait_until_queue_is_empty(layout.socket(release), bounds.drain_seconds)
    systemd.disable(layout, layout.units_of(release))
    systemd.stop(layout.units_of(release), bounds.stop_seconds)
    return round(time.monotonic() - began, 2)
