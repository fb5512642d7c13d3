# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed anywhere and started again ends like one that was never killed, file by file.

Killed is once the run on the controller, with all its workers, once the module on the servers. These are rows of the
table too.
"""

from __future__ import annotations

import itertools
import time
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
    "venv | Build it",
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
    "venv",
    "release",
    "nginx_site",
    "release_command",
    "candidate",
    "switch",
    "front_door",
    "retire",
    "prune",
]


def wanted(tmp_path: Path) -> dict[str, Any]:
    """A deploy that goes through every step: another source, venv and site, and a release command."""
    now = time.time_ns()
    directory = variants.make("good_change", tmp_path / "app", label=f"label {now}")
    lock = directory / "requirements.txt"
    lock.write_text(f"{lock.read_text()}\n# {now}\n")
    return {
        "flask_app_source_directory": str(directory),
        "flask_app_nginx_body_size_mb": 16 + now // 10**6 % 97,
        "flask_app_release_command": "flask --app wsgi migrate",
        "flask_app_keep_releases": 1,
    }


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The state that two deploys leave when nobody kills them: the second is the live one, the first the one before."""
    for _ in range(2):
        done = run_play(**wanted(tmp_path_factory.mktemp("reference")))
        assert done.code == 0, done.output
    return {server.name: state(server) for server in all_servers()}


@pytest.fixture(scope="module")
def changes(never_killed: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many changes to the host each module makes in such a deploy."""

    def run() -> Played:
        return run_play(**wanted(tmp_path_factory.mktemp("count")))

    return changes_of(MODULES, run)


def same_as(never_killed: dict[str, list[str]]) -> None:
    for server in all_servers():
        now = set(state(server))
        then = set(never_killed[server.name])
        assert (sorted(now - then), sorted(then - now)) == ([], []), server.name


@pytest.mark.parametrize("step", STEPS)
def test_run_killed(trial: Trial, step: str, never_killed: dict[str, list[str]], tmp_path: Path) -> None:
    trial.fault = f"run killed at: {step.partition(' |')[0]}"
    variables = wanted(tmp_path)
    with trial.users():
        trial.runs.append(run_until(step, kill_run(0.4), **variables))
        trial.run(**variables)
    trial.expect(live="new", code=-9, again=0)
    same_as(never_killed)


@pytest.mark.parametrize(("module", "where"), itertools.product(MODULES, ["middle", "last"]))
def test_module_killed(  # noqa: PLR0917  # fixtures, which pytest gives by name
    trial: Trial, module: str, where: str, never_killed: dict[str, list[str]], changes: dict[str, int], tmp_path: Path
) -> None:
    change = {"middle": (changes[module] + 1) // 2, "last": changes[module]}[where]
    trial.fault = f"module killed: {module}, change {change} of {changes[module]}"
    variables = wanted(tmp_path)
    with trial.users():
        with killer(module, change):
            trial.run(**variables)
        trial.run(**variables)
    trial.expect(live="new", code=1, again=0)
    same_as(never_killed)
