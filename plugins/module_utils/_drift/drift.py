# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: where a host is not what the inventory says, or a process not what its release says. Reads only.

What was not deployed yet, a new revision of the code with its lock, is no drift: source, venv and revision of the live
release are taken as they are.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, credentials
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout, release_of
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import break_lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import damage as damage_of_lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import starts_at_boot
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    environment_texts,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
    leads,
    read_facts,
    readable,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import unreadable
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.live import superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release import process as processes
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import proof_of
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    KEY_BYTES,
    key,
    lost_stamp,
    other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import (
    faults,
    is_rest_of_removal,
    is_socket,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    COMMAND,
    GUNICORN,
    HOOKS,
    MANIFEST,
    PROVED,
    Release,
    Releases,
    Specification,
    as_made,
    noted_release,
)

from . import integrity

#: Part of a release -> the variables of the role that make it.
PARTS = {
    "gunicorn": "flask_app_gunicorn_* and flask_app_wsgi",
    "drop_in": "flask_app_service_*",
    "service": "the role's template of the unit",
    "socket": "the role's template of the socket",
    "command": "flask_app_release_command",
    "hooks": "this version of the collection has another one",
}
#: Seconds by which systemd's time of a start, in whole seconds, may be too early.
CLOCK_SECONDS = 1
#: A unit that nobody edits. Since systemd 255 NeedDaemonReload= is "yes" for every unit after any "enable" without a
#: reload (unit_file_state_outdated in its manager.h), which says nothing of one unit.
REFERENCE = "systemd-journald.service"
#: Files of a source or a venv that are named; there may be thousands.
NAMED = 5
#: Where drop-ins lie that somebody made (systemd.unit(5)); ``.control`` is of systemctl set-property.
DROP_INS = ("etc/systemd/system", "etc/systemd/system.control", "run/systemd/system", "run/systemd/system.control")


@dataclass(frozen=True)
class Wanted:
    """What the inventory says.

    Args:
        environment: name of the environment.
        specification: the fields of a :class:`Specification` but variables, source, venv, revision and time.
        variables: the process's environment without release and revision.
        revision_variable: name under which the process gets its revision.
        site: what Nginx is told.
        present: whether the app is to be on the host.
    """

    environment: str
    specification: Mapping[str, Any]
    variables: Mapping[str, object]
    revision_variable: str
    site: Site | None = None
    present: bool = True

    def with_code_of(self, live: Release) -> Specification:
        """Describe the release that the inventory would make of the live release's code."""
        code = {name: str(live.manifest.get(name)) for name in ("source", "venv", "revision")}
        variables = {**self.variables, self.revision_variable: code["revision"]}
        return Specification(**{**self.specification, **code, "time": "", "variables": variables})


@dataclass
class Report:
    """What was found on a host: the live release, the drift, and what could not be checked, and why."""

    release: str = ""
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def add(self, kind: str, subject: object, what: str, fix: str) -> None:
        """Add a finding.

        Args:
            kind: its id: host, lock, live, unit, superfluous, unfinished, file, drop-in, process, venv, source,
                environment, inventory, history, nginx or certificate.
            subject: the file, unit or variables that it is about.
            what: a sentence that names it.
            fix: what to type.
        """
        self.findings.append(Finding(kind, ERROR, str(subject), what, fix))

    def lines(self, app: str, host: str) -> list[str]:
        """Tell it: a heading, a line for each finding, and a line for each thing that was not checked."""
        count = len(self.findings)
        drift = f"{count} {'finding' if count == 1 else 'findings'}" if count else "no drift"
        live = f"release {self.release} is live" if self.release else "no release is live"
        found = [f"{number}. {finding.id}: {finding}" for number, finding in enumerate(self.findings, start=1)]
        return [
            f"{app} on {host}: {drift}, {live}.",
            *found,
            *(f"Not fully checked: {each}." for each in self.unchecked),
        ]


