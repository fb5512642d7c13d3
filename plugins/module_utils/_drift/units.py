# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the live release, its units, and other releases that run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import credentials
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import release_of
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import starts_at_boot
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    leads,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import proof_of
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import (
    is_socket,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    PROVED,
    Release,
)

from .look import Look, Report

#: A unit that nobody edits. Since systemd 255, NeedDaemonReload= is "yes" for every unit after any "enable" without a
#: reload (unit_file_state_outdated in its manager.h), so it says nothing about a single unit.
REFERENCE = "systemd-journald.service"
#: Directories with drop-ins made by hand (systemd.unit(5)); systemctl set-property uses ``.control``.
DROP_INS = ("etc/systemd/system", "etc/systemd/system.control", "run/systemd/system", "run/systemd/system.control")


def live_release(look: Look, report: Report) -> Release | None:
    layout, add = look.layout, report.add
    live = look.releases.live()
    if not live:
        what = f"No release is live: {layout.live_socket} does not point to the socket of a release."
        add("live", layout.live_socket, what, look.deploy)
        return None
    report.release = live
    if not leads(layout.live_socket, str(layout.socket(live))):
        what = f"{layout.live_socket} does not point to {layout.socket(live)}."
        add("live", layout.live_socket, what, look.deploy)
    if not leads(layout.live, f"releases/{live}"):
        what = f"The traffic goes to {live}, but {layout.live} does not point to it."
        add("live", layout.live, what, look.deploy)
    if not is_socket(layout.socket(live)):
        what = f"{layout.socket(live)} is missing or isn't a socket, so the live release can't be reached."
        add("live", layout.socket(live), what, look.deploy)
    found, faults_of_live = look.releases.look(live)
    for damage in faults_of_live:
        add("file", damage.path, f"The live release is damaged; {damage.path}: {damage.why}.", look.deploy)
    if found and found.bad:
        add("live", live, "The live release is marked bad.", look.deploy)
    if found and not proof_of(layout, live):
        proof = layout.release(live) / PROVED
        add("live", proof, f"The live release has no proof: {proof} is missing or unusable.", look.deploy)
    return found


def superfluous_releases(look: Look, report: Report) -> None:
    for release in superfluous(look.layout):
        what = f"Release {release} runs, or a reboot would start it, but it is not the live release."
        report.add("superfluous", release, what, look.deploy)


def units(look: Look, report: Report, live: str) -> None:
    layout, add = look.layout, report.add
    processes = look.releases.processes(live)
    names = layout.units_of(live, processes)
    for process, unit in [(each, unit) for each in processes for unit in layout.units_of(live, [each])]:
        path = layout.units / unit
        facts = properties(unit)
        state = facts.get("ActiveState", "inactive")
        if state != "active":
            fix = f"On the host: systemctl start {' '.join(names)} (why: journalctl -u {unit})"
            add("unit", unit, f"{unit} is {state}.", fix)
        if not starts_at_boot(layout, unit):
            fix = f"On the host: systemctl enable {' '.join(names)}"
            add("unit", unit, f"{unit} is not enabled, so a reboot would not start it.", fix)
        counts = facts.get("FragmentPath")
        if counts and Path(counts) != path:
            add("unit", unit, f"{counts} overrides {path}.", look.again(live, f"rm {counts}", [process]))
        if facts.get("NeedDaemonReload") == "yes" and properties(REFERENCE).get("NeedDaemonReload") == "no":
            what = f"Files of {unit} were changed, but systemd has not reloaded them."
            add("unit", unit, what, look.again(live, processes=[process]))
        for extra in _extra_drop_ins(look, unit, facts):
            what = f"{extra} changes {unit}, but it is not part of the release."
            fix = f"{look.again(live, f'rm {extra}', [process])}; put settings to keep into flask_app_service_settings."
            add("drop-in", extra, what, fix)


def _extra_drop_ins(look: Look, unit: str, facts: Mapping[str, str]) -> list[Path]:
    """Return the unit's drop-ins that aren't part of the release, except those for all services of the host."""
    layout = look.layout
    template = f"{unit.partition('@')[0]}@{Path(unit).suffix}"
    names = (unit, template)
    places = [layout.root / top / f"{name}.d" for top in DROP_INS for name in names]
    found = {path for place in places for path in place.glob("*.conf")}
    found |= {Path(path) for path in facts.get("DropInPaths", "").split()}
    release = release_of(unit)
    own = {path for process in layout.processes for path in layout.settings_files(release, process)}
    if not credentials.held(layout, release) and not credentials.named(layout, release):
        own -= {layout.credentials_drop_in(release, process) for process in layout.processes}
    return sorted(path for path in found - own if path.parent.name != f"{Path(unit).suffix[1:]}.d")


def properties(unit: str) -> dict[str, str]:
    """Return the properties that identify a unit's process and show whether the unit was changed by hand."""
    names = ("ActiveState", "MainPID", "ExecMainStartTimestamp", "FragmentPath", "DropInPaths", "NeedDaemonReload")
    asked = [f"--property={name}" for name in names]
    done = run(["systemctl", "show", unit, "--timestamp=unix", *asked])
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def is_enabled(unit: str) -> bool:
    """Say whether a unit is enabled on disk; systemd itself may remember an old state."""
    return run(["systemctl", "is-enabled", "--quiet", unit]).code == 0
