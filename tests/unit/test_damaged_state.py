# SPDX-License-Identifier: GPL-3.0-or-later
"""State that somebody damaged: each file, link, directory and socket of an app, in each way.

Verify names it. The next deploy repairs it or says what to do. There is never a traceback, and the site keeps serving.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.greenlight.flask.plugins.module_utils import _adapter
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app import lock as _lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, NoAnswer, Target
from ansible_collections.greenlight.flask.plugins.module_utils._build import venv as _venv
from ansible_collections.greenlight.flask.plugins.module_utils._drift import integrity, units
from ansible_collections.greenlight.flask.plugins.module_utils._drift.drift import drift
from ansible_collections.greenlight.flask.plugins.module_utils._drift.integrity import Checked
from ansible_collections.greenlight.flask.plugins.module_utils._drift.look import Report, Wanted
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import differences, survey
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import proof_of
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, Specification
from ansible_collections.greenlight.flask.plugins.module_utils._steps import (
    check_front_door,
    claim,
    compare_keys,
    find_rollback,
    finish,
    make_release,
    preflight,
    prove_candidate,
    prune,
    purge_old_secrets,
    releases_info,
    retire,
    run_release_command,
    switch,
    unlock,
)

from tests.unit.fakes import (
    SECRETS,
    Host,
    arguments,
    below,
    installed,
    plan_options,
    release_options,
    report,
    specification,
)

APP = "shop"
OLDER, OLD, FAILED, NEW = (f"20261121T09442{second}Z" for second in range(4))
VARIABLES = {"FLASK_CONFIG": "staging", "APP_REVISION": "r1", **SECRETS}
OWNER = {"run": "0123456789ab", "by": "carol@desk", "place": "here", "pid": 1, "started": "1"}
TAKING: dict[str, Any] = {"owner": OWNER, "stale_seconds": 1800}
NOBODY = 65534
#: The time limit of a play, even if it reads from a pipe without a writer.
SECONDS = 20
#: Name of the directory that holds the host.
ROOT = "host"


class Site(Host):
    """A host and its users, who follow the link that Nginx connects through.

    Args:
        has_page: whether the app has a health page; without one its workers report its configuration.
    """

    has_page = True

    def get(self, target: Target, seconds: float, worth: object) -> Answer:
        path = Path(target.address)
        if not target.address.startswith("/"):
            path = Path(os.readlink(self.layout.live_socket)) if self.layout.live_socket.is_symlink() else Path("/none")
        unit = self.layout.service_unit(path.stem)
        if not self.is_open(path) or unit not in self.running() or path.stem.startswith(FAILED):
            raise NoAnswer("no connection (Connection refused)")
        if not self.has_page:
            return Answer(200 if target.path == "/" else 404, "Welcome", 0.01)
        document = {"env": "staging", "debug": False, "revision": "r1", "release": path.stem}
        return Answer(200, json.dumps(document), 0.01)

    def is_open(self, path: Path) -> bool:
        try:
            return stat.S_ISSOCK(os.lstat(path).st_mode)
        except OSError:
            return False

    def serves(self) -> bool:
        try:
            self.get(Target("http://127.0.0.1:80", "shop.example.org", "/"), 1, None)
        except NoAnswer:
            return False
        return True

    def ask(self, argv: list[str], **options: object) -> Finished:
        """Simulate the programs that query the host itself."""
        if argv[0] == "systemctl" and argv[1] != "--version":
            return self.run(argv)
        played = {
            "systemctl": Finished(0, "systemd 257 (257.9-1~deb13u1)\n", ""),
            "dpkg-query": Finished(0, "python3-apt installed\n", ""),
            "/usr/bin/python3": Finished(0, json.dumps([[3, 13, 5], "cpython-313", "linux", "/usr/bin/python3"]), ""),
        }
        return played.get(str(argv[0]), Finished(1, "", ""))


@dataclass
class Outcome:
    """The result of a run: the messages of failed modules, and the release that it was for."""

    said: list[str] = field(default_factory=list)
    release: str = ""

    def __bool__(self) -> bool:
        return not self.said


@dataclass
class Operator:
    """Runs the plays step by step, in the order of the role's tasks."""

    site: Site
    capture: pytest.CaptureFixture[str]

    def run(self, step: Any, **options: Any) -> dict[str, Any]:
        """Run a step to its end; a traceback fails the test."""
        self.capture.readouterr()
        name = step.__name__.rpartition(".")[2]
        with patch_module_args(arguments(name, **options)), pytest.raises(SystemExit):
            _adapter.main()
        outcome: dict[str, Any] = json.loads(self.capture.readouterr().out)
        return outcome

    def deploy(self, time: str) -> Outcome:
        try:
            desired = self.desired(specification(time, **FIELDS))
            looked = self.step(preflight, **TAKING, **WANTED, site=SITE, secrets={}, desired=desired)
            if looked["problems"]:
                return Outcome([f"{problem['what']} {problem['fix']}" for problem in looked["problems"]])
        except _StoppedError as error:
            return Outcome([str(error)])
        host = looked["host"]
        if looked["differs"] == []:
            return Outcome(release=Releases(self.site.layout).live())

        def story() -> str:
            if not host["claimed"]:
                self.step(claim, run=OWNER["run"], environment="staging")
            for place in (
                self.site.layout.sources / MADE.source,
                self.site.layout.venvs / MADE.venv,
            ):
                place.mkdir(exist_ok=True)  # the source arrives, the venv is built
            venv = self.site.layout.venvs / MADE.venv
            (venv / "bin").mkdir(exist_ok=True)
            (venv / "bin/python").touch()
            (venv / "greenlight.json").touch()
            made = self.step(
                make_release,
                run=OWNER["run"],
                **release_options(specification(time, **FIELDS), by=OWNER["by"]),
            )
            if not made["serves"]:
                self.step(run_release_command, run=OWNER["run"], release=made["release"], seconds=600)
            self.activate(made["release"], serves=made["serves"])
            self.finish()
            return str(made["release"])

        return self.whole(story)

    def desired(self, made: Specification) -> dict[str, Any]:
        """Return what the first step compares the host with."""
        git = dict.fromkeys(("git_url", "git_ref", "git_key_file", "subdirectory"), "")
        options = plan_options(made)
        return {
            "source": {**git, "digest": made.source, "static": [], "revision": made.revision},
            "requirements": "requirements.txt",
            "choice": {"extras": [], "groups": [], "package": "", "project": False, "installer": "uv"},
            "plan": {**options["specification"], "variables": options["variables"]},
            "url": "http://127.0.0.1:80",
            **self.asked(""),
        }

    def asked(self, release: str) -> dict[str, Any]:
        """Return the terms of a proof."""
        contract = {**CONTRACT, "release": release}
        question = {**QUESTION, "ask": not self.site.has_page}
        return {"page": PAGE, "contract": contract, "patience": PATIENCE, "question": question, "bounds": BOUNDS}

    def roll_back(self) -> Outcome:
        def story() -> str:
            target = self.step(find_rollback, **TAKING, environment="staging", release="", force=False)["release"]
            self.activate(target, serves=False)
            self.finish()
            return str(target)

        return self.whole(story)

    def whole(self, story: Callable[[], str]) -> Outcome:
        """Do what the role does around its steps."""
        outcome = Outcome()
        try:
            outcome.release = story()
        except _StoppedError as error:
            outcome.said.append(str(error))
            stopped = self.run(retire, run=OWNER["run"], bounds=BOUNDS)
            outcome.said += [stopped["msg"]] if stopped.get("failed") else []
            self.step(unlock, of=OWNER["run"])
        return outcome

    def activate(self, name: str, *, serves: bool) -> None:
        asked = self.asked(name)
        if not serves:
            self.step(prove_candidate, run=OWNER["run"], release=name, url="", **asked)
            self.step(switch, run=OWNER["run"], release=name)
        self.step(check_front_door, run=OWNER["run"], url="http://127.0.0.1:80", **asked)

    def finish(self) -> None:
        self.step(finish, run=OWNER["run"], bounds=BOUNDS, keep=5, purge=False, give_back=True)

    def step(self, step: Any, **options: Any) -> dict[str, Any]:
        outcome = self.run(step, **options)
        if outcome.get("failed"):
            raise _StoppedError(outcome["msg"])
        return outcome

    def verify(self) -> Report:
        options = plan_options(specification(**FIELDS))
        wanted = Wanted(Plan.of(options["specification"], options["variables"]))
        return drift(self.site.layout, wanted, "inventories/staging")


