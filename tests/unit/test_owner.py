# SPDX-License-Identifier: GPL-3.0-or-later
"""All tasks of a run belong together, and a run is dead only if its process is known to be gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner
from ansible_collections.greenlight.flask.plugins.plugin_utils._task import owner as _owner
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.owner import execute_with_lock, is_dead, owner

FORK = multiprocessing.get_context("fork")
with_ps = pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed on this machine")


def worker_says(by: str = "ann@laptop") -> str:
    return json.dumps(owner(by))


def worker(by: str = "ann@laptop") -> dict[str, Any]:
    """Return what a task reports, from a process that the run's process started, like Ansible's."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=lambda: theirs.send(worker_says(by)))
    process.start()
    assert ours.poll(10)
    process.join()
    told: dict[str, Any] = json.loads(ours.recv())
    return told


class Run:
    """A run in a separate process that reports its identity."""

    def __init__(self) -> None:
        self._ours, theirs = FORK.Pipe()
        self._process = FORK.Process(target=self._work, args=(theirs,))
        self._process.start()
        self.pid = self._process.pid
        self.owner = self.ask()

    @staticmethod
    def _work(theirs: Connection) -> None:
        while theirs.recv():
            theirs.send(worker())

    def ask(self) -> dict[str, Any]:
        self._ours.send(True)
        assert self._ours.poll(10)
        told: dict[str, Any] = self._ours.recv()
        return told

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def running() -> Iterator[Run]:
    run = Run()
    try:
        yield run
    finally:
        run.kill()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine that has no /proc until a test makes one."""
    monkeypatch.setattr(_owner, "Path", lambda name: Path(f"{tmp_path}{name}"))
    return tmp_path


@pytest.fixture(params=["/proc", pytest.param("ps", marks=with_ps)])
def _with_and_without_proc(request: pytest.FixtureRequest) -> None:
    """Run the test with the real /proc, and without one."""
    if request.param == "ps":
        request.getfixturevalue("machine")


either = pytest.mark.usefixtures("_with_and_without_proc")


def put(root: Path, boot: str = "b00t", namespace: str = "pid:[1]", **started: str) -> None:
    """Make a /proc with these processes: p<pid> -> when it started."""
    (root / "proc/sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/random/boot_id").write_text(f"{boot}\n")
    (root / "proc/self/ns").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/ns/pid").unlink(missing_ok=True)
    (root / "proc/self/ns/pid").symlink_to(namespace)
    for name, ticks in started.items():
        directory = root / "proc" / name.removeprefix("p")
        directory.mkdir(exist_ok=True)
        (directory / "stat").write_text(f"{directory.name} (a) S 1 (b) S {' '.join(map(str, range(18)))} {ticks} 9 9\n")


# Who


@either
def test_all_workers_of_a_run_share_its_identity() -> None:
    first, second = worker(), worker()
    assert first == second
    assert (first["by"], first["pid"]) == ("ann@laptop", os.getpid())
    assert Owner(**first)
    assert {name for name, value in first.items() if not value} == set()


@either
def test_another_process_is_another_run() -> None:
    with running() as one, running() as other:
        runs = [one.owner, other.owner, worker()]
        assert one.ask() == one.owner
    assert len({found["run"] for found in runs}) == 3
    assert len({found["place"] for found in runs}) == 1
    assert [found["pid"] for found in runs] == [one.pid, other.pid, os.getpid()]


def test_the_identity_of_a_run_does_not_depend_on_the_user() -> None:
    assert worker("bob@desk") == {**worker("ann@laptop"), "by": "bob@desk"}


@pytest.mark.parametrize("change", ["started", "boot", "namespace", "name"])
def test_a_reused_process_id_is_another_run(machine: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    pid = f"p{os.getppid()}"
    put(machine, **{pid: "100"})
    before = owner("ann")
    assert owner("ann") == before
    if change == "started":
        put(machine, **{pid: "101"})
    elif change == "name":
        monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    else:
        put(machine, **{pid: "100", change: "pid:[2]"})
    after = owner("ann")
    assert after["run"] != before["run"]
    assert (after["place"] == before["place"]) is (change == "started")
    assert (after["started"] == before["started"]) is (change != "started")


# Dead or alive


@either
def test_a_run_is_dead_when_its_process_has_ended() -> None:
    with running() as run:
        assert not is_dead(run.owner)
        run.kill()
        assert is_dead(run.owner)


@either
def test_a_run_is_dead_when_its_process_id_was_reused() -> None:
    with running() as run, running() as other:
        assert not is_dead(worker())
        assert is_dead({**run.owner, "started": "before"})
        assert not is_dead(other.owner)


def test_start_times_distinguish_processes_with_the_same_id(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine, p4711="100")
    monkeypatch.setattr(os, "kill", lambda *_: None)  # it exists
    known = {**owner("ann"), "pid": 4711}
    assert not is_dead({**known, "started": "100"})
    assert not is_dead({**known, "started": "100", "pid": "4711"})
    for other in ("101", "99", "10"):
        assert is_dead({**known, "started": other})


@either
def test_a_run_on_another_machine_is_never_known_to_be_dead() -> None:
    with running() as run:
        run.kill()
    assert is_dead(run.owner)
    assert not is_dead({**run.owner, "place": "elsewhere"})


def test_a_process_may_have_any_name() -> None:
    """The kernel puts the name in brackets among its other fields (proc(5))."""
    for name in ("a b", ") S 1 1 (", ") R 1"):
        before = worker()
        own = Path("/proc/self/comm").read_text()
        try:
            Path("/proc/self/comm").write_text(name)
            assert worker() == before
        finally:
            Path("/proc/self/comm").write_text(own)


def _late(ours: Connection) -> None:
    ours.send("at work")
    ours.recv()
    ours.send(worker_says())


def test_a_worker_that_outlives_its_run_belongs_to_a_dead_run() -> None:
    """It then has another parent, which is alive."""
    ours, theirs = FORK.Pipe()
    run = FORK.Process(target=lambda: FORK.Process(target=_late, args=(theirs,)).start())
    run.start()
    assert ours.poll(10)
    ours.recv()
    run.kill()
    run.join()
    ours.send("go on")
    assert ours.poll(10)
    told = json.loads(ours.recv())
    assert told["pid"] == run.pid
    assert is_dead(told)


# With the module


class Module:
    """Simulates the module: answers in turn, and records its arguments."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(arguments)
        return self.answers.pop(0)