class Look:
    """One look at a host.

    Args:
        layout: where the app lives.
        wanted: what the inventory says.
        inventory: the inventory as it is typed, for the fixes.
        edge: how users reach the app.
    """

    def __init__(
        self, layout: Layout, wanted: Wanted, inventory: str = "<inventory>", edge: Edge | None = None
    ) -> None:
        self.layout = layout
        self.wanted = wanted
        self.edge = edge or Edge(layout)
        self.releases = Releases(layout)
        self.report = Report()
        self._compared = True
        self._play = f"ansible-playbook -i {inventory}"
        self._deploy = f"Deploy: {self._play} site.yml"

    def report_all(self) -> Report:
        """Look at everything."""
        layout, add = self.layout, self.report.add
        unreadable_stamp = lost_stamp(layout, removal=not self.wanted.present)
        try:
            stamp = "" if unreadable_stamp else stamped(layout)
        except Damaged as error:  # told of the host
            stamp, unreadable_stamp = "", error
        if not self.wanted.present:
            if stamp is not None:
                what = f"{layout.app} is on this host, and the inventory says flask_app_state: absent."
                fix = self._deploy
                if unreadable_stamp and not is_rest_of_removal(layout):  # a removal would say so
                    what, fix = f"{what} Its stamp can't be used: {unreadable_stamp.why}.", unreadable_stamp.cure
                add("host", layout.environment_id, what, fix)
            return self.report
        if stamp is None:
            add("host", layout.environment_id, f"{layout.app} was never deployed to this host.", self._deploy)
            return self.report
        damage = damage_of_lock(layout)
        at_work = "" if damage else break_lock(layout, dry=True)
        if damage:
            add("lock", damage.path, f"{damage.path} can't be used: {damage.why}.", self._deploy)
        if at_work:
            fix = f"Look again when it has ended. If it is dead: {self._play} playbooks/unlock.yml"
            add("lock", layout.lock, f"Another run is at work, and what follows may be its doing: {at_work}.", fix)
        self._host(stamp)
        self._unfinished()
        self._history()
        live = self._live()
        if self.report.release:
            self._units(self.report.release)
        if live:
            made = self._files(live)
            self._process(live)
            self._code(live)
            if made and self._compared:
                self._inventory(live, made)
        self._superfluous()
        if self.wanted.site and self._compared:
            self._edge(self.wanted.site)
        return self.report

    # The host

    def _host(self, stamp: str) -> None:
        for fault in faults(self.layout, stamp):
            self.report.add("host", fault.path, str(fault), fault.cure or self._deploy)
        for missing in accounts.missing(self.layout.app):
            self.report.add("host", missing, f"{missing} is missing.", self._deploy)
        other = other_environment(self.layout, self.wanted.environment) if stamp else ""
        self._compared = bool(stamp) and not other
        if other:
            path = self.layout.environment_id
            fix = f"If the host really changes sides, write {self.wanted.environment} into {path}."
            self.report.add("host", path, f"{other} The host was not compared with it further.", fix)

    def _unfinished(self) -> None:
        layout, add = self.layout, self.report.add
        if os.path.lexists(layout.trial):
            name = noted_release(layout.trial) or f"a release ({layout.trial} doesn't say which)"
            what = f"A run switched to {name} and ended before it asked at the front door."
            add("unfinished", layout.trial, what, self._deploy)
        if os.path.lexists(layout.rollback):
            name = noted_release(layout.rollback)
            which = name or f"a release ({layout.rollback} doesn't say which)"
            what = f"A rollback to {which} was begun and not ended."
            fix = f"End it: {self._play} playbooks/rollback.yml" if name else self._deploy
            add("unfinished", layout.rollback, what, fix)
        if os.path.lexists(layout.candidate_socket):
            what = "A run ended while it asked a candidate through Nginx."
            add("unfinished", layout.candidate_socket, what, self._deploy)

    def _history(self) -> None:
        """Look at the ledger and at the releases that a rollback could go to."""
        layout, add, releases = self.layout, self.report.add, self.releases
        live = releases.live()
        if live and not (layout.ledger.is_file() and layout.ledger.stat().st_size):
            what = f"{layout.ledger} is missing or empty: the history before the next deploy is lost."
            add("history", layout.ledger, what, self._deploy)
        lines = unreadable(layout.ledger)
        if lines:
            numbers = ", ".join(map(str, lines[:NAMED])) + (", and more" if lines[NAMED:] else "")
            what = f"{layout.ledger} has lines that can't be read, so they are skipped: {numbers}."
            first = ";".join(f"{number}d" for number in lines[:NAMED])
            add(
                "history",
                layout.ledger,
                what,
                f"Keep a copy if you need it, then on the host: sed -i '{first}' {layout.ledger}",
            )
        if os.path.lexists(layout.previous) and not releases.previous():
            what = f"{layout.previous} leads to no release that could take the traffic."
            add("history", layout.previous, what, self._deploy)
        for name in releases.names():
            for damage in releases.faults(name) if name != live else []:
                what = f"Release {name} isn't whole, so no rollback can go to it; {damage.path}: {damage.why}."
                add("history", damage.path, what, self._deploy)

    def _live(self) -> Release | None:
        layout, add = self.layout, self.report.add
        live = self.releases.live()
        if not live:
            what = f"No release is live: {layout.live_socket} leads to the socket of none."
            add("live", layout.live_socket, what, self._deploy)
            return None
        self.report.release = live
        if not leads(layout.live_socket, str(layout.socket(live))):
            what = f"{layout.live_socket} doesn't lead to {layout.socket(live)}."
            add("live", layout.live_socket, what, self._deploy)
        if not leads(layout.live, f"releases/{live}"):
            what = f"The traffic goes to {live}, and {layout.live} doesn't lead to it."
            add("live", layout.live, what, self._deploy)
        if not is_socket(layout.socket(live)):
            what = f"{layout.socket(live)} is gone or isn't a socket: nobody reaches the live release."
            add("live", layout.socket(live), what, self._deploy)
        found, faults_of_live = self.releases.look(live)
        for damage in faults_of_live:
            add("file", damage.path, f"The live release isn't whole; {damage.path}: {damage.why}.", self._deploy)
        if found and found.bad:
            add("live", live, "The live release was found bad.", self._deploy)
        if found and not proof_of(layout, live):
            proof = layout.release(live) / PROVED
            add("live", proof, f"The live release has no proof: {proof} is missing or tells nothing.", self._deploy)
        return found

    def _superfluous(self) -> None:
        for release in superfluous(self.layout):
            what = f"Release {release} runs, or a reboot would start it, and it is not the live one."
            self.report.add("superfluous", release, what, self._deploy)

    # The units

    def _units(self, live: str) -> None:
        layout, add = self.layout, self.report.add
        names = (layout.socket_unit(live), layout.service_unit(live))
        for unit, path in zip(names, reversed(layout.unit_files(live)), strict=True):
            facts = properties(unit)
            state = facts.get("ActiveState", "inactive")
            if state != "active":
                fix = f"On the host: systemctl start {' '.join(names)} (why: journalctl -u {unit})"
                add("unit", unit, f"{unit} is {state}.", fix)
            if not starts_at_boot(layout, unit):
                fix = f"On the host: systemctl enable {' '.join(names)}"
                add("unit", unit, f"{unit} is not enabled: a reboot would not start it.", fix)
            counts = facts.get("FragmentPath")
            if counts and Path(counts) != path:
                add("unit", unit, f"{counts} counts in place of {path}.", self._again(live, f"rm {counts}"))
            if facts.get("NeedDaemonReload") == "yes" and properties(REFERENCE).get("NeedDaemonReload") == "no":
                what = f"Files of {unit} were changed and systemd has not read them again."
                add("unit", unit, what, self._again(live))
            for extra in self._extra_drop_ins(unit, facts):
                what = f"{extra} changes {unit}, and it is no part of the release."
                fix = f"{self._again(live, f'rm {extra}')}; what shall stay goes into flask_app_service_settings."
                add("drop-in", extra, what, fix)

    def _again(self, live: str, first: str = "") -> str:
        """Name the commands that let systemd read the units again and start the process anew."""
        steps = [first, "systemctl daemon-reload", f"systemctl restart {self.layout.service_unit(live)}"]
        return f"On the host: {' && '.join(step for step in steps if step)} (requests wait meanwhile)"

    def _extra_drop_ins(self, unit: str, facts: Mapping[str, str]) -> list[Path]:
        """Return the unit's drop-ins that the release didn't bring; those of all services are the host's own."""
        layout = self.layout
        template = f"{layout.app}@{Path(unit).suffix}"
        names = (unit, template)
        places = [layout.root / top / f"{name}.d" for top in DROP_INS for name in names]
        found = {path for place in places for path in place.glob("*.conf")}
        found |= {Path(path) for path in facts.get("DropInPaths", "").split()}
        release = release_of(unit)
        own = set(layout.settings_files(release))
        if not credentials.held(layout, release) and not credentials.named(layout, release):
            own.discard(layout.credentials_drop_in(release))
        return sorted(path for path in found - own if path.parent.name != f"{Path(unit).suffix[1:]}.d")

    # The files of the live release

    def _files(self, live: Release) -> Specification | None:
        """Hold the release's files against the digest that it was made with; return what they say now."""
        layout, add = self.layout, self.report.add
        names = credentials.held(layout, live.id).keys() | credentials.named(layout, live.id)
        handing_over = layout.credentials_drop_in(live.id)
        # No part of the digest, for it is made of the names.
        made_of_names = _settings(credentials.drop_in(layout.app, names))
        if names and _settings(readable(handing_over) or "") != made_of_names:
            add("file", handing_over, f"{handing_over} was edited after the release was made.", self._deploy)
        _, files = self.releases.parts(live.id)
        try:
            made = as_made(layout, live)
            environment_texts(made.variables)
            host_key = key(layout)
        except EnvironmentValueError as error:
            place = layout.environment_files
            add("file", place, f"A file of release {live.id} in {place} was edited: {error}", self._deploy)
            return None
        except Damaged as damage:
            if damage.path == layout.digest_key:
                return made  # told of the host
            add("file", damage.path, f"{damage.path} can't be read: {damage.why}.", self._deploy)
            return None
        if made.digest(host_key) != live.digest:
            self._edited(live, [path for path in files if path != handing_over])
        return made

    def _edited(self, live: Release, files: Sequence[Path]) -> None:
        """The manifest is written last, so what is newer was edited."""
        manifest = self.layout.release(live.id) / MANIFEST
        newer = [path for path in files if path.stat().st_mtime > manifest.stat().st_mtime]
        for path in newer:
            self.report.add("file", path, f"{path} was edited after the release was made.", self._deploy)
        if not newer:
            what = f"The files of release {live.id} and its {MANIFEST} don't belong together: one was edited."
            self.report.add("file", manifest, what, self._deploy)

    # The process

    def _process(self, live: Release) -> None:
        layout = self.layout
        facts = properties(layout.service_unit(live.id))
        pid = int(facts.get("MainPID") or 0)
        process = processes.look(layout.root, pid) if pid else None
        if not process:
            return  # that it doesn't run is told of its unit
        again = self._again(live.id)
        name = f"process {pid}"
        if not process.titled and process.argv != processes.command_line(layout, live.id):
            what = f"The {name} was started with another command line than the unit of release {live.id} has."
            self.report.add("process", name, what, again)
        python = os.path.realpath(layout.release(live.id) / "venv/bin/python")
        if process.program.endswith(processes.DELETED):
            what = f"The {name} runs a Python that was replaced on this host since it started."
            self.report.add("process", name, what, again)
        elif process.program and process.program != python:
            what = f"The {name} runs {process.program}, and the venv of release {live.id} has {python}."
            self.report.add("process", name, what, again)
        self._credentials(live, name)
        shown = self._environment(live, process, name)
        self._age(live, facts, name, shown=shown)

    def _credentials(self, live: Release, name: str) -> None:
        """Compare what systemd has handed over with the release's files."""
        path = self.layout.credentials(live.id)
        held = credentials.held(self.layout, live.id)
        loaded = credentials.loaded(self.layout, self.layout.service_unit(live.id)) if held else {}
        found = processes.compare(self._key(), held, loaded)
        for names, what in (
            (found.changed, f"have other values as credentials of the {name} than in {path}"),
            (found.missing, f"are in {path}, and no credentials of the {name}"),
        ):
            if names:
                self._variables("environment", names, what, self._again(live.id))

    def _environment(self, live: Release, process: processes.Process, name: str) -> bool:
        """Compare the process's variables with its release's; say whether the kernel shows them."""
        path = self.layout.environment_file(live.id)
        try:
            declared = processes.declared(self.layout, live.id)
        except Damaged:
            return True  # told of the file
        found = processes.compare_process(self._key(), declared, process)
        if not found:
            what = f"the environment of {name}, which has written its title over it (setproctitle)"
            self.report.unchecked.append(what)
            return False
        for names, what in (
            (found.changed, f"have other values in the {name} than in {path} and the unit"),
            (found.missing, f"are in {path} or the unit, and not in the {name}"),
            (found.extra, f"are in the {name}, and neither in {path} nor in the unit"),
        ):
            if names:
                self._variables("environment", names, what, self._again(live.id))
        return True

    def _age(self, live: Release, facts: Mapping[str, str], name: str, *, shown: bool) -> None:
        """Name what was written after the process has read it."""
        started = facts.get("ExecMainStartTimestamp", "").removeprefix("@")
        home = self.layout.release(live.id)
        paths = [home / GUNICORN, *self.layout.settings_files(live.id)]
        paths += [] if shown else [self.layout.environment_file(live.id)]
        told = {finding.subject for finding in self.report.findings}
        for path in paths if started.isdigit() else []:
            if path.exists() and path.stat().st_mtime > int(started) + CLOCK_SECONDS and str(path) not in told:
                what = f"{path} was written after the {name} had started."
                self.report.add("process", path, what, self._again(live.id))

    # Its code

    def _code(self, live: Release) -> None:
        layout = self.layout
        source, venv = (str(live.manifest.get(name)) for name in ("source", "venv"))
        fresh = f"Deploy a new revision of the code, which comes whole: {self._play} site.yml"
        locked = f"Lock again with a change, which makes another venv, and deploy: {self._play} site.yml"
        again = locked if is_complete(layout.venvs / venv) else self._deploy
        for kind, checked, fix in (
            ("source", integrity.check_source(layout, source), fresh),
            ("venv", integrity.check_venv(layout.venvs / venv), again),
        ):
            for fault in checked.faults[:NAMED]:
                self.report.add(kind, fault.split(" ")[0].rstrip(":"), f"{fault}.", fix)
            more = len(checked.faults) - NAMED
            if more > 0:
                place = layout.sources / source if kind == "source" else layout.venvs / venv
                self.report.add(kind, place, f"So were {more} more files of {place}.", fix)
            self.report.unchecked += [checked.unchecked] if checked.unchecked else []

    # The inventory

    def _inventory(self, live: Release, made: Specification) -> None:
        """Name where the inventory would make another release of the same code."""
        wanted = self.wanted.with_code_of(live)
        told = {finding.subject for finding in self.report.findings if finding.id == "file"}
        home = self.layout.release(live.id)
        service, socket = self.layout.unit_files(live.id)
        paths = (home / GUNICORN, self.layout.drop_in(live.id), service, socket, home / COMMAND, home / HOOKS)
        try:
            texts = environment_texts(wanted.variables)
        except GreenlightError as error:
            self.report.add("inventory", "flask_app_env", str(error), "Correct the inventory.")
            texts = {}
        if texts:
            self._inventory_variables(live, made, wanted, texts)
        for part, path in zip(PARTS, paths, strict=True):
            text = getattr(wanted, part)
            # By digest, which knows what counts as equal.
            if replace(made, **{part: text}).digest(b"") != made.digest(b"") and str(path) not in told:
                names = _names(set(_settings(text)) ^ set(_settings(getattr(made, part))))
                which = f" ({', '.join(names)})" if names and part not in ("command", "hooks") else ""
                what = f"{path} is not what the inventory makes{which}: {PARTS[part]}."
                self.report.add("inventory", path, what, self._deploy)

    def _inventory_variables(
        self, live: Release, made: Specification, wanted: Specification, texts: Mapping[str, str]
    ) -> None:
        path = self.layout.environment_file(live.id)
        if wanted.release_variable != made.release_variable:
            what = f"flask_app_release_variable is {wanted.release_variable}, and in the live release it is another."
            self.report.add("inventory", wanted.release_variable, what, self._deploy)
        both = texts.keys() & made.variables.keys()
        if both & set(wanted.credentials) != both & set(made.credentials):
            as_what = "credentials" if wanted.credentials else "variables"
            what = f"flask_app_secrets_as asks for secrets as {as_what}, and the live release gets them otherwise."
            self.report.add("inventory", "flask_app_secrets_as", what, self._deploy)
        found = processes.compare(self._key(), texts, environment_texts(made.variables))
        for names, what in (
            (found.changed, f"have other values in the inventory than in {path}"),
            (found.missing, f"are in the inventory, and not in {path}"),
            (found.extra, f"are in {path}, and not in the inventory"),
        ):
            if names:
                self._variables("inventory", names, what, self._deploy)

    def _variables(self, kind: str, names: Sequence[str], what: str, fix: str) -> None:
        listed = ", ".join(names)
        if len(names) == 1:
            what = f" {what}".replace(" have other values ", " has another value ").replace(" are ", " is ").strip()
        self.report.add(kind, listed, f"{listed} {what}.", fix)

    # How users reach it

    def _edge(self, site: Site) -> None:
        edge, add = self.edge, self.report.add
        if not edge.tree.installed:
            add("nginx", edge.tree.nginx, "Nginx is not installed.", self._deploy)
            return
        fault = edge.fault_of_owner(site)
        if fault:
            add("nginx", edge.tree.etc, fault, self._deploy)
        files, more = edge.pending(site)
        for name, (before, after) in files.items():
            if _settings(before) != _settings(after) or bool(before) != bool(after):
                path = edge.tree.etc / name
                state = "is missing" if not before else "should not be there" if not after else "differs"
                add("nginx", path, f"{path} {state}: the inventory makes another site.", self._deploy)
        for item in more:
            kind = "certificate" if item.startswith("certificate") else "nginx"
            add(kind, item.removeprefix("certificate: "), f"The inventory asks for another: {item}.", self._deploy)
        marker = edge.tree.state / f"{self.layout.app}.json"
        try:
            confirmed = "confirmed" in (read_facts(marker) or {})
        except Damaged:
            confirmed = False
        if not confirmed:
            add("unfinished", marker, "A change of Nginx was begun and never confirmed.", self._deploy)
        self._nginx_unit()
        if site.tls.mode != "none" and not any(finding.id == "certificate" for finding in self.report.findings):
            self._certificate(site)

    def _nginx_unit(self) -> None:
        facts = properties("nginx.service")
        if facts.get("ActiveState") != "active":
            what = f"nginx.service is {facts.get('ActiveState', 'inactive')}."
            self.report.add("unit", "nginx.service", what, "On the host: nginx -t && systemctl start nginx")
        # Asked of the disk: systemd remembers what a unit's state was when it read it.
        if run(["systemctl", "is-enabled", "--quiet", "nginx.service"]).code != 0:
            what = "nginx.service is not enabled: a reboot would not start it."
            self.report.add("unit", "nginx.service", what, "On the host: systemctl enable nginx")

    def _certificate(self, site: Site) -> None:
        link, add = self.layout.certificate, self.report.add
        on_disk = certificate.encoded(link)
        if not certificate.is_pair(link):
            again = f"On the host: certbot renew --force-renewal --cert-name {self.layout.app}"
            fix = again if site.tls.mode == "acme" else self._deploy
            add("certificate", link, f"The certificate and the key in {link} can't be used together.", fix)
        served = certificate.served(site.tls.port, site.server_names[0])
        if site.tls.mode == "provided" and readable(link / certificate.CHAIN) != site.tls.chain:
            add("certificate", link, f"{link / certificate.CHAIN} is not the inventory's.", self._deploy)
        elif not served:
            what = f"Nginx serves no certificate for {site.server_names[0]} on port {site.tls.port}."
            add("certificate", link, what, "On the host: nginx -t && systemctl reload nginx")
        elif served != on_disk:
            what = f"Nginx serves another certificate than the one in {link}."
            add("certificate", link, what, "On the host: nginx -t && systemctl reload nginx")
        path = link / certificate.KEY
        if path.exists() and path.stat().st_mode & 0o077:
            add("certificate", path, f"Others than root may read {path}.", f"On the host: chmod 0600 {path}")

    def _key(self) -> bytes:
        try:
            return key(self.layout)
        except GreenlightError:  # told of the file; for a comparison any will do
            return secrets.token_bytes(KEY_BYTES)


def drift(layout: Layout, wanted: Wanted, inventory: str = "<inventory>", edge: Edge | None = None) -> Report:
    """Look at a host, see :class:`Look`."""
    return Look(layout, wanted, inventory, edge).report_all()


def properties(unit: str) -> dict[str, str]:
    """Ask systemd for what tells a unit that was changed by hand, and its process."""
    names = ("ActiveState", "MainPID", "ExecMainStartTimestamp", "FragmentPath", "DropInPaths", "NeedDaemonReload")
    asked = [f"--property={name}" for name in names]
    done = run(["systemctl", "show", unit, "--timestamp=unix", *asked])
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _names(settings: set[str]) -> list[str]:
    """Return the names of settings, and nothing of a line that is none."""
    found = (re.match(r"([A-Za-z_]\w*)\s*=", line) for line in settings)
    return sorted({match.group(1) for match in found if match})
