# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed anywhere and started again ends like one that was never killed, file by file.

Killed is once the run on the controller, with all its workers, once the step on the servers. These are rows of the
table too.
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

#: A task's line: the run is killed there, somewhere in the middle of the step.
STEPS = [
    "preflight | Find everything",
    "source | Send the directory",
    "release | Make the release",
    "edge | Publish the site",
    "release_command | Run the command",
    "candidate | Start the candidate",
    "switch | Move the traffic",
    "front_door | Request the health page",
    "retire | Stop every",
    "prune | Remove what",
    "unlock | Give the lock",
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


def wanted(tmp_path: Path, *, venv: bool) -> dict[str, Any]:
    """A deploy that goes through every step: another source and site, a release command, and if asked another venv."""
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
    """What such a deploy leaves on each server when nobody kills it, and how many changes each step makes in it."""

    venv: bool
    states: dict[str, list[str]]
    changes: dict[str, int]


def _reference(directory: Path, *, venv: bool) -> Reference:
    """Deploy twice in peace: the second is then the live release, and the first the one before."""
    first, second = (wanted(directory / name, venv=venv) for name in ("first", "second"))
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


def row(reference: Reference, trial: Trial, tmp_path: Path, hurt: Callable[[dict[str, Any]], Played]) -> None:
    """Deploy, hurt; deploy again; and compare."""
    variables = wanted(tmp_path, venv=reference.venv)
    trial.before = live()
    with trial.users():
        trial.runs.append(hurt(variables))
        trial.run(**variables)
    trial.expect(live="new", code=1, again=0)
    for server in all_servers():
        now, then = set(state(server)), set(reference.states[server.name])
        assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


def killed_at(step: str) -> Callable[[dict[str, Any]], Played]:
    """What kills a run in the middle of this step: the shortest, such as the last, take a third of a second."""
    return lambda variables: run_until(step, kill_run(0.1), **{**limit(), **variables})


def killed_in(host_step: str, change: int) -> Callable[[dict[str, Any]], Played]:
    """What kills a step on the servers before this change of it."""

    def hurt(variables: dict[str, Any]) -> Played:
        with killer(host_step, change):
            return run_play(**{**limit(), **variables})

    return hurt


def kill_the_run(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"run killed at: {step.partition(' |')[0]}"
    row(reference, trial, tmp_path, killed_at(step))


def kill_the_host_step(reference: Reference, trial: Trial, host_step: str, where: str, tmp_path: Path) -> None:
    last = reference.changes[host_step]
    change = {"middle": (last + 1) // 2, "last": last}[where]
    trial.fault = f"step killed: {host_step}, change {change} of {last}"
    row(reference, trial, tmp_path, killed_in(host_step, change))


@pytest.mark.parametrize("step", STEPS)
def test_run_killed(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    kill_the_run(reference, trial, step, tmp_path)


@pytest.mark.parametrize("where", ["middle", "last"])
@pytest.mark.parametrize("host_step", HOST_STEPS)
def test_step_killed(reference: Reference, trial: Trial, host_step: str, where: str, tmp_path: Path) -> None:
    kill_the_host_step(reference, trial, host_step, where, tmp_path)


# A venv is the longest of all steps, so only these rows have one to build.


def test_run_killed_while_the_venv_is_built(reference_with_venv: Reference, trial: Trial, tmp_path: Path) -> None:
    kill_the_run(reference_with_venv, trial, "venv | Build the venv", tmp_path)


@pytest.mark.killed(host_step="build_venv")
@pytest.mark.parametrize("where", ["middle", "last"])
def test_venv_step_killed(reference_with_venv: Reference, trial: Trial, where: str, tmp_path: Path) -> None:
    kill_the_host_step(reference_with_venv, trial, "build_venv", where, tmp_path)


# --- the ways to a release that no deploy made -----------------------------------------------------------------------

ROLLBACK = {"playbook": ROOT / "playbooks/rollback.yml", "flask_app_keep_releases": 1}
ROTATION = {"flask_app_keep_releases": 1}


def told() -> dict[str, int]:
    """How many lines each server's ledger has."""
    return {server.name: int(server.root(f"wc -l < /srv/{APP}/ledger.jsonl")) for server in all_servers()}


@dataclass(frozen=True)
class Way:
    """Another play: how to get to where it starts, and its command.

    Attributes:
        states: what it leaves on each server when nobody kills it.
        changes: how many changes each step makes in it.
    """

    prepare: Callable[[Path], None]
    variables: dict[str, Any]
    states: dict[str, list[str]]
    changes: dict[str, int]

    @classmethod
    def tried(cls, prepare: Callable[[Path], None], variables: dict[str, Any], directory: Path) -> Way:
        """Go it in peace."""
        prepare(directory)
        before = told()
        steps = ["find_rollback", "rotate", "switch", "check_front_door", "retire"]
        changes = changes_of(steps, lambda: run_play(**variables))
        states = {server.name: state(server, before[server.name]) for server in all_servers()}
        return cls(prepare, variables, states, changes)

    def hurt(self, trial: Trial, tmp_path: Path, hurt: Callable[[dict[str, Any]], Played]) -> None:
        """Go it, hurt; go it again; and compare."""
        self.prepare(tmp_path)
        before = told()
        trial.before = live()
        with trial.users():
            trial.runs.append(hurt(self.variables))
            trial.run(**self.variables)
        trial.expect(live="new", code=1, again=0)
        for server in all_servers():
            now, then = set(state(server, before[server.name])), set(self.states[server.name])
            assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


@pytest.fixture(scope="module")
def rollback(tmp_path_factory: pytest.TempPathFactory) -> Way:
    def prepare(directory: Path) -> None:
        done = run_play(**wanted(directory / "next", venv=False))
        assert done.code == 0, done.output

    directory = tmp_path_factory.mktemp("rollback")
    prepare(directory / "first")
    return Way.tried(prepare, ROLLBACK, directory)


@pytest.mark.parametrize("step", ["rollback | Take the lock", *STEPS[5:-1]])
def test_rollback_killed(rollback: Way, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"rollback killed at: {step.partition(' |')[0]}"
    rollback.hurt(trial, tmp_path, killed_at(step))


@pytest.mark.parametrize("host_step", ["find_rollback", "switch", "check_front_door", "retire"])
def test_step_of_a_rollback_killed(rollback: Way, trial: Trial, host_step: str, tmp_path: Path) -> None:
    last = rollback.changes[host_step]
    trial.fault = f"step of a rollback killed: {host_step}, change {last} of {last}"
    rollback.hurt(trial, tmp_path, killed_in(host_step, last))


@pytest.fixture(scope="module")
def new_key(tmp_path_factory: pytest.TempPathFactory) -> Way:
    make_vault()

    def prepare(_directory: Path) -> None:
        for step in ("start", "finish"):
            done = run_play(**rotation(step), **ROTATION)
            assert done.code == 0, done.output

    prepare(Path())
    return Way.tried(prepare, {**rotation("start"), **ROTATION}, tmp_path_factory.mktemp("rotation"))


@pytest.mark.parametrize(
    "step", ["rotate | Change the keys", "rotate | Make the release", "switch | Move", "retire | Stop", "unlock | Give"]
)
def test_rotation_killed(new_key: Way, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"rotation killed at: {step}"
    new_key.hurt(trial, tmp_path, killed_at(step))
    assert len(keys()[1]) == 1  # no third key, and the old one is not lost


@pytest.mark.killed(host_step="rotate")
def test_step_of_a_rotation_killed(new_key: Way, trial: Trial, tmp_path: Path) -> None:
    last = new_key.changes["rotate"]
    trial.fault = f"step of a rotation killed: rotate, change {last} of {last}"
    new_key.hurt(trial, tmp_path, killed_in("rotate", last))
    assert len(keys()[1]) == 1
