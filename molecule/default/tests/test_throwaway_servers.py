# SPDX-License-Identifier: GPL-3.0-or-later
"""Which throwaway servers a run removes: its own and, on request, those that a killed run of another directory left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployed import PODMAN, PROJECT, ROOT, play_environment

#: A separate project, so that it doesn't include the scenario's servers.
THROWAWAY = f"{PROJECT}-throwaway"


def podman(*arguments: str) -> str:
    return subprocess.run([PODMAN, *arguments], check=True, capture_output=True, text=True).stdout


def containers() -> set[str]:
    listed = podman("ps", "--all", f"--filter=label=greenlight_project={THROWAWAY}", "--format={{.Names}}").split()
    return {name.removeprefix(f"{THROWAWAY}-") for name in listed}


def start(name: str, directory: Path) -> str:
    """Run a container with the labels that the role sets, for this directory; return its name."""
    labels = {"project": THROWAWAY, "directory": str(directory)}
    marks = [f"--label=greenlight_{key}={value}" for key, value in labels.items()]
    full = f"{THROWAWAY}-{name}"
    options = ["--detach", "--stop-signal", "KILL", "--name", full, *marks]
    podman("run", *options, "localhost/greenlight-server:trixie", "sleep", "120")
    return full


def kill_with_monitor(container: str) -> None:
    """Kill it like a machine that ends everything a session left running."""
    state = json.loads(podman("inspect", container))[0]["State"]
    for process in (state["ConmonPid"], state["Pid"]):
        os.kill(process, signal.SIGKILL)


def remove_servers(directory: Path, replace_stopped: bool) -> None:
    """Remove the servers of this directory, as the role does."""
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.include_role": {"name": "throwaway_servers", "tasks_from": "absent"}}],
            "vars": {
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "throwaway_servers_project": THROWAWAY,
                "throwaway_servers_directory": str(directory),
                "throwaway_servers_keep_images": True,
                "throwaway_servers_replace_stopped": replace_stopped,
            },
        }
    ]
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps(play))
    subprocess.run(
        ["ansible-playbook", "--inventory", "localhost,", playbook], cwd=ROOT, env=play_environment(), check=True
    )


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Path]:
    """Servers of another directory: one running, one stopped, and one killed together with its monitor."""
    directory = tmp_path / "others"
    directory.mkdir()
    try:
        start("running", directory)
        podman("stop", "--time", "0", start("stopped", directory))
        kill_with_monitor(start("killed", directory))
        yield directory
    finally:
        names = [f"{THROWAWAY}-{name}" for name in containers()]
        if names:
            podman("rm", "--force", "--time", "0", *names)


def test_only_running_containers_of_another_directory_are_kept(others: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    start("mine", mine)
    remove_servers(mine, replace_stopped=False)
    assert containers() == {"running", "stopped", "killed"}
    remove_servers(mine, replace_stopped=True)
    assert containers() == {"running"}
    remove_servers(others, replace_stopped=False)
    assert containers() == set()