def refusal(other: dict[str, Any]) -> dict[str, Any]:
    return {"failed": True, "msg": "another run is at work", "locked": other}


def dead() -> dict[str, Any]:
    with running() as run:
        run.kill()
    return run.owner


def test_a_free_lock_is_requested_once() -> None:
    module = Module({"changed": False, "host": {}})
    mine = owner("ann@laptop")
    assert execute_with_lock(module, "ann@laptop") == {"changed": False, "host": {}, "run": mine["run"]}
    assert module.asked == [{"owner": mine}]


def test_the_lock_of_a_dead_run_is_requested_again_in_its_place() -> None:
    other = dead()
    module = Module(refusal(other), {"changed": False})
    mine = owner("ann@laptop")
    assert execute_with_lock(module, "ann@laptop") == {"changed": False, "run": mine["run"]}
    assert module.asked == [{"owner": mine}, {"owner": mine, "instead_of": other["run"]}]


def test_a_lock_that_stays_refused_is_not_requested_again() -> None:
    module = Module(refusal(dead()), refusal(dead()))
    assert execute_with_lock(module, "ann@laptop")["msg"] == "another run is at work"
    assert len(module.asked) == 2


@pytest.mark.parametrize("whose", ["alive", "of another machine"])
def test_the_lock_of_a_possibly_live_run_is_left_alone(whose: str) -> None:
    with running() as run:
        if whose != "alive":
            run.kill()
        other = run.owner if whose == "alive" else {**run.owner, "place": "elsewhere"}
        module = Module(refusal(other))
        outcome = execute_with_lock(module, "ann@laptop")
    assert {name: outcome[name] for name in ("failed", "msg", "locked")} == refusal(other)
    assert len(module.asked) == 1


@pytest.mark.parametrize("outcome", [{"failed": True, "msg": "the host refused"}, {"unreachable": True, "msg": "no"}])
def test_other_failures_are_not_retried(outcome: dict[str, Any]) -> None:
    module: Callable[[dict[str, Any]], dict[str, Any]] = Module(outcome)
    assert outcome.items() <= execute_with_lock(module, "ann@laptop").items()
