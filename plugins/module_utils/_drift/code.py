# SPDX-License-Identifier: GPL-3.0-or-later
"""The source and the venv of the live release."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._build.built import is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    Release,
)

from . import integrity
from .look import NAMED, Look, Report


def code(look: Look, report: Report, live: Release) -> None:
    layout = look.layout
    source, venv = (str(live.manifest.get(name)) for name in ("source", "venv"))
    fresh = f"Deploy a new revision of the code, which is unpacked into a new directory: {look.play} site.yml"
    locked = f"Change the lock, which makes a new venv, and deploy: {look.play} site.yml"
    again = locked if is_complete(layout.venvs / venv) else look.deploy
    for kind, checked, fix in (
        ("source", integrity.check_source(layout, source), fresh),
        ("venv", integrity.check_venv(layout.venvs / venv), again),
    ):
        for fault in checked.faults[:NAMED]:
            report.add(kind, fault.path, f"{fault.what}.", fix)
        more = len(checked.faults) - NAMED
        if more > 0:
            place = layout.sources / source if kind == "source" else layout.venvs / venv
            report.add(kind, place, f"{more} more files of {place} are damaged, too.", fix)
        report.unchecked += [checked.unchecked] if checked.unchecked else []
