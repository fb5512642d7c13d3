# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed anywhere and repeated ends like one that was never killed, file by file.

One kind of row kills the run on the controller with all its workers, the other the step on the servers. These rows are
part of the fault table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.deployed import APP, ROOT, Played, kill_run, run_play, run_until
from tests.support.faults import Trial, all_servers, changes_of, killer, limit, live, state
from tests.support.rotation import keys, make_vault, rotation

pytestmark = pytest.mark.killed

#: A task's line: the run is killed when it appears, somewhere in the middle of the step.
STEPS = [
    "preflight | Find",
    "source | Send",
    "release | Make",
    "edge | Publish",
    "release_command | Run",
    "candidate | Start",
    "switch | Move",
    "front_door | Request",
    "finish | Stop",
]
HOST_STEPS = [
    "bring_source",
    "make_release",
    "publish_site",
    "run_release_command",
    "prove_candidate",
    "switch",
    "check_front_door",
    "retire",
    "prune",
]


def deploy_variables(tmp_path: Path, *, venv: bool) -> dict[str, Any]:
    """Return variables of a deploy that needs every step: new source and site, a release command, maybe a new venv."""
    now = time.time_ns()
    directory = variants.make("good_change", tmp_path / "app", label=f"label {now}")
    if venv:
        lock = directory / "requirements.txt"
        lock.write_text(f"{lock.read_text()}\n# {now}\n")
    return {
        "flask_app_source_directory": str(directory),
        "flask_app_nginx_body_size_mb": 16 + now // 10**6 % 97,
        "flask_app_release_command": "echo migrated",
        "flask_app_keep_releases": 1,
    }


@dataclass(frozen=True)
class Reference:
    """What an unharmed deploy leaves on each server, and how many changes each of its steps makes."""

    venv: bool
    states: dict[str, list[str]]
    changes: dict[str, int]


def _reference(directory: Path, *, venv: bool) -> Reference:
    """Deploy twice undisturbed, so that the second release is live and the first is the previous one."""
    first, second = (deploy_variables(directory / name, venv=venv) for name in ("first", "second"))
    done = run_play(**first)
    assert done.code == 0, done.output
    changes = changes_of([*HOST_STEPS, "build_venv"], lambda: run_play(**second))
    return Reference(venv, {server.name: state(server) for server in all_servers()}, changes)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return _reference(tmp_path_factory.mktemp("reference"), venv=False)


