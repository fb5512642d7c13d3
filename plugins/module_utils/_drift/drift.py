# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: where a host is not what the inventory says, or a process not what its release says. Reads only.

What was not deployed yet, a new revision of the code with its lock, is not drift: source, venv and revision of the live
release are taken as they are.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge

from .code import code
from .edge import edge_of
from .files import files
from .host import environment, history, lock, stamp, unfinished
from .inventory import inventory
from .look import Look, Report, Wanted
from .process import process
from .units import live_release, superfluous_releases, units


def drift(layout: Layout, wanted: Wanted, name: str = "<inventory>", edge: Edge | None = None) -> Report:
    """Look at a host, see :class:`.look.Look`. Each check adds to the report; a later one leaves out what is in it.

    Args:
        name: the inventory as it is typed.
    """
    look = Look(layout, wanted, name, edge)
    stamped = stamp(look)
    if stamped is None:
        return look.report
    lock(look)
    environment(look, stamped)
    unfinished(look)
    history(look)
    live = live_release(look)
    if look.report.release:
        units(look, look.report.release)
    if live:
        made = files(look, live)
        process(look, live)
        code(look, live)
        if made and look.compared:
            inventory(look, live, made)
    superfluous_releases(look)
    if wanted.site and look.compared:
        edge_of(look, wanted.site)
    return look.report