class _StoppedError(Exception):
    """A step failed; the text is its message."""


MADE = specification()
#: What is different in this file's releases.
FIELDS: dict[str, Any] = {
    "variables": VARIABLES,
    "command": "flask db upgrade",
    "credentials": ["DATABASE_URL"],
    "secret_names": list(SECRETS),
}
CONTRACT = {
    "environment": "staging",
    "debug": False,
    "revision": "r1",
    "status": 200,
    "fields": {"environment": "env", "debug": "debug", "revision": "revision", "release": "release"},
    "subset": {},
}
PAGE = {"host": "shop.example.org", "path": "/health", "other_path": "/", "scheme": "http", "prefix": ""}
QUESTION = {
    "environment_keys": [],
    "secret_key_variable": "SECRET_KEY",
    "command_elsewhere": False,
    "accepted": [],
}
#: Other tests cover the site.
SITE = {"files": {}, "tls": {"mode": "none", "port": 443, "directory": "", "email": ""}}
PATIENCE = {"start_seconds": 0.02, "probe_seconds": 0.02, "successes": 1, "probes": 1, "interval_seconds": 0}
BOUNDS = {"stop_seconds": 45, "drain_seconds": 30}
WANTED = {
    "environment": "staging",
    "python": "/usr/bin/python3",
    "python_minimum": "3.11",
    "packages": [],
    "ports": {},
    "free_mb": 0,
    "keep_releases": 5,
    "service_settings": {},
}


