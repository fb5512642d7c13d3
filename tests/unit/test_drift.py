# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: each kind is found and named, there are no false alarms, and the check changes and reveals nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner, take
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import render
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, numbered
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest, entries
from ansible_collections.greenlight.flask.plugins.module_utils._drift import integrity, units
from ansible_collections.greenlight.flask.plugins.module_utils._drift.drift import drift
from ansible_collections.greenlight.flask.plugins.module_utils._drift.integrity import Damage
from ansible_collections.greenlight.flask.plugins.module_utils._drift.look import NAMED, Report, Wanted
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate as _certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge import nginx as _nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import OWNER, Site, Tls
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._release import state as _state
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import record
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import BAD, PROVED, Releases

from tests.unit.cases import all_named, named
from tests.unit.edge_machine import EdgeMachine, played
from tests.unit.fakes import KEY, SECRETS, WORKER, WORKER_TEXTS, Host, below, create, plan_options, specification

OLD, NEW = "20261121T094420Z", "20261121T094421Z"
PID = 4711
VENV = "b2" * 32
SERVICE = """\
[Unit]
Description=Flask app shop, release %i
[Service]
Type=notify
EnvironmentFile=/etc/shop/releases/%i.env
Environment=PATH=/srv/shop/releases/%i/venv/bin:/usr/bin
Environment=HOME=/var/lib/shop "NOTE=100%% sure"
Environment=PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
ExecStart=/srv/shop/releases/%i/venv/bin/python -m gunicorn --config /srv/shop/releases/%i/gunicorn.conf.py
"""
PUBLIC = {"FLASK_CONFIG": "staging", "GREETING": "Hello 'you' \\ $HOME"}
SITE = Site(files={"sites-enabled/shop.conf": f"{OWNER}\nserver {{ listen 80; }}\n"}, server_names=["shop.example.org"])
#: Variables that systemd adds.
ADDED = {
    "LANG": "C.UTF-8", "USER": "shop", "LOGNAME": "shop", "SHELL": "/usr/sbin/nologin", "INVOCATION_ID": "0" * 32,
    "JOURNAL_STREAM": "8:1", "NOTIFY_SOCKET": "/run/systemd/notify", "LISTEN_FDS": "1", "LISTEN_PID": "4711",
    "LISTEN_FDNAMES": "shop.socket", "STATE_DIRECTORY": "/var/lib/shop", "SYSTEMD_EXEC_PID": "4711",
    "MEMORY_PRESSURE_WATCH": "/sys/fs/cgroup/x", "MEMORY_PRESSURE_WRITE": "c29tZQ==",
}  # fmt: skip


