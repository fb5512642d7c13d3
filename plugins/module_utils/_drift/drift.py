# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: where a host differs from the inventory, or a process from its release. Reads only.

A new revision of the code that is not deployed yet, with its lock, is not drift: source, venv and revision of the live
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
    """Check a host, see :class:`.look.Look`. Each check adds to the report and skips what is already in it.

    Args:
        name: the inventory, as typed on the command line.
    """
    look, report = Look(layout, wanted, name, edge), Report()
    stamped = stamp(look, report)
    if stamped is None:
        return report
    lock(look, report)
    compared = environment(look, report, stamped)
    unfinished(look, report)
    history(look, report)
    live = live_release(look, report)
    if report.release:
        units(look, report, report.release)
    if live:
        made = files(look, report, live)
        process(look, report, live)
        code(look, report, live)
        if made and compared:
            inventory(look, report, live, made)
    superfluous_releases(look, report)
    if wanted.site and compared:
        edge_of(look, report, wanted.site)
    return report