# The parts of the state


@dataclass(frozen=True)
class Place:
    """A part of the state.

    Args:
        path: where it is.
        kind: determines how it can be damaged.
        refused: damage that a deploy can't repair; it says what to do instead.
        unseen: damage that verify doesn't report, because the state is valid with it.
        content: what a killed run leaves there; empty for what every deploy leaves.
    """

    path: Callable[[Layout], Path]
    kind: str
    refused: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()
    content: str = ""


LIVE, BEFORE, BAD = f"{OLD}-a1a1a1a1", f"{OLDER}-a1a1a1a1", f"{FAILED}-c3c3c3c3"
#: A directory with somebody's files is never removed.
TAKEN = frozenset({"directory"})
LOST = frozenset({"missing", "empty", "cut", "binary", "empty directory", "fifo"})
NO_DIRECTORY = frozenset({"link", "file"})
MISSING, EMPTIED = frozenset({"missing"}), frozenset({"emptied"})
RECORD = json.dumps({**OWNER, "since": "2026-11-21", "step": 1.0})


def of_live(name: str) -> Callable[[Layout], Path]:
    return lambda layout: layout.release(LIVE) / name


STATE = {
    "stamp": Place(lambda layout: layout.environment_id, "file", LOST | TAKEN),
    "record": Place(lambda layout: layout.made, "file", TAKEN),
    "key": Place(lambda layout: layout.digest_key, "file", TAKEN),
    "rehearsal": Place(lambda layout: layout.rehearsal, "file", TAKEN),
    "ledger": Place(lambda layout: layout.ledger, "file", TAKEN | {"link"}),
    "trial": Place(lambda layout: layout.trial, "file", TAKEN, content=BEFORE),
    "rollback": Place(lambda layout: layout.rollback, "file", TAKEN, content=BEFORE),
    "lock": Place(lambda layout: layout.lock, "file", TAKEN, content=RECORD),
    # Nothing reads the content of the guard.
    "guard": Place(
        lambda layout: layout.lock.with_suffix(".guard"), "guard", TAKEN | {"empty directory", "link", "fifo"}
    ),
    "live": Place(lambda layout: layout.live, "link", TAKEN),
    "live.sock": Place(lambda layout: layout.live_socket, "link", TAKEN),
    "previous": Place(lambda layout: layout.previous, "link", TAKEN, MISSING),
    "candidate.sock": Place(lambda layout: layout.candidate_socket, "link", TAKEN, content=f"/run/shop/{LIVE}.sock"),
    "etc": Place(lambda layout: layout.etc, "directory", NO_DIRECTORY | MISSING | EMPTIED),
    "etc/releases": Place(lambda layout: layout.environment_files, "directory", NO_DIRECTORY),
    "srv": Place(lambda layout: layout.srv, "directory", NO_DIRECTORY),
    # Other tests check that the code is complete.
    "srv/sources": Place(lambda layout: layout.sources, "directory", NO_DIRECTORY, EMPTIED),
    "srv/venvs": Place(lambda layout: layout.venvs, "directory", NO_DIRECTORY, EMPTIED),
    "srv/releases": Place(lambda layout: layout.releases, "directory", NO_DIRECTORY),
    "run": Place(lambda layout: layout.runtime_root, "directory", NO_DIRECTORY),
    "socket": Place(lambda layout: layout.socket(LIVE), "socket"),
    "release": Place(lambda layout: layout.release(LIVE), "directory"),
    "manifest": Place(of_live("release.json"), "file"),
    "proved": Place(of_live("proved.json"), "part", TAKEN),
    "commanded": Place(of_live("commanded.json"), "part", TAKEN, MISSING),
    "gunicorn": Place(of_live("gunicorn.conf.py"), "part"),
    "command": Place(of_live("release-command"), "part"),
    "hooks": Place(of_live("gunicorn_hooks.py"), "part"),
    "source": Place(of_live("source"), "link"),
    "venv": Place(of_live("venv"), "link"),
    "environment": Place(lambda layout: layout.environment_file(LIVE), "file"),
    "credentials": Place(lambda layout: layout.credentials(LIVE), "directory"),
    "credential": Place(lambda layout: layout.credentials(LIVE) / "DATABASE_URL", "part"),
    "credentials drop-in": Place(lambda layout: layout.credentials_drop_in(LIVE), "part"),
    "drop-in": Place(lambda layout: layout.part(LIVE, "drop_in"), "part"),
    "service unit": Place(lambda layout: layout.part(LIVE, "service"), "part"),
    "socket unit": Place(lambda layout: layout.part(LIVE, "socket"), "part"),
    "wanted service": Place(lambda layout: layout.units / f"multi-user.target.wants/{APP}@{LIVE}.service", "wanted"),
    "wanted socket": Place(lambda layout: layout.units / f"sockets.target.wants/{APP}@{LIVE}.socket", "wanted"),
    "manifest of the previous": Place(lambda layout: layout.release(BEFORE) / "release.json", "part"),
    "proof of the previous": Place(lambda layout: layout.release(BEFORE) / "proved.json", "part", TAKEN, MISSING),
    "environment of the previous": Place(lambda layout: layout.environment_file(BEFORE), "part"),
    "bad": Place(lambda layout: layout.release(BAD) / "bad.json", "part", TAKEN, MISSING),
}