@pytest.fixture(scope="module")
def reference_with_venv(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return _reference(tmp_path_factory.mktemp("reference"), venv=True)


def check_row(reference: Reference, trial: Trial, tmp_path: Path, disturb: Callable[[dict[str, Any]], Played]) -> None:
    """Deploy with the fault, deploy again, and compare."""
    variables = deploy_variables(tmp_path, venv=reference.venv)
    trial.before = live()
    with trial.users():
        trial.runs.append(disturb(variables))
        trial.run(**variables)
    trial.expect(live="new", code=1, again=0)
    for server in all_servers():
        now, then = set(state(server)), set(reference.states[server.name])
        assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


def killed_at(step: str) -> Callable[[dict[str, Any]], Played]:
    """Return a function that kills a run in the middle of this step; the shortest steps take a third of a second."""
    return lambda variables: run_until(step, kill_run(0.1), **{**limit(), **variables})


def killed_in(host_step: str, change: int) -> Callable[[dict[str, Any]], Played]:
    """Return a function that kills a step on the servers before its ``change``-th change."""

    def disturb(variables: dict[str, Any]) -> Played:
        with killer(host_step, change):
            return run_play(**{**limit(), **variables})

    return disturb


def kill_the_run(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"run killed at: {step.partition(' |')[0]}"
    check_row(reference, trial, tmp_path, killed_at(step))


def kill_the_host_step(reference: Reference, trial: Trial, host_step: str, where: str, tmp_path: Path) -> None:
    last = reference.changes[host_step]
    change = {"middle": (last + 1) // 2, "last": last}[where]
    trial.fault = f"step killed: {host_step}, change {change} of {last}"
    check_row(reference, trial, tmp_path, killed_in(host_step, change))


@pytest.mark.parametrize("step", STEPS)
def test_run_killed(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    kill_the_run(reference, trial, step, tmp_path)


@pytest.mark.parametrize("where", ["middle", "last"])
@pytest.mark.parametrize("host_step", HOST_STEPS)
def test_step_killed(reference: Reference, trial: Trial, host_step: str, where: str, tmp_path: Path) -> None:
    kill_the_host_step(reference, trial, host_step, where, tmp_path)


# Building a venv is the longest of all steps, so only these rows do it.


def test_run_killed_while_the_venv_is_built(reference_with_venv: Reference, trial: Trial, tmp_path: Path) -> None:
    kill_the_run(reference_with_venv, trial, "venv | Build", tmp_path)


@pytest.mark.killed(host_step="build_venv")
@pytest.mark.parametrize("where", ["middle", "last"])
def test_venv_step_killed(reference_with_venv: Reference, trial: Trial, where: str, tmp_path: Path) -> None:
    kill_the_host_step(reference_with_venv, trial, "build_venv", where, tmp_path)


# --- other plays that switch releases --------------------------------------------------------------------------------

ROLLBACK = {"playbook": ROOT / "playbooks/rollback.yml", "flask_app_keep_releases": 1}
ROTATION = {"flask_app_keep_releases": 1}


def ledger_lines() -> dict[str, int]:
    """Return the number of lines in each server's ledger."""
    return {server.name: int(server.root(f"wc -l < /srv/{APP}/ledger.jsonl")) for server in all_servers()}


@dataclass(frozen=True)
class Way:
    """Another play: how to prepare for it, and its command.

    Attributes:
        states: what it leaves on each server when it isn't killed.
        changes: how many changes each of its steps makes.
    """

    prepare: Callable[[Path], None]
    variables: dict[str, Any]
    states: dict[str, list[str]]
    changes: dict[str, int]

    @classmethod
    def undisturbed(cls, prepare: Callable[[Path], None], variables: dict[str, Any], directory: Path) -> Way:
        """Run it undisturbed."""
        prepare(directory)
        before = ledger_lines()
        steps = ["find_rollback", "rotate", "switch", "check_front_door", "retire"]
        changes = changes_of(steps, lambda: run_play(**variables))
        states = {server.name: state(server, before[server.name]) for server in all_servers()}
        return cls(prepare, variables, states, changes)

    def disturbed(self, trial: Trial, tmp_path: Path, disturb: Callable[[dict[str, Any]], Played]) -> None:
        """Run it with the fault, run it again, and compare."""
        self.prepare(tmp_path)
        before = ledger_lines()
        trial.before = live()
        with trial.users():
            trial.runs.append(disturb(self.variables))
            trial.run(**self.variables)
        trial.expect(live="new", code=1, again=0)
        for server in all_servers():
            now, then = set(state(server, before[server.name])), set(self.states[server.name])
            assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


@pytest.fixture(scope="module")
def rollback(tmp_path_factory: pytest.TempPathFactory) -> Way:
    def prepare(directory: Path) -> None:
        done = run_play(**deploy_variables(directory / "next", venv=False))
        assert done.code == 0, done.output

    directory = tmp_path_factory.mktemp("rollback")
    prepare(directory / "first")
    return Way.undisturbed(prepare, ROLLBACK, directory)


@pytest.mark.parametrize("step", ["rollback | Take the lock", *STEPS[5:]])
def test_rollback_killed(rollback: Way, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"rollback killed at: {step.partition(' |')[0]}"
    rollback.disturbed(trial, tmp_path, killed_at(step))


@pytest.mark.parametrize("host_step", ["find_rollback", "switch", "check_front_door", "retire"])
def test_step_of_a_rollback_killed(rollback: Way, trial: Trial, host_step: str, tmp_path: Path) -> None:
    last = rollback.changes[host_step]
    trial.fault = f"step of a rollback killed: {host_step}, change {last} of {last}"
    rollback.disturbed(trial, tmp_path, killed_in(host_step, last))


@pytest.fixture(scope="module")
def new_key(tmp_path_factory: pytest.TempPathFactory) -> Way:
    make_vault()

    def prepare(_directory: Path) -> None:
        for step in ("start", "finish"):
            done = run_play(**rotation(step), **ROTATION)
            assert done.code == 0, done.output

    prepare(Path())
    return Way.undisturbed(prepare, {**rotation("start"), **ROTATION}, tmp_path_factory.mktemp("rotation"))


@pytest.mark.parametrize(
    "step", ["rotate | Change the keys", "rotate | Make the release", "switch | Move", "finish | Stop"]
)
def test_rotation_killed(new_key: Way, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"rotation killed at: {step}"
    new_key.disturbed(trial, tmp_path, killed_at(step))
    assert len(keys()[1]) == 1  # no third key, and the old one is not lost


@pytest.mark.killed(host_step="rotate")
def test_step_of_a_rotation_killed(new_key: Way, trial: Trial, tmp_path: Path) -> None:
    last = new_key.changes["rotate"]
    trial.fault = f"step of a rotation killed: rotate, change {last} of {last}"
    new_key.disturbed(trial, tmp_path, killed_in("rotate", last))
    assert len(keys()[1]) == 1
