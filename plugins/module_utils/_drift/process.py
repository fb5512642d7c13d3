# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the processes of the live release."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.greenlight.flask.plugins.module_utils._app import credentials
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._release import process as processes
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import GUNICORN, Release

from .look import Look, Report
from .units import properties

#: systemd reports the time of a start in whole seconds, so it may be too early by this much.
CLOCK_SECONDS = 1


@dataclass(frozen=True)
class Compared:
    """A running process of the live release.

    Args:
        look: the context of the checks.
        report: collects the findings.
        live: the release.
        kind: of process.
        facts: of its service, see :func:`~.units.properties`.
        running: the process as the kernel shows it.
    """

    look: Look
    report: Report
    live: Release
    kind: Process
    facts: Mapping[str, str]
    running: processes.Running

    @property
    def name(self) -> str:
        return f"process {self.facts['MainPID']}"

    @property
    def service(self) -> str:
        return self.look.layout.service_unit(self.live.id, self.kind)

    def add(self, subject: object, what: str) -> None:
        self.report.add("process", subject, what, self.again)

    def add_variables(self, names: Sequence[str], what: str) -> None:
        self.report.add_variables("environment", names, what, self.again)

    @property
    def again(self) -> str:
        return self.look.again(self.live.id, processes=[self.kind])


def process(look: Look, report: Report, live: Release) -> None:
    for kind in look.releases.processes(live.id):
        facts = properties(look.layout.service_unit(live.id, kind))
        pid = int(facts.get("MainPID") or 0)
        running = processes.look(look.layout.root, pid) if pid else None
        if running:  # if not, its unit has a finding
            compared = Compared(look, report, live, kind, facts, running)
            _program(compared)
            _credentials(compared)
            _age(compared, shown=_environment(compared))


def _program(of: Compared) -> None:
    layout, running = of.look.layout, of.running
    if not running.titled and running.argv != processes.command_line(layout, of.live.id, of.kind):
        what = f"The command line of {of.name} differs from the unit of release {of.live.id}."
        of.add(of.name, what)
    python = os.path.realpath(layout.release(of.live.id) / "venv/bin/python")
    if running.program.endswith(processes.DELETED):
        of.add(of.name, f"The {of.name} runs a Python that was replaced on this host after it started.")
    elif running.program and running.program != python:
        what = f"The {of.name} runs {running.program}, but the venv of release {of.live.id} has {python}."
        of.add(of.name, what)


def _credentials(of: Compared) -> None:
    """Compare the credentials that systemd has passed to the process with the release's files."""
    layout = of.look.layout
    path = layout.credentials(of.live.id)
    held = credentials.held(layout, of.live.id)
    found = processes.compare(of.look.key(), held, credentials.loaded(layout, of.service) if held else {})
    of.add_variables(found.changed, f"Credentials of the {of.name} have different values than in {path}")
    of.add_variables(found.missing, f"The {of.name} lacks credentials of {path}")


def _environment(of: Compared) -> bool:
    """Compare the process's variables with its release's; say whether the kernel shows them."""
    path = of.look.layout.environment_file(of.live.id)
    try:
        declared = processes.declared(of.look.layout, of.live.id, of.kind)
    except Damaged:
        return True  # reported for the file
    found = processes.compare_process(of.look.key(), declared, of.running)
    if not found:
        what = f"the environment of {of.name}, which it has overwritten with its title (setproctitle)"
        of.report.unchecked.append(what)
        return False
    of.add_variables(found.changed, f"The {of.name} has different values than {path} and the unit")
    of.add_variables(found.missing, f"The {of.name} lacks variables of {path} or the unit")
    of.add_variables(found.extra, f"The {of.name} has variables that neither {path} nor the unit has")
    return True


def _age(of: Compared, *, shown: bool) -> None:
    """Report files that were written after the process has read them."""
    layout, started = of.look.layout, of.facts.get("ExecMainStartTimestamp", "").removeprefix("@")
    paths = [layout.release(of.live.id) / GUNICORN] if of.kind.takes_requests else []
    paths += layout.settings_files(of.live.id, of.kind)
    paths += [] if shown else [layout.environment_file(of.live.id)]
    reported = {finding.subject for finding in of.report.findings}
    for path in paths if started.isdigit() else []:
        if path.exists() and path.stat().st_mtime > int(started) + CLOCK_SECONDS and str(path) not in reported:
            of.add(path, f"{path} was written after the {of.name} started.")