# How it is damaged


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    if path.is_symlink():
        lead(path, os.readlink(path)[: len(os.readlink(path)) // 2])
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def binary(path: Path) -> None:
    if path.is_symlink():
        lead(path, "\udcff\x1b[31m")
    else:
        path.write_bytes(b"\x00\xff\xfe\x1b[31m{[\n" * 3)


def lead(path: Path, target: str) -> None:
    path.unlink()
    os.symlink(os.fsencode(target), os.fsencode(path))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    mode = 0o700 if path.is_dir() and path.stat().st_mode & 0o077 == 0 else 0o755
    gone(path)
    make(path)
    if path.is_dir():
        path.chmod(mode)


def put_aside(path: Path) -> None:
    """Move it away, and leave a link to its new place."""
    aside = next(parent for parent in path.parents if parent.name == ROOT) / f"aside-{path.name}"
    path.rename(aside)
    path.symlink_to(aside)


def taken(path: Path) -> None:
    path.mkdir()
    (path / "somebody's").write_text("work\n")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": gone,
    "empty": emptied,
    "cut": cut,
    "binary": binary,
    "nowhere": lambda path: lead(path, f"releases/{NEW}-ffffffff"),
    "file": lambda path: replaced(path, lambda path: path.write_text("a file\n")),
    "empty directory": lambda path: replaced(path, Path.mkdir),
    "directory": lambda path: replaced(path, taken),
    "fifo": lambda path: replaced(path, os.mkfifo),
    "link": put_aside,
    "emptied": lambda path: replaced(path, Path.mkdir),
    "owner": lambda path: os.chown(path, NOBODY, NOBODY, follow_symlinks=False),
    "mode": lambda path: path.chmod(0o777 if path.is_dir() else 0o666),
}
WAYS = {
    "file": ("missing", "empty", "cut", "binary", "empty directory", "directory", "fifo", "link", "owner", "mode"),
    "part": ("missing", "empty", "cut", "binary", "directory", "owner"),
    "guard": ("empty directory", "directory", "fifo", "link", "owner", "mode"),
    "link": ("missing", "cut", "binary", "nowhere", "file", "empty directory", "directory", "owner"),
    "wanted": ("missing", "file", "empty directory"),
    "directory": ("missing", "emptied", "link", "file", "owner", "mode"),
    "socket": ("missing", "file", "directory", "owner", "mode"),
}
CELLS = [
    (name, damage)
    for name, place in STATE.items()
    for damage in WAYS[place.kind]
    if not place.content or damage not in ("missing", "owner", "mode")
]


def damaged(site: Site, name: str, damage: str) -> Path:
    """Damage a part of the state; return its path."""
    if damage == "owner" and os.geteuid() != 0:
        pytest.skip("only root can give a file to another")
    place, path = STATE[name], STATE[name].path(site.layout)
    if place.content:
        path.symlink_to(place.content) if place.kind == "link" else path.write_text(place.content)
    DAMAGES[damage](path)
    return path


# The host


@pytest.fixture(scope="module")
def golden() -> Iterator[Path]:
    """Yield a directory for the host and a healthy copy next to it. In memory, because each test makes a new host."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture
def operator(golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Operator]:
    """An operator of a healthy host: two releases were live, a third was refused."""
    root = golden / ROOT
    kept = golden / "kept"
    if kept.exists():
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", kept, root], check=True)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(_lock, "WAIT_SECONDS", 0)
    monkeypatch.setattr(integrity, "check_source", lambda *_: Checked())
    monkeypatch.setattr(integrity, "check_venv", lambda *_: Checked())
    site = Site(Layout(APP, root))
    installed(root, monkeypatch.setattr, site)
    for module in (survey, _venv, units):
        monkeypatch.setattr(module, "run", site.ask)
    account = root / "account"

    def make_account(_layout: Layout) -> list[str]:
        account.touch()
        return []

    monkeypatch.setattr(accounts, "number", lambda part, name: 998 if account.exists() else None)
    monkeypatch.setattr(accounts, "make", make_account)
    monkeypatch.setattr(_adapter, "Layout", functools.partial(Layout, root=root))
    monkeypatch.setattr(preflight, "Edge", lambda layout: SimpleNamespace(tree=SimpleNamespace(installed=False)))
    published = SimpleNamespace(pending=lambda site: ({}, []), publish=lambda site, watch: False)
    monkeypatch.setattr(differences, "Edge", lambda layout: published)
    monkeypatch.setattr(differences, "venv_digest", lambda *_: MADE.venv)
    operator = Operator(site, capsys)

    def late(*_: object) -> None:
        pytest.fail("it waits for what never comes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        if not kept.exists():
            for directory in ("usr/bin", "run/systemd/system", "srv", "proc"):
                (root / directory).mkdir(parents=True)
            (root / "usr/bin/apt-get").touch()
            for time in (OLDER, OLD):
                changes = {"gunicorn": f"# {time}\ntimeout = {time[-2]}\n"}
                with pytest.MonkeyPatch.context() as patch:
                    patch.setitem(FIELDS, "gunicorn", changes["gunicorn"] if time == OLDER else MADE.gunicorn)
                    outcome = operator.deploy(time)
                    assert outcome, outcome.said
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(FIELDS, "source", "c3" * 32)
                assert not operator.deploy(FAILED)
            assert operator.verify().findings == []
            subprocess.run(["cp", "-a", root, kept], check=True)
        yield operator
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    shutil.rmtree(root)


def is_readable(*texts: str) -> bool:
    return not any(
        re.search(r"Traceback|\bNone\b|Errno|\\x|[\x00-\x09\x0b-\x1f\x7f\udc80-\udcff]", text) for text in texts
    )


def is_about(text: str, path: Path) -> bool:
    """Return whether a text names a path, something below it, or its unit or variable."""
    return str(path) in text or (path.name.startswith((f"{APP}@", "DATABASE_URL")) and path.name in text)


def test_a_healthy_host_is_left_unchanged(operator: Operator) -> None:
    layout = operator.site.layout
    assert operator.verify().findings == []
    operator.site.calls.clear()
    assert operator.deploy(NEW).release == LIVE
    assert not [call for call in operator.site.calls if call[1] in ("start", "stop", "enable", "disable")]
    assert [each.id for each in Releases(layout).all()] == [BEFORE, LIVE, BAD]
    assert operator.verify().findings == []
    assert operator.roll_back().release == BEFORE


def lose(operator: Operator, part: str) -> dict[str, object]:
    """Make one part of a healthy host different; return the fields of the wanted release that differ."""
    site, layout = operator.site, operator.site.layout
    if part == "account":
        (layout.root / "account").unlink()
    elif part == "venv":
        (layout.venvs / MADE.venv / "greenlight.json").unlink()
    elif part == "live":
        site.run(["systemctl", "stop", layout.service_unit(LIVE)])
    elif part == "leftovers":
        (layout.venvs / ("d4" * 32)).mkdir()
    elif part == "front-door":
        layout.trial.write_text(LIVE)
    changed: dict[str, dict[str, object]] = {"source": {"source": "e5" * 32}, "release": {"command": "flask init-db"}}
    return changed.get(part, {})


@pytest.mark.parametrize(
    "part", ["packages", "account", "source", "venv", "release", "live", "leftovers", "front-door", "hook", "nothing"]
)
def test_the_first_step_finds_what_differs_and_gives_the_lock_back_if_nothing_does(
    operator: Operator, part: str
) -> None:
    layout = operator.site.layout
    desired = operator.desired(specification(NEW, **{**FIELDS, **lose(operator, part)}))
    wanted = {**WANTED, "packages": ["nginx"] if part == "packages" else []}
    given = {} if part == "hook" else {"desired": desired}
    looked = operator.step(preflight, **TAKING, **wanted, site=SITE, secrets={}, **given)
    if part == "hook":  # it may still change the source
        assert "differs" not in looked
    else:
        assert looked["differs"] == ([] if part == "nothing" else [part])
        assert bool(looked["live"]) == (part == "nothing")
    assert layout.lock.exists() == (part != "nothing")


def test_a_complete_run_gives_the_lock_back(operator: Operator) -> None:
    lock = operator.site.layout.lock
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FIELDS, "command", "flask init-db")
        outcome = operator.deploy(NEW)
    assert (outcome.release, lock.exists()) == (f"{NEW}-{MADE.source[:8]}", False)
    assert (operator.roll_back().release, lock.exists()) == (LIVE, False)


def test_an_unchanged_host_whose_page_does_not_answer_differs(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = operator.desired(specification(NEW, **FIELDS))
    monkeypatch.setattr(operator.site, "is_open", lambda path: False)
    assert operator.step(preflight, **TAKING, **WANTED, site=SITE, secrets={}, desired=desired)["differs"] == [
        "front-door"
    ]
    assert operator.site.layout.lock.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CELLS)
def test_damage_is_reported_and_the_next_deploy_repairs_it_or_gives_a_fix(
    operator: Operator, name: str, damage: str
) -> None:
    place, path = STATE[name], damaged(operator.site, name, damage)
    findings = operator.verify().findings
    assert is_readable(*(f"{finding.subject} {finding.what} {finding.fix}" for finding in findings))
    assert all(finding.fix for finding in findings)
    about = [finding for finding in findings if is_about(f"{finding.subject} {finding.what}", path)]
    assert bool(about) == (damage not in place.unseen), findings

    served = operator.site.serves()
    outcome = operator.deploy(NEW)
    assert is_readable(*outcome.said), outcome.said
    if damage in place.refused:
        assert any(is_about(said, path) for said in outcome.said), outcome
        assert operator.site.serves() == served
        return
    assert outcome, outcome.said
    assert operator.site.serves()
    left = [finding.subject for finding in operator.verify().findings]
    # Unreadable parts of the history are kept for people to look at.
    assert left == ([str(path)] if name == "ledger" and damage in ("cut", "binary") else [])


def test_each_damaged_part_of_a_release_is_named(operator: Operator) -> None:
    names = {
        "manifest": "binary",
        "gunicorn": "missing",
        "socket unit": "directory",
        "environment of the previous": "cut",
    }
    paths = {str(damaged(operator.site, name, damage)) for name, damage in names.items()}
    assert paths <= {finding.subject for finding in operator.verify().findings}


#: The inventory's keys, which the live release has.
KEYS = {"key": SECRETS["SECRET_KEY"], "fallbacks": []}
#: Damage that could affect a rollback.
OF_A_ROLLBACK = [
    (name, damage)
    for name, damage in CELLS
    if damage not in ("owner", "mode", "emptied") and (STATE[name].kind not in ("part", "wanted") or "previous" in name)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), OF_A_ROLLBACK)
def test_damage_blocks_no_inspection_and_no_rollback_without_a_reason(
    operator: Operator, name: str, damage: str
) -> None:
    path = damaged(operator.site, name, damage)
    served = operator.site.serves()
    for module, options in (
        (releases_info, {}),
        (compare_keys, {"environment": "staging", "variable": "SECRET_KEY", "keys": KEYS}),
        (purge_old_secrets, {"check": True}),
        (prune, {"keep": 1, "check": True}),
    ):
        assert is_readable(operator.run(module, **options).get("msg", ""))
    back = operator.roll_back()
    assert is_readable(*back.said)
    if back:
        assert back.release == BEFORE
        assert operator.site.serves()
    else:
        assert any(is_about(said, path) for said in back.said) or BEFORE in str(path), back.said
        assert operator.site.serves() == served
    assert "msg" not in operator.run(unlock) or damage == "directory"


def test_a_host_with_changed_file_owners_keeps_its_release(operator: Operator) -> None:
    """Like ``chown -R deploy: /srv/shop /etc/shop``."""
    layout = operator.site.layout
    for top in (layout.srv, layout.etc):
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", top], check=True)
    assert len(operator.verify().findings) > 20
    assert operator.deploy(NEW).release == LIVE
    owners = {os.lstat(path).st_uid for top in (layout.srv, layout.etc) for path in top.rglob("*")}
    assert owners == {os.geteuid()}
    assert operator.verify().findings == []


@pytest.fixture
def pageless(operator: Operator) -> Operator:
    """An operator of a host whose app has no health page: its workers and ``/`` proved the live release."""
    site = operator.site
    site.has_page, site.reports = False, [report()]
    site.report_from_workers(LIVE, site.reports)
    (site.layout.release(LIVE) / "proved.json").unlink()
    assert operator.deploy(NEW).release == LIVE
    assert proof_of(site.layout, LIVE)["path"] == "/"
    return operator


@pytest.mark.slow
@pytest.mark.parametrize("app", ["operator", "pageless"])
def test_missing_sockets_that_systemd_calls_active_are_recreated(app: str, request: pytest.FixtureRequest) -> None:
    """Without /run/shop, the workers' reports are missing too. The same inventory makes the same release reachable."""
    operator: Operator = request.getfixturevalue(app)
    layout = operator.site.layout
    shutil.rmtree(layout.runtime_root)
    assert layout.socket_unit(LIVE) in operator.site.running()
    assert not operator.site.serves()
    outcome = operator.deploy(NEW)
    assert outcome.release == LIVE, outcome.said
    assert operator.site.serves()
    assert operator.verify().findings == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage for name, damage in CELLS if name == "proved" and damage not in TAKEN])