class Machine(Host):
    """A host whose units have the properties in ``facts``, by unit, in addition to a healthy unit's."""

    def __init__(self, layout: Layout, edge: EdgeMachine) -> None:
        super().__init__(layout)
        self.edge = edge
        self.facts: dict[str, dict[str, str]] = {}
        self.disabled: set[str] = set()
        self.live = ""

    def _show(self, units: list[str]) -> Finished:
        (unit,) = units
        state = "active" if unit in self.running() or unit == "nginx.service" else "inactive"
        facts = {
            "ActiveState": state,
            "MainPID": str(PID if unit.endswith(".service") and state == "active" else 0),
            "ExecMainStartTimestamp": f"@{int(time.time()) - 1800}",
            "FragmentPath": str(self.layout.units / unit),
            "DropInPaths": str(self.layout.part(self.live, "drop_in")) if unit.endswith(".service") else "",
            "NeedDaemonReload": "no",
            **self.facts.get(unit, {}),
        }
        return Finished(0, "".join(f"{name}={value}\n" for name, value in facts.items()), "")

    def _is_enabled(self, units: list[str]) -> Finished:
        return Finished(int(units[0] in self.disabled), "", "")

    @property
    def service(self) -> str:
        return self.layout.service_unit(self.live)

    @property
    def home(self) -> Path:
        return self.layout.release(self.live)

    def environment(self) -> dict[str, str]:
        """Return the environment that the live release's process started with."""
        units = {
            "PATH": f"/srv/shop/releases/{self.live}/venv/bin:/usr/bin",
            "HOME": "/var/lib/shop",
            "NOTE": "100% sure",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return {**ADDED, **units, **PUBLIC, **SECRETS, "APP_REVISION": "r1", "APP_RELEASE": self.live}

    def run_process(
        self, *, pid: int = PID, without: tuple[str, ...] = (), argv: list[str] | None = None, **changed: str
    ) -> None:
        place = self.layout.root / f"proc/{pid}"
        place.mkdir(parents=True, exist_ok=True)
        home = f"/srv/shop/releases/{self.live}"
        words = argv or [f"{home}/venv/bin/python", "-m", "gunicorn", "--config", f"{home}/gunicorn.conf.py"]
        (place / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
        pairs = {name: value for name, value in {**self.environment(), **changed}.items() if name not in without}
        (place / "environ").write_bytes("".join(f"{name}={value}\0" for name, value in pairs.items()).encode())
        link(place / "exe", os.path.realpath(sys.executable))


def make_source(layout: Layout) -> str:
    """Put a source where its digest says."""
    draft = layout.sources / "draft"
    (draft / "shop").mkdir(parents=True)
    (draft / "wsgi.py").write_text("app = None\n")
    (draft / "shop/views.py").write_text("views = None\n")
    name = digest(draft, entries(draft, ["shop/views.py", "wsgi.py"]))
    (draft / "__pycache__").mkdir()
    (draft / "__pycache__/wsgi.cpython-311.pyc").write_bytes(b"made here")
    draft.rename(layout.sources / name)
    return name


def make_venv(layout: Layout) -> Path:
    venv = layout.venvs / VENV
    package = venv / "lib/python3.11/site-packages/flask-3.1.dist-info"
    package.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(sys.executable)
    rows = ["flask-3.1.dist-info/RECORD,,", "flask/__pycache__/app.cpython-311.pyc,,"]
    for name, text in {"flask/app.py": "class Flask: ...\n", "../../../bin/flask": "#!/bin/sh\n"}.items():
        path = package.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={sha256},{len(text)}")
    (package / "RECORD").write_text("\n".join(rows) + "\n")
    (venv / "greenlight.json").write_text("{}\n")
    return venv


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A healthy host."""
    return well(tmp_path, monkeypatch)


def well(root: Path, monkeypatch: pytest.MonkeyPatch, **more: dict[str, str]) -> Machine:
    """Return a healthy host, with the parts of more processes than web."""
    edge = played(root, monkeypatch)
    host = Machine(Layout("shop", root, processes=(WEB, WORKER) if more else (WEB,)), edge)
    layout = host.layout
    for module in (_systemd, units):
        monkeypatch.setattr(module, "run", host.run)
    monkeypatch.setattr(_state, "socket_group", os.getegid)
    claim(layout, "staging")
    monkeypatch.setattr(accounts, "number", lambda part, name: 998)
    layout.digest_key.write_text(KEY.hex())
    source = make_source(layout)
    make_venv(layout)
    variables = {**PUBLIC, **SECRETS, "APP_REVISION": "r1"}
    gunicorn = "# of Ansible\nworkers = 2\ntimeout = 30\n"
    processes = {"web": {**specification().processes["web"], "service": SERVICE}, **more}
    host.live = create(layout, NEW, variables=variables, source=source, processes=processes, gunicorn=gunicorn)
    Releases(layout).mark(host.live, PROVED, {"path": "/health"})
    record(layout, "live", host.live)
    link(layout.live_socket, str(layout.socket(host.live)))
    link(layout.live, f"releases/{host.live}")
    host._start(Releases(layout).units(host.live))
    host._enable(Releases(layout).units(host.live))
    with monkeypatch.context() as brief:  # other tests cover publishing the site
        brief.setattr(_nginx, "run", lambda argv, **_: Finished(0, "", ""))
        brief.setattr(_nginx, "_load", lambda: None)
        edge.edge.publish(SITE)
    host.run_process()
    hour_ago = time.time() - 3600
    for _, path in below(root):
        os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)
    return host


def wanted(machine: Machine, **changes: Any) -> Wanted:
    """Return the inventory's values, which match the live release; ``changes`` by field of Wanted or Plan."""
    source = machine.home.joinpath("source").readlink().name
    made = specification("", source=source, service=SERVICE, gunicorn="workers = 2\ntimeout = 30\n")
    options = plan_options(made)
    plan = replace(Plan.of(options["specification"], options["variables"]), variables={**PUBLIC, **SECRETS})
    known: dict[str, Any] = {"site": SITE}
    for name, value in changes.items():
        if name in ("site", "present"):
            known[name] = value
        elif name in WEB.parts:
            plan = replace(plan, processes={"web": {**made.processes["web"], name: value}})
        else:
            plan = replace(plan, **{name: value})
    return Wanted(plan, **known)


def files(root: Path) -> dict[str, object]:
    """Return everything that a check could change, except what the simulated programs write."""
    found: dict[str, object] = {}
    for name, path in below(root):
        if not name.startswith(("state/", "log")) and name != "state":
            status = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            found[name] = (status.st_mode, status.st_mtime_ns, content)
    return found


#: A value that somebody set by hand.
BY_HAND = "set-by-hand-and-secret"


def look(machine: Machine, **changes: Any) -> Report:
    before = files(machine.layout.root)
    report = drift(machine.layout, wanted(machine, **changes), "inventories/staging", machine.edge.edge)
    assert files(machine.layout.root) == before, "a look changes nothing"
    for value in (*SECRETS.values(), PUBLIC["GREETING"], BY_HAND):
        assert value not in str(report)
        assert repr(value)[1:-1] not in str(report)
    for finding in report.findings:
        assert finding.what.endswith("."), finding
        assert finding.fix
        assert "\n" not in str(finding)
    assert not machine.layout.lock.exists() or report.findings[0].id == "lock"
    return report


def only(machine: Machine, **changes: Any) -> Finding:
    """Run the check and return its only finding."""
    report = look(machine, **changes)
    assert len(report.findings) == 1, report
    return report.findings[0]


def write(path: Path, text: str) -> Path:
    """Write a file like somebody with an editor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_each_process_of_the_live_release_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["/srv/shop/releases/%i/venv/bin/python", "-m", "queue"]
    service = f"{SERVICE.rpartition('ExecStart=')[0]}ExecStart={' '.join(command)}\n"
    machine = well(tmp_path, monkeypatch, worker={**WORKER_TEXTS, "service": service})
    layout, live = machine.layout, machine.live
    unit = layout.service_unit(live, WORKER)
    argv = [word.replace("%i", live) for word in command]
    machine.facts[unit] = {"MainPID": "4712", "DropInPaths": str(layout.part(live, "drop_in", WORKER))}
    machine.run_process(pid=4712, argv=argv)
    web = {**specification().processes["web"], "service": SERVICE}
    inventory = {"processes": {"web": web, "worker": {**WORKER_TEXTS, "service": service}}}
    assert look(machine, **inventory).findings == []
    machine.run_process(pid=4712, argv=[*argv, "--fast"], GREETING=BY_HAND)
    found = look(machine, **inventory).findings
    assert all_named(found) == [("process", "process 4712"), ("environment", "GREETING")]
    assert all(f"systemctl restart {unit}" in each.fix for each in found)
    (machine.active / unit).unlink()
    machine.facts[unit] = {"ActiveState": "failed", "MainPID": "0"}
    assert named(only(machine, **inventory)) == ("unit", unit)


def test_a_healthy_host_has_no_drift(machine: Machine) -> None:
    report = look(machine)
    assert (report.findings, report.unchecked, report.release) == ([], [], machine.live)
    (heading,) = report.lines("shop", "web1")
    assert [fact for fact in ("shop", "web1", machine.live) if fact not in heading] == []


def test_a_finding_is_told_with_what_to_type(machine: Machine) -> None:
    machine.layout.trial.write_text(machine.live)
    report = look(machine)
    (finding,), (heading, *told) = report.findings, report.lines("shop", "web1")
    assert told == numbered([finding])
    assert [fact for fact in ("shop", "web1", "1 ", machine.live) if fact not in heading] == []
    assert finding.fix.endswith("ansible-playbook -i inventories/staging site.yml")


# The host


def test_a_host_without_the_app_is_reported(tmp_path: Path, machine: Machine) -> None:
    other = Layout("other", tmp_path)
    (finding,) = drift(other, wanted(machine), "inventories/staging").findings
    assert named(finding) == ("host", str(other.environment_id))


def test_only_an_unwanted_app_that_still_exists_is_drift(tmp_path: Path, machine: Machine) -> None:
    assert "flask_app_state: absent" in only(machine, present=False).what
    machine.layout.environment_id.unlink()
    # The removal's own fix: with this inventory, the advice to deploy would only lead back here.
    assert f"echo staging > {machine.layout.environment_id}" in only(machine, present=False).fix
    assert drift(Layout("other", tmp_path), wanted(machine, present=False)).findings == []


def test_with_another_environment_the_inventory_is_not_compared(machine: Machine) -> None:
    finding = only(machine, environment="production", variables={"FLASK_CONFIG": "production"})
    assert named(finding) == ("host", str(machine.layout.environment_id))
    assert [fact for fact in ("staging", "shop", "production") if fact not in finding.what] == []


def test_a_missing_digest_key_is_reported_and_variables_are_still_compared(machine: Machine) -> None:
    machine.layout.digest_key.unlink()
    machine.run_process(FLASK_CONFIG="development")
    kinds = {finding.id: finding.subject for finding in look(machine).findings}
    assert kinds == {"host": str(machine.layout.digest_key), "environment": "FLASK_CONFIG"}


def test_a_missing_account_is_drift(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "number", lambda part, name: None if part == "passwd" else 998)
    assert only(machine).subject == "the account shop"


def test_a_missing_record_is_drift(machine: Machine) -> None:
    machine.layout.made.unlink()
    assert only(machine).subject == str(machine.layout.made)


def test_a_run_in_progress_is_reported_first(machine: Machine) -> None:
    take(machine.layout, Owner("0123456789ab", "carol@desk", "here", 1, "1"), 60)
    finding = only(machine)
    assert finding.id == "lock"
    assert "carol@desk" in finding.what
    assert finding.fix.endswith("playbooks/unlock.yml")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("trial", "site.yml"),
        ("rollback", "playbooks/rollback.yml"),
    ],
)
def test_leftovers_of_a_killed_run_are_drift(machine: Machine, name: str, fix: str) -> None:
    path: Path = getattr(machine.layout, name)
    path.write_text(machine.live)
    finding = only(machine)
    assert named(finding) == ("unfinished", str(path))
    assert machine.live in finding.what
    assert finding.fix.endswith(fix)


def test_a_killed_rehearsal_is_drift(machine: Machine) -> None:
    link(machine.layout.candidate_socket, "/run/shop/x.sock")
    assert named(only(machine)) == ("unfinished", str(machine.layout.candidate_socket))


# What is live


def test_a_missing_live_release_is_drift(machine: Machine) -> None:
    machine.layout.live_socket.unlink()
    report = look(machine)
    assert all_named(report.findings) == [("live", str(machine.layout.live_socket)), ("superfluous", machine.live)]
    assert machine.live not in report.lines("shop", "web1")[0]


def test_links_to_two_different_releases_are_drift(machine: Machine) -> None:
    old = create(machine.layout, OLD)
    link(machine.layout.live, f"releases/{old}")
    finding = only(machine)
    assert named(finding) == ("live", str(machine.layout.live))
    assert machine.live in finding.what


def test_an_incomplete_or_bad_live_release_is_drift(machine: Machine) -> None:
    Releases(machine.layout).mark(machine.live, BAD, {})
    assert named(only(machine)) == ("live", machine.live)
    machine.layout.part(machine.live, "drop_in").unlink()
    assert only(machine).subject == str(machine.layout.part(machine.live, "drop_in"))


def test_an_invalid_manifest_is_drift(machine: Machine) -> None:
    write(machine.home / "release.json", "{")
    assert only(machine).subject == str(machine.home / "release.json")


@pytest.mark.parametrize("how", ["runs", "is enabled"])
def test_another_running_or_enabled_release_is_drift(machine: Machine, how: str) -> None:
    old = create(machine.layout, OLD)
    units = [machine.layout.service_unit(old)]
    machine._start(units) if how == "runs" else machine._enable(units)
    assert named(only(machine)) == ("superfluous", old)


# The units


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_an_inactive_unit_is_drift(machine: Machine, state: str) -> None:
    machine.facts[machine.service] = {"ActiveState": state, "MainPID": "0"}
    finding = only(machine)
    assert named(finding) == ("unit", machine.service)
    assert state in finding.what
    assert f"systemctl start {machine.layout.socket_unit(machine.live)} {machine.service}" in finding.fix


def test_a_disabled_unit_is_drift(machine: Machine) -> None:
    machine._disable([machine.service])
    finding = only(machine)
    assert named(finding) == ("unit", machine.service)
    assert "systemctl enable " in finding.fix


def test_units_that_need_a_daemon_reload_are_drift(machine: Machine) -> None:
    machine.facts[machine.service] = {"NeedDaemonReload": "yes"}
    finding = only(machine)
    assert named(finding) == ("unit", machine.service)
    assert f"systemctl daemon-reload && systemctl restart {machine.service}" in finding.fix


def test_a_reload_flag_on_every_unit_is_ignored(machine: Machine) -> None:
    for unit in (machine.service, machine.layout.socket_unit(machine.live), "systemd-journald.service"):
        machine.facts[unit] = {"NeedDaemonReload": "yes"}
    assert look(machine).findings == []


def test_a_unit_file_overriding_the_unit_of_the_release_is_drift(machine: Machine) -> None:
    machine.facts[machine.service] = {"FragmentPath": "/etc/systemd/system.control/x.service"}
    assert named(only(machine)) == ("unit", machine.service)
    assert "/etc/systemd/system.control/x.service" in only(machine).what


@pytest.mark.parametrize("place", ["etc/systemd/system", "run/systemd/system", "etc/systemd/system.control"])
@pytest.mark.parametrize("which", ["release", "template"])
def test_a_manual_drop_in_is_drift_wherever_it_is(machine: Machine, place: str, which: str) -> None:
    unit = machine.service if which == "release" else "shop@.service"
    path = machine.layout.root / place / f"{unit}.d/override.conf"
    write(path, "[Service]\nEnvironment=FLASK_CONFIG=development\n")
    finding = only(machine)
    assert named(finding) == ("drop-in", str(path))
    assert f"rm {path} && systemctl daemon-reload" in finding.fix


def test_a_foreign_drop_in_is_drift_unless_it_applies_to_all_services(machine: Machine) -> None:
    known = f"{machine.layout.part(machine.live, 'drop_in')} /run/systemd/system/service.d/lxc.conf"
    machine.facts[machine.service] = {"DropInPaths": known}
    assert look(machine).findings == []
    machine.facts[machine.service] = {"DropInPaths": f"{known} /usr/lib/systemd/system/shop@.service.d/x.conf"}
    assert only(machine).subject == "/usr/lib/systemd/system/shop@.service.d/x.conf"


# The files of the live release


EDITED: dict[str, Callable[[Machine], Path]] = {
    "gunicorn.conf.py": lambda machine: write(machine.home / "gunicorn.conf.py", "workers = 9\n"),
    "release-command": lambda machine: write(machine.home / "release-command", "rm -rf /\n"),
    "drop-in": lambda machine: write(machine.layout.part(machine.live, "drop_in"), "[Service]\nMemoryMax=99%\n"),
    "unit": lambda machine: write(machine.layout.part(machine.live, "service"), SERVICE + "User=root\n"),
    "socket": lambda machine: write(machine.layout.part(machine.live, "socket"), "[Socket]\nSocketMode=0666\n"),
}


@pytest.mark.parametrize("name", EDITED)
def test_a_file_that_was_edited_is_named_once(machine: Machine, name: str) -> None:
    path = EDITED[name](machine)
    assert named(only(machine)) == ("file", str(path))


def test_an_added_comment_is_not_drift(machine: Machine) -> None:
    path = machine.home / "gunicorn.conf.py"
    before = path.stat()
    path.write_text("# another controller\nworkers = 2\ntimeout = 30\n")
    os.utime(path, (before.st_atime, before.st_mtime))
    assert look(machine).findings == []


def test_an_edit_that_preserved_the_file_time_is_drift(machine: Machine) -> None:
    path = EDITED["drop-in"](machine)
    os.utime(path, (1, 1))
    kinds = [finding.id for finding in look(machine).findings]
    assert kinds == ["file", "inventory"]


def test_an_edited_environment_file_is_reported_with_its_variables(machine: Machine) -> None:
    path = machine.layout.environment_file(machine.live)
    values = {**PUBLIC, **SECRETS, "APP_REVISION": "r1", "APP_RELEASE": machine.live}
    path.write_text(render({**values, "FLASK_CONFIG": "development", "ODD": BY_HAND}))
    assert all_named(look(machine).findings) == [
        ("file", str(path)),
        ("environment", "FLASK_CONFIG"),
        ("environment", "ODD"),
        ("inventory", "FLASK_CONFIG"),
        ("inventory", "ODD"),
    ]


@pytest.mark.parametrize("body", ["FLASK_CONFIG='never closed\n", "no assignment\n"])
def test_an_invalid_environment_file_is_drift(machine: Machine, body: str) -> None:
    path = machine.layout.environment_file(machine.live)
    path.write_text(body)
    assert named(only(machine)) == ("file", str(path))


@pytest.mark.parametrize("name", ["environment file", "gunicorn.conf.py"])
def test_a_file_that_others_can_read_or_write_is_drift(machine: Machine, name: str) -> None:
    path = machine.home / name if "." in name else machine.layout.environment_file(machine.live)
    path.chmod(0o666)
    finding = only(machine)
    assert named(finding) == ("host", str(path))
    assert f"mode {'0600' if 'environment' in name else '0644'}" in finding.what


def test_an_edited_manifest_is_drift(machine: Machine) -> None:
    path = machine.home / "release.json"
    write(path, path.read_text().replace('"r1"', '"r2"'))
    assert ("file", str(path)) in all_named(look(machine).findings)


def test_a_source_link_to_another_place_is_drift(machine: Machine) -> None:
    path = machine.home / "source"
    inventory = wanted(machine)
    link(path, f"../../sources/{'c3' * 32}")
    (finding,) = drift(machine.layout, inventory, edge=machine.edge.edge).findings
    assert named(finding) == ("file", str(path))


# The process


def test_variables_that_differ_in_the_process_are_named(machine: Machine) -> None:
    machine.run_process(without=("DATABASE_URL", "GREETING"), FLASK_CONFIG="development", FLASK_DEBUG=BY_HAND)
    found = look(machine).findings
    path = machine.layout.environment_file(machine.live)
    assert all_named(found) == [  # a different value, a missing one, and an extra one
        ("environment", "FLASK_CONFIG"),
        ("environment", "DATABASE_URL, GREETING"),
        ("environment", "FLASK_DEBUG"),
    ]
    for finding in found:
        assert [fact for fact in (finding.subject, str(path), f"process {PID}") if fact not in finding.what] == []


def test_a_variable_of_the_unit_is_compared_too(machine: Machine) -> None:
    machine.run_process(without=("PYTHONSAFEPATH",), PATH="/tmp:/usr/bin", NOTE="100 sure")
    assert [finding.subject for finding in look(machine).findings] == ["NOTE, PATH", "PYTHONSAFEPATH"]


def test_a_secret_that_is_not_utf8_is_compared(machine: Machine) -> None:
    machine.run_process()
    path = machine.layout.root / f"proc/{PID}/environ"
    path.write_bytes(path.read_bytes().replace(b"SECRET_KEY=", b"SECRET_KEY=\xff"))
    assert only(machine).subject == "SECRET_KEY"


def test_extra_variables_allowed_by_a_drop_in_are_not_drift(machine: Machine) -> None:
    drop_in = machine.layout.part(machine.live, "drop_in")
    drop_in.write_text("[Service]\nMemoryMax=40%\nEnvironmentFile=-/etc/proxy.env\nEnvironment=WHO=%H\n")
    machine.run_process(HTTP_PROXY="http://proxy", WHO="web1")
    assert [finding.id for finding in look(machine).findings] == ["file"]


def test_an_environment_overwritten_by_the_process_title_is_not_compared(machine: Machine) -> None:
    machine.run_process(argv=["gunicorn: master [wsgi:app]"])
    (machine.layout.root / f"proc/{PID}/environ").write_bytes(b"\0" * 400)
    report = look(machine)
    assert report.findings == []
    assert "setproctitle" in report.unchecked[0]
    path = machine.layout.environment_file(machine.live)
    os.utime(path)
    finding = only(machine)
    assert named(finding) == ("process", str(path))
    assert f"process {PID}" in finding.what


def test_a_process_without_the_variables_of_its_release_is_drift(machine: Machine) -> None:
    (machine.layout.root / f"proc/{PID}/environ").write_bytes(b"LANG=C\0")
    assert "SECRET_KEY" in only(machine).subject


def test_another_command_line_is_drift_and_is_not_shown(machine: Machine) -> None:
    machine.run_process(argv=["/usr/bin/python3", "-m", "gunicorn", f"--password={BY_HAND}"])
    finding = only(machine)
    assert named(finding) == ("process", f"process {PID}")


def test_another_or_replaced_interpreter_is_drift(machine: Machine) -> None:
    exe = machine.layout.root / f"proc/{PID}/exe"
    link(exe, "/opt/python/bin/python3")
    finding = only(machine)
    assert named(finding) == ("process", f"process {PID}")
    assert "/opt/python/bin/python3" in finding.what
    assert machine.live in finding.what
    link(exe, f"{os.path.realpath(sys.executable)} (deleted)")
    assert named(only(machine)) == ("process", f"process {PID}")


def test_a_file_edited_and_restored_under_a_running_process_is_drift(machine: Machine) -> None:
    os.utime(machine.home / "gunicorn.conf.py")
    finding = only(machine)
    assert named(finding) == ("process", str(machine.home / "gunicorn.conf.py"))


def test_a_process_that_just_ended_is_left_to_the_unit_check(machine: Machine) -> None:
    machine.facts[machine.service] = {"MainPID": "4712"}
    assert look(machine).findings == []


# Secrets as credentials


class TestCredentials:
    """A release whose secrets are credentials."""

    NAMES = sorted(SECRETS)

    @pytest.fixture(autouse=True)
    def _handed_over(self, machine: Machine) -> None:
        layout = machine.layout
        source = machine.home.joinpath("source").readlink().name
        Releases(layout).destroy(machine.live)
        variables = {**PUBLIC, **SECRETS, "APP_REVISION": "r1"}
        gunicorn = "workers = 2\ntimeout = 30\n"
        made = {"variables": variables, "source": source, "service": SERVICE, "gunicorn": gunicorn}
        assert create(layout, NEW, credentials=self.NAMES, **made) == machine.live
        Releases(layout).mark(machine.live, PROVED, {"path": "/health"})
        known = f"{layout.part(machine.live, 'drop_in')} {layout.credentials_drop_in(machine.live)}"
        machine.facts[machine.service] = {"DropInPaths": known}
        for name, value in SECRETS.items():
            write(self.loaded(machine, name), value)
        self.run(machine)
        hour_ago = time.time() - 3600
        for path in layout.root.rglob("*"):
            os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)

    def loaded(self, machine: Machine, name: str) -> Path:
        """Return where systemd put a credential of the running process."""
        return machine.layout.root / f"run/credentials/{machine.service}/{name}"

    def held(self, machine: Machine, name: str = "SECRET_KEY") -> Path:
        return machine.layout.root / f"etc/shop/releases/{machine.live}.credentials/{name}"

    def run(self, machine: Machine, without: tuple[str, ...] = (), **changed: str) -> None:
        paths: dict[str, Any] = {f"{name}_FILE": f"/run/credentials/{machine.service}/{name}" for name in SECRETS}
        directory = {"CREDENTIALS_DIRECTORY": f"/run/credentials/{machine.service}"}
        machine.run_process(without=(*SECRETS, *without), **{**paths, **directory, **changed})

    def look(self, machine: Machine, **changes: Any) -> Report:
        return look(machine, **{"credentials": self.NAMES, **changes})

    def only(self, machine: Machine, **changes: Any) -> Finding:
        return only(machine, **{"credentials": self.NAMES, **changes})

    def test_a_healthy_host_has_no_drift(self, machine: Machine) -> None:
        report = self.look(machine)
        assert (report.findings, report.unchecked) == ([], [])

    def test_a_credential_path_set_by_systemd_is_not_drift(self, machine: Machine) -> None:
        self.run(machine, SECRET_KEY_FILE="/run/credentials/elsewhere/SECRET_KEY")
        assert self.look(machine).findings == []

    def test_a_credential_path_missing_from_the_process_is_drift(self, machine: Machine) -> None:
        self.run(machine, without=("SECRET_KEY_FILE",))
        assert named(self.only(machine)) == ("environment", "SECRET_KEY_FILE")

    def test_an_unexpected_credential_path_is_drift(self, machine: Machine) -> None:
        self.run(machine, TOKEN_FILE="/tmp/token")
        assert named(self.only(machine)) == ("environment", "TOKEN_FILE")

    def test_a_credential_that_is_also_a_process_variable_is_drift(self, machine: Machine) -> None:
        self.run(machine)
        path = machine.layout.root / f"proc/{PID}/environ"
        path.write_bytes(path.read_bytes() + f"SECRET_KEY={SECRETS['SECRET_KEY']}\0".encode())
        finding = self.only(machine)
        assert named(finding) == ("environment", "SECRET_KEY")
        assert f"process {PID}" in finding.what
        assert str(machine.layout.environment_file(machine.live)) in finding.what

    @pytest.mark.parametrize("change", ["other", "a line more"])
    def test_a_credential_changed_since_it_was_loaded_is_drift(self, machine: Machine, change: str) -> None:
        value = BY_HAND if change == "other" else f"{SECRETS['SECRET_KEY']}\n"
        write(self.loaded(machine, "SECRET_KEY"), value)
        finding = self.only(machine)
        directory = self.held(machine).parent
        assert named(finding) == ("environment", "SECRET_KEY")
        assert str(directory) in finding.what
        assert f"systemctl daemon-reload && systemctl restart {machine.service}" in finding.fix

    @pytest.mark.parametrize("names", [["SECRET_KEY"], ["DATABASE_URL", "SECRET_KEY"]])
    def test_a_credential_that_was_not_loaded_is_drift(self, machine: Machine, names: list[str]) -> None:
        for name in names:
            self.loaded(machine, name).unlink()
        finding = self.only(machine)
        assert named(finding) == ("environment", ", ".join(names))
        assert str(self.held(machine).parent) in finding.what
        assert f"process {PID}" in finding.what

    def test_an_edited_credential_is_reported_by_name(self, machine: Machine) -> None:
        path = write(self.held(machine), BY_HAND)
        assert all_named(self.look(machine).findings) == [
            ("file", str(path)),
            ("environment", "SECRET_KEY"),
            ("inventory", "SECRET_KEY"),
        ]

    def test_a_missing_credential_is_reported_with_its_path(self, machine: Machine) -> None:
        self.held(machine).unlink()
        found = self.look(machine).findings
        assert found[0].subject == str(self.held(machine))
        assert "flask_app_secrets_as" not in [finding.subject for finding in found]

    @pytest.mark.parametrize("name", ["SECRET_KEY~", "SECRET_KEY.bak"])
    def test_a_file_that_cannot_be_a_credential_is_drift(self, machine: Machine, name: str) -> None:
        write(self.held(machine, name), BY_HAND)
        found = [finding for finding in self.look(machine).findings if finding.id == "file"]
        assert any(name in finding.what for finding in found)

    @pytest.mark.parametrize("name", ["credential", "drop-in"])
    def test_a_file_that_others_can_read_or_write_is_drift(self, machine: Machine, name: str) -> None:
        path = self.held(machine) if name == "credential" else machine.layout.credentials_drop_in(machine.live)
        path.chmod(0o666)
        finding = self.only(machine)
        assert named(finding) == ("host", str(path))
        assert ("0600" if name == "credential" else "0644") in finding.what

    @pytest.mark.parametrize("name", ["credential", "drop-in"])
    def test_a_file_with_another_owner_is_drift(
        self, machine: Machine, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = self.held(machine) if name == "credential" else machine.layout.credentials_drop_in(machine.live)
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        [finding] = [each for each in self.look(machine).findings if named(each) == ("host", str(path))]
        mode = "0600" if name == "credential" else "0644"
        assert [fact for fact in ("root", mode) if fact not in finding.what.split(str(path))[1]] == []

    def test_an_edited_or_missing_credentials_drop_in_is_drift(self, machine: Machine) -> None:
        path = machine.layout.credentials_drop_in(machine.live)
        text = path.read_text()
        for edited in (f"{text}User=root\n", text.replace("%i.credentials/SECRET_KEY", "%i.credentials/DATABASE_URL")):
            write(path, edited)
            os.utime(path, (1, 1))
            assert named(self.only(machine)) == ("file", str(path))
        write(path, f"# somebody's remark\n{text}")
        os.utime(path, (1, 1))
        assert self.look(machine).findings == []
        path.unlink()
        assert self.look(machine).findings[0].subject == str(path)

    def test_two_edited_files_are_each_reported_once(self, machine: Machine) -> None:
        path = machine.layout.credentials_drop_in(machine.live)
        paths = [write(path, f"{path.read_text()}User=root\n"), write(self.held(machine), BY_HAND)]
        found = [finding.subject for finding in self.look(machine).findings if finding.id == "file"]
        assert found == [str(path) for path in paths]

    def test_a_drop_in_without_credentials_is_reported_once(self, machine: Machine) -> None:
        path = write(machine.layout.credentials_drop_in(machine.live), "[Service]\n")
        os.utime(path, (1, 1))
        found = [finding for finding in self.look(machine).findings if finding.subject == str(path)]
        assert [finding.id for finding in found] == ["file"]

    def test_credentials_newer_than_the_running_process_are_drift(self, machine: Machine) -> None:
        os.utime(machine.layout.credentials_drop_in(machine.live))
        finding = self.only(machine)
        assert named(finding) == ("process", str(machine.layout.credentials_drop_in(machine.live)))

    def test_secrets_that_should_be_variables_are_drift(self, machine: Machine) -> None:
        finding = self.only(machine, credentials=[])
        assert named(finding) == ("inventory", "flask_app_secrets_as")
        assert "as variables" in finding.what

    def test_an_added_or_removed_secret_is_not_a_change_of_method(self, machine: Machine) -> None:
        variables = {**PUBLIC, **SECRETS, "TOKEN": "hunter2"}
        more = self.only(machine, variables=variables, credentials=[*self.NAMES, "TOKEN"])
        assert named(more) == ("inventory", "TOKEN")
        del variables["TOKEN"], variables["SECRET_KEY"]
        less = self.only(machine, variables=variables, credentials=["DATABASE_URL"])
        assert named(less) == ("inventory", "SECRET_KEY")

    def test_a_different_value_in_the_inventory_is_named(self, machine: Machine) -> None:
        finding = self.only(machine, variables={**PUBLIC, **SECRETS, "SECRET_KEY": BY_HAND})
        assert named(finding) == ("inventory", "SECRET_KEY")


def test_secrets_that_should_be_credentials_are_drift(machine: Machine) -> None:
    finding = only(machine, credentials=sorted(SECRETS))
    assert named(finding) == ("inventory", "flask_app_secrets_as")
    assert "as credentials" in finding.what
    assert finding.fix.endswith("site.yml")


def test_credentials_that_systemd_adds_by_itself_are_not_drift(machine: Machine) -> None:
    write(machine.layout.root / f"run/credentials/{machine.service}/network", BY_HAND)
    assert look(machine).findings == []


def test_a_manual_drop_in_named_like_the_credentials_one_is_drift(machine: Machine) -> None:
    path = write(machine.layout.credentials_drop_in(machine.live), "[Service]\nUser=root\n")
    os.utime(path, (1, 1))
    assert named(only(machine)) == ("drop-in", str(path))


# Source and venv


def test_an_edited_source_is_drift(machine: Machine) -> None:
    path = write(machine.home / "source/shop/views.py", "views = 'edited'\n").resolve()
    finding = only(machine)
    assert named(finding) == ("source", str(path))


def test_a_file_added_to_or_removed_from_a_source_is_drift(machine: Machine) -> None:
    source = machine.home.joinpath("source").resolve()
    added = write(source / "shop/backdoor.py", "")
    assert only(machine).subject == str(added)
    added.unlink()
    (source / "shop/views.py").unlink()
    assert only(machine).subject == str(source / "shop")


def test_bytecode_in_a_source_is_not_drift(machine: Machine) -> None:
    write(machine.home / "source/__pycache__/wsgi.cpython-311.pyc", "made again")
    assert look(machine).findings == []


def test_a_source_without_a_content_digest_is_checked_by_file_times(machine: Machine) -> None:
    """A git source, whose digest is that of its commit."""
    source = create(machine.layout, OLD, source="c3" * 32).partition("-")[2]
    assert source
    path = machine.layout.sources / ("c3" * 32) / "wsgi.py"
    path.write_text("app = None\n")
    for each in (path, path.parent):
        os.utime(each, (1, 1))
    checked = integrity.check_source(machine.layout, "c3" * 32)
    assert (checked.faults, "it came from git" in checked.unchecked) == ([], True)
    os.utime(path, (time.time() + 60, time.time() + 60))
    assert integrity.check_source(machine.layout, "c3" * 32).faults == [Damage(path, f"{path} was changed")]


def test_a_missing_source_is_drift(machine: Machine) -> None:
    machine.home.joinpath("source").resolve().rename(machine.layout.sources / "away")
    assert only(machine).id == "source"


def test_a_large_source_is_not_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "BYTES", 3)
    report = look(machine)
    assert (report.findings, len(report.unchecked)) == ([], 1)


def test_changed_missing_and_added_files_of_a_venv_are_named(machine: Machine) -> None:
    site = machine.layout.venvs / VENV / "lib/python3.11/site-packages"
    write(site / "flask/app.py", "class Flask: evil = True\n")
    (site.parents[2] / "bin/flask").unlink()
    write(site / "backdoor.pth", "import os\n")
    found = [finding for finding in look(machine).findings if finding.id == "venv"]
    assert [finding.subject for finding in found] == [
        str(site.parents[2] / "bin"),
        str(site),
        str(site / "flask/app.py"),
        str(site.parents[2] / "bin/flask"),
    ]
    assert "backdoor.pth" in found[1].what


def test_what_is_no_file_where_a_package_has_one_is_told_in_one_sentence(machine: Machine) -> None:
    path = machine.layout.venvs / VENV / "lib/python3.11/site-packages/flask/app.py"
    path.unlink()
    path.mkdir()
    assert named(only(machine)) == ("venv", str(path))


def test_a_file_name_with_spaces_is_reported_completely(machine: Machine) -> None:
    site = machine.layout.venvs / VENV / "lib/python3.11/site-packages"
    write(site / "flask-3.1.dist-info/RECORD", "a page of it.html,sha256=x,1\n")
    assert str(site / "a page of it.html") in {finding.subject for finding in look(machine).findings}


def test_a_file_shipped_by_two_packages_may_match_either(machine: Machine) -> None:
    venv = machine.layout.venvs / VENV
    site = venv / "lib/python3.11/site-packages"
    script = venv / "bin/flask"
    other = base64.urlsafe_b64encode(hashlib.sha256(b"#!/bin/sh\nexec other\n").digest()).decode().rstrip("=")
    write(site / "flask_too-1.0.dist-info/RECORD", f"../../../bin/flask,sha256={other},21\n")
    write(venv / "greenlight.json", "{}\n")
    assert integrity.check_venv(venv) == integrity.Checked()
    script.write_text("#!/bin/sh\nexec other\n")
    assert integrity.check_venv(venv) == integrity.Checked()
    script.write_text("#!/bin/sh\nexec a third\n")
    assert integrity.check_venv(venv) == integrity.Checked([Damage(script, f"{script} was changed")])
    script.unlink()
    write(venv / "greenlight.json", "{}\n")
    assert integrity.check_venv(venv) == integrity.Checked([Damage(script, f"{script} is missing")])


@pytest.mark.parametrize("name", ["../../../../../outside", "{root}/outside", "linked/outside", "link"])
def test_recorded_files_outside_the_venv_are_not_read(machine: Machine, name: str) -> None:
    venv = machine.layout.venvs / VENV
    site = venv / "lib/python3.11/site-packages"
    outside = machine.layout.venvs / "outside"
    outside.write_text("of somebody else\n")
    link(site / "linked", str(outside.parent))
    link(site / "link", str(outside))
    record = site / "flask_too-1.0.dist-info/RECORD"
    write(record, f"{name.format(root=outside.parent)},sha256=x,21\n")
    write(venv / "greenlight.json", "{}\n")
    (fault,) = integrity.check_venv(venv).faults
    assert fault.path == record
    assert "outside" in fault.what or "link" in fault.what


def test_recorded_files_are_not_read_through_links_the_app_controls(machine: Machine) -> None:
    venv = machine.layout.venvs / VENV
    site = venv / "lib/python3.11/site-packages"
    link(venv / "var", str(machine.layout.state))
    machine.layout.state.mkdir(parents=True, exist_ok=True)
    link(machine.layout.state / "back", str(site))
    write(site / "flask_too-1.0.dist-info/RECORD", "../../../var/back/gone.py,sha256=x,21\n")
    write(venv / "greenlight.json", "{}\n")
    assert integrity.check_venv(venv).faults == [Damage(site / "gone.py", f"{site / 'gone.py'} is missing")]


@pytest.mark.parametrize("content", [b"\xff\n", b"\n", b'"' + b"x" * 2**18])
def test_a_malformed_package_record_does_not_stop_verify(machine: Machine, content: bytes) -> None:
    venv = machine.layout.venvs / VENV
    record = venv / "lib/python3.11/site-packages/flask_too-1.0.dist-info/RECORD"
    record.parent.mkdir(parents=True)
    record.write_bytes(content)
    write(venv / "greenlight.json", "{}\n")
    assert all(fault.path == record for fault in integrity.check_venv(venv).faults)


def test_only_some_of_many_changed_files_are_named(machine: Machine) -> None:
    site = machine.layout.venvs / VENV / "lib/python3.11/site-packages"
    rows = "".join(f"gone{number}.py,sha256=x,1\n" for number in range(20))
    write(site / "flask-3.1.dist-info/RECORD", rows)
    found = look(machine).findings
    assert len(found) == NAMED + 1
    assert found[-1].what.startswith("15 more ")


def test_an_unfinished_venv_or_one_without_python_is_drift(machine: Machine) -> None:
    venv = machine.layout.venvs / VENV
    link(venv / "bin/python", "/nowhere/python3")
    found = [finding for finding in look(machine).findings if finding.id == "venv"]
    assert all_named(found) == [("venv", str(venv / "bin/python"))]
    assert found[0].fix.endswith("site.yml")
    (venv / "greenlight.json").unlink()
    found = [finding for finding in look(machine).findings if finding.id == "venv"]
    assert all_named(found) == [("venv", str(venv / "greenlight.json"))]


def test_checking_a_venv_has_a_time_limit_that_is_reported(machine: Machine) -> None:
    checked = integrity.check_venv(machine.layout.venvs / VENV, seconds=-1)
    assert checked.unchecked.startswith("1 packages of")


# The inventory


def test_variables_that_differ_in_the_inventory_are_named(machine: Machine) -> None:
    variables = {**PUBLIC, **SECRETS, "SECRET_KEY": BY_HAND, "NEW": "new"}
    del variables["GREETING"]
    found = look(machine, variables=variables).findings
    assert all_named(found) == [("inventory", "SECRET_KEY"), ("inventory", "NEW"), ("inventory", "GREETING")]


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("gunicorn", "workers = 4\ntimeout = 30\n", ["(workers)", "flask_app_gunicorn_*"]),
        ("drop_in", "[Service]\nMemoryMax=1G\nTasksMax=9\n", ["(MemoryMax, TasksMax)", "flask_app_service_*"]),
        ("service", SERVICE + "UMask=0077\n", ["(UMask)"]),
        ("socket", "[Socket]\nBacklog=9\n", ["(Backlog)"]),
        ("command", "flask db upgrade", ["flask_app_release_command"]),
    ],
)
def test_settings_that_differ_in_the_inventory_are_named(
    machine: Machine, part: str, text: str, told: list[str]
) -> None:
    finding = only(machine, **{part: text})
    assert finding.id == "inventory"
    assert [fact for fact in told if fact not in finding.what] == []
    assert ("(" in finding.what) == ("(" in told[0])


def test_changed_variable_names_are_drift(machine: Machine) -> None:
    assert only(machine, release_variable="RELEASE_ID").subject == "RELEASE_ID"
    found = look(machine, revision_variable="GIT_COMMIT").findings
    assert [finding.subject for finding in found] == ["GIT_COMMIT", "APP_REVISION"]


def test_a_value_that_no_process_can_have_is_reported_by_name(machine: Machine) -> None:
    finding = only(machine, variables={"FLAG": True})
    assert named(finding) == ("inventory", "flask_app_env")
    assert "FLAG" in finding.what


def test_settings_without_effect_on_the_running_release_are_not_drift(machine: Machine) -> None:
    assert look(machine, reversible=False, secret_names=["SECRET_KEY"]).findings == []


# How users reach it


def test_an_edited_site_is_drift_unless_only_a_comment_changed(machine: Machine) -> None:
    path = machine.edge.tree.etc / "sites-enabled/shop.conf"
    text = path.read_text()
    path.write_text(f"# somebody else's Ansible\n{text}")
    assert look(machine).findings == []
    path.write_text(f"{text}# and\nserver {{ listen 81; }}\n")
    assert named(only(machine)) == ("nginx", str(path))
    path.unlink()
    assert named(only(machine)) == ("nginx", str(path))


def test_a_site_file_that_is_not_text_is_drift(machine: Machine) -> None:
    path = machine.edge.tree.etc / "sites-enabled/shop.conf"
    path.write_bytes(b"# \xff\n")
    assert only(machine).subject == str(path)


def test_another_tls_mode_is_drift(machine: Machine) -> None:
    found = look(machine, site=replace(SITE, tls=Tls("self_signed"))).findings
    assert [finding.id for finding in found] == ["certificate"]


def test_another_nginx_drop_in_is_drift(machine: Machine) -> None:
    assert "nginx.service.d" in only(machine, site=replace(SITE, drop_in="[Service]\n")).subject


def test_an_unconfirmed_nginx_change_is_drift(machine: Machine) -> None:
    write(machine.edge.tree.state / "shop.json", '{"begun": "x"}')
    assert only(machine).id == "unfinished"


def test_a_stopped_or_disabled_nginx_is_drift(machine: Machine) -> None:
    machine.facts["nginx.service"] = {"ActiveState": "failed"}
    assert named(only(machine)) == ("unit", "nginx.service")
    assert "failed" in only(machine).what
    machine.facts.clear()
    machine.disabled.add("nginx.service")
    assert named(only(machine)) == ("unit", "nginx.service")
    assert "systemctl enable nginx" in only(machine).fix


def test_a_host_without_nginx_is_drift(machine: Machine) -> None:
    (machine.edge.root / "bin/nginx").unlink()
    assert named(only(machine)) == ("nginx", str(machine.edge.edge.tree.nginx))


def test_a_missing_shared_site_is_drift(machine: Machine) -> None:
    (machine.edge.tree.etc / "sites-enabled/shop.conf").unlink()
    inside = replace(SITE, files={}, inside="blog")
    finding = only(machine, site=inside)
    assert named(finding) == ("nginx", str(machine.edge.tree.etc))
    assert [fact for fact in ("blog", "--limit") if fact not in finding.fix] == []


class TestCertificate:
    """A site with its own certificate."""

    @pytest.fixture
    def site(self, machine: Machine) -> Site:
        text = f"{OWNER}\nserver {{\nssl_certificate {machine.layout.certificate}/fullchain.pem;\n}}\n"
        site = replace(SITE, files={"sites-enabled/shop.conf": text}, tls=Tls("self_signed"))
        machine.edge.edge.publish(site)
        return site

    def test_a_served_certificate_is_not_drift(self, machine: Machine, site: Site) -> None:
        assert look(machine, site=site).findings == []

    def test_a_certificate_that_nginx_has_not_loaded_is_drift(
        self, machine: Machine, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_certificate, "served", lambda port, name: b"older")
        older = only(machine, site=site)
        monkeypatch.setattr(_certificate, "served", lambda port, name: b"")
        none = only(machine, site=site)
        assert all_named([older, none]) == [("certificate", str(machine.layout.certificate))] * 2
        assert "systemctl reload nginx" in older.fix
        assert [fact for fact in ("shop.example.org", "443") if fact not in none.what] == []

    def test_a_certificate_key_that_others_can_read_is_drift(self, machine: Machine, site: Site) -> None:
        key = machine.layout.certificate / "privkey.pem"
        key.chmod(0o644)
        finding = only(machine, site=site)
        assert named(finding) == ("certificate", str(key))
        assert finding.fix.endswith(f"chmod 0600 {key}")

    def test_a_missing_provided_certificate_is_drift(self, machine: Machine, site: Site) -> None:
        tls = Tls("provided", chain="chain", key="key")
        assert only(machine, site=replace(site, tls=tls)).id == "certificate"
