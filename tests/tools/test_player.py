# SPDX-License-Identifier: GPL-3.0-or-later
"""The player runs plays the same as a shell."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.player import Player

ROOT = Path(__file__).resolve().parents[2]
UNUSED = ROOT / "molecule/shared/unused-vault-password"
Play = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of the plays' temporary directories."""
    return tmp_path_factory.mktemp("local")


@pytest.fixture(scope="module")
def player(temporary: Path) -> Iterator[Player]:
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_VAULT_IDENTITY_LIST": f"x@{UNUSED}"}
    made = Player({**os.environ, **settings, "ANSIBLE_LOCAL_TEMP": str(temporary), "PLACE": "here"}, ROOT)
    yield made
    made.end()


@pytest.fixture
def play(player: Player, tmp_path: Path) -> Play:
    def play(seconds: float = 60, **task: Any) -> tuple[int, str]:
        playbook = tmp_path / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        return player.play(["-i", "localhost,", "-c", "local", str(playbook), "-e", "who=it"], seconds)

    return play


def test_a_play_has_its_arguments_and_environment(play: Play) -> None:
    code, said = play(debug={"msg": "{{ who }} is {{ lookup('env', 'PLACE') }}"})
    assert (code, "it is here" in said) == (0, True), said
    assert "WARNING" not in said


def test_a_play_that_fails_has_its_exit_code(play: Play) -> None:
    code, said = play(fail={"msg": "no"})
    assert (code, "msg: 'no'" in said) == (2, True), said


def test_each_play_has_a_temporary_directory_that_is_removed_after_it(play: Play, temporary: Path) -> None:
    play(debug={})
    (of_the_process,) = temporary.iterdir()
    seen = [play(debug={"msg": f"{{{{ lookup('pipe', 'ls {temporary}') }}}}"})[1] for _ in range(2)]
    of_the_plays = [
        {word for word in said.split() if "ansible-local-" in word} - {of_the_process.name} for said in seen
    ]
    assert [len(names) for names in of_the_plays] == [1, 1]
    assert of_the_plays[0] != of_the_plays[1]
    assert list(temporary.iterdir()) == [of_the_process]


def test_a_play_that_exceeds_its_time_is_killed(play: Play) -> None:
    with pytest.raises(TimeoutError, match="longer than"):
        play(0.5, pause={"seconds": 30})
