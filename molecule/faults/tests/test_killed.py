# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed anywhere and started again ends like one that was never killed, file by file.

Killed is once the run on the controller, with all its workers, once the module on the servers. These are rows of the
table too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.apps import variants
from tests.deployed import Played, run_play
from tests.faults import Trial, all_servers, changes_of, kill_run, killer, run_until, state

#: A task's line -> what is killed there; each is somewhere in the middle of its step.
STEPS = [
    "preflight | Find everything",
    "source | Send the directory",
    "release | Make it",
    "edge | Publish the site",
    "release_command | Run it",
    "candidate | Start it",
    "switch | Move the traffic",
    "front_door | Ask for",
    "retire | Stop every",
    "prune | Remove what",
    "unlock | Give the lock",
]
MODULES = [
    "source",
    "release",
    "nginx_site",
    "release_command",
    "candidate",
    "switch",
    "front_door",
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
    """What such a deploy leaves on each server when nobody kills it, and how many changes each module makes in it."""

    venv: bool
    states: dict[str, list[str]]
    changes: dict[str, int]


def _reference(directory: Path, *, venv: bool) -> Reference:
    """Deploy twice in peace: the second is then the live release, and the first the one before."""
    first, second = (wanted(directory / name, venv=venv) for name in ("first", "second"))
    done = run_play(**first)
    assert done.code == 0, done.output
    changes = changes_of([*MODULES, "venv"], lambda: run_play(**second))
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
    trial.before = {server.name: server.live for server in all_servers()}
    with trial.users():
        trial.runs.append(hurt(variables))
        trial.run(**variables)
    trial.expect(live="new", code=1, again=0)
    for server in all_servers():
        now, then = set(state(server)), set(reference.states[server.name])
        assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


def kill_the_run(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    trial.fault = f"run killed at: {step.partition(' |')[0]}"
    row(reference, trial, tmp_path, lambda variables: run_until(step, kill_run(0.4), **variables))


def kill_the_module(reference: Reference, trial: Trial, module: str, where: str, tmp_path: Path) -> None:
    last = reference.changes[module]
    change = {"middle": (last + 1) // 2, "last": last}[where]
    trial.fault = f"module killed: {module}, change {change} of {last}"

    def hurt(variables: dict[str, Any]) -> Played:
        with killer(module, change):
            return run_play(**variables)

    row(reference, trial, tmp_path, hurt)


@pytest.mark.parametrize("step", STEPS)
def test_run_killed(reference: Reference, trial: Trial, step: str, tmp_path: Path) -> None:
    kill_the_run(reference, trial, step, tmp_path)


@pytest.mark.parametrize("where", ["middle", "last"])
@pytest.mark.parametrize("module", MODULES)
def test_module_killed(reference: Reference, trial: Trial, module: str, where: str, tmp_path: Path) -> None:
    kill_the_module(reference, trial, module, where, tmp_path)


# A venv is the longest of all steps, so only these rows have one to build.


def test_run_killed_while_the_venv_is_built(reference_with_venv: Reference, trial: Trial, tmp_path: Path) -> None:
    kill_the_run(reference_with_venv, trial, "venv | Build it", tmp_path)


@pytest.mark.parametrize("where", ["middle", "last"])
def test_venv_module_killed(reference_with_venv: Reference, trial: Trial, where: str, tmp_path: Path) -> None:
    kill_the_module(reference_with_venv, trial, "venv", where, tmp_path)