def test_an_unreadable_proof_is_renewed_through_the_existing_page(pageless: Operator, damage: str) -> None:
    path = damaged(pageless.site, "proved", damage)
    for outcome in (pageless.deploy(NEW), pageless.deploy(NEW)):
        assert outcome.release == LIVE, outcome.said
        assert pageless.site.serves()
        assert proof_of(pageless.site.layout, LIVE)["path"] == "/"
    assert pageless.verify().findings == []
    path.write_text("{}\n")  # as left by a run that was killed between the repair and the proof
    assert [finding.subject for finding in pageless.verify().findings] == [str(path)]
    assert pageless.deploy(NEW).release == LIVE
    assert proof_of(pageless.site.layout, LIVE)["path"] == "/"


def test_a_damaged_site_stops_a_deploy_but_not_a_rollback(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    tls = operator.site.layout.tls
    tls.symlink_to(tmp_path / "certificates")
    assert any(is_about(said, tls) for said in operator.deploy(NEW).said)
    assert operator.roll_back().release == BEFORE


def test_a_damaged_stamp_is_never_rewritten_automatically(operator: Operator) -> None:
    stamp = operator.site.layout.environment_id
    for text in ("", "produc", "\x00"):
        stamp.write_text(text)
        (said,) = operator.deploy(NEW).said
        assert str(stamp) in said
        assert "staging" in said
        assert stamp.read_text() == text
    stamp.unlink()
    (said,) = operator.deploy(NEW).said
    assert f"echo staging > {stamp}" in said
    assert str(stamp) in operator.roll_back().said[0]
    assert not stamp.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), [("stamp", "missing"), *(("etc", way) for way in ("missing", "file"))])
