# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the live release."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ansible_collections.greenlight.flask.plugins.module_utils._app import credentials
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release import process as processes
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    GUNICORN,
    Release,
)

from .look import Look
from .units import properties

#: Seconds by which systemd's time of a start, in whole seconds, may be too early.
CLOCK_SECONDS = 1


def process(look: Look, live: Release) -> None:
    layout = look.layout
    facts = properties(layout.service_unit(live.id))
    pid = int(facts.get("MainPID") or 0)
    running = processes.look(layout.root, pid) if pid else None
    if not running:
        return  # that it doesn't run is told of its unit
    again = look.again(live.id)
    name = f"process {pid}"
    if not running.titled and running.argv != processes.command_line(layout, live.id):
        what = f"The {name} was started with another command line than the unit of release {live.id} has."
        look.report.add("process", name, what, again)
    python = os.path.realpath(layout.release(live.id) / "venv/bin/python")
    if running.program.endswith(processes.DELETED):
        what = f"The {name} runs a Python that was replaced on this host since it started."
        look.report.add("process", name, what, again)
    elif running.program and running.program != python:
        what = f"The {name} runs {running.program}, and the venv of release {live.id} has {python}."
        look.report.add("process", name, what, again)
    _credentials(look, live, name)
    shown = _environment(look, live, running, name)
    _age(look, live, facts, name, shown=shown)


def _credentials(look: Look, live: Release, name: str) -> None:
    """Compare what systemd has handed over with the release's files."""
    path = look.layout.credentials(live.id)
    held = credentials.held(look.layout, live.id)
    loaded = credentials.loaded(look.layout, look.layout.service_unit(live.id)) if held else {}
    found = processes.compare(look.key(), held, loaded)
    for names, what in (
        (found.changed, f"have other values as credentials of the {name} than in {path}"),
        (found.missing, f"are in {path}, and no credentials of the {name}"),
    ):
        if names:
            look.add_variables("environment", names, what, look.again(live.id))


def _environment(look: Look, live: Release, process: processes.Running, name: str) -> bool:
    """Compare the process's variables with its release's; say whether the kernel shows them."""
    path = look.layout.environment_file(live.id)
    try:
        declared = processes.declared(look.layout, live.id)
    except Damaged:
        return True  # told of the file
    found = processes.compare_process(look.key(), declared, process)
    if not found:
        what = f"the environment of {name}, which has written its title over it (setproctitle)"
        look.report.unchecked.append(what)
        return False
    for names, what in (
        (found.changed, f"have other values in the {name} than in {path} and the unit"),
        (found.missing, f"are in {path} or the unit, and not in the {name}"),
        (found.extra, f"are in the {name}, and neither in {path} nor in the unit"),
    ):
        if names:
            look.add_variables("environment", names, what, look.again(live.id))
    return True


def _age(look: Look, live: Release, facts: Mapping[str, str], name: str, *, shown: bool) -> None:
    """Name what was written after the process has read it."""
    started = facts.get("ExecMainStartTimestamp", "").removeprefix("@")
    home = look.layout.release(live.id)
    paths = [home / GUNICORN, *look.layout.settings_files(live.id)]
    paths += [] if shown else [look.layout.environment_file(live.id)]
    told = {finding.subject for finding in look.report.findings}
    for path in paths if started.isdigit() else []:
        if path.exists() and path.stat().st_mtime > int(started) + CLOCK_SECONDS and str(path) not in told:
            what = f"{path} was written after the {name} had started."
            look.report.add("process", path, what, look.again(live.id))