def test_the_suggested_command_restores_a_lost_stamp(operator: Operator, name: str, damage: str) -> None:
    layout = operator.site.layout
    damaged(operator.site, name, damage)
    command = re.search(r"((mv|mkdir) [^&]+ && )*echo staging > \S+", operator.deploy(NEW).said[0])
    assert command
    subprocess.run(["sh", "-euc", f"umask 077; {command[0]}"], check=True)
    assert operator.deploy(NEW)
    assert layout.environment_id.read_text() == "staging\n"
    assert stat.S_IMODE(layout.etc.stat().st_mode) == 0o755
    assert operator.site.serves()
    assert operator.verify().findings == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["etc", "etc/releases", "srv", "srv/sources", "srv/venvs", "srv/releases"])
def test_nothing_is_removed_through_a_link(operator: Operator, name: str) -> None:
    """Another app may have its files at the link's target."""
    path = damaged(operator.site, name, "link")
    (path / "another's").mkdir()
    (path / ".unfinished-of-another").mkdir()
    before = dict(below(path.resolve()))
    assert operator.run(prune, keep=1)["removed"] == []
    for back in (operator.roll_back(), operator.roll_back()):
        assert str(path) in back.said[0]
    assert str(path) in operator.run(compare_keys, environment="staging", variable="X", keys=KEYS)["msg"]
    assert dict(below(path.resolve())) == before
    assert operator.site.serves()


def test_an_irreversible_release_command_is_known_without_the_ledger(operator: Operator) -> None:
    layout = operator.site.layout
    manifest = layout.release(LIVE) / "release.json"
    manifest.write_text(manifest.read_text().replace('"reversible": true', '"reversible": false'))
    layout.ledger.unlink()
    assert "flask_app_rollback_force" in operator.roll_back().said[0]
