# SPDX-License-Identifier: GPL-3.0-or-later
"""Manual rollback: to the release that was live before, or to a named one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import variants
from tests.support.deployed import APP, ROOT, SITE, Played, Server, connect, run_play
from tests.support.load.load import Load

PLAYBOOK = ROOT / "playbooks/rollback.yml"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An older and a newer release, which differ in code and environment."""
    server = connect("debian13")
    assert run_play(limit=server.name).code == 0
    old = server.live
    source = variants.make("good_change", tmp_path_factory.mktemp("app"), label="newer")
    greeting = {"GREETING": "A newer greeting"}
    done = run_play(limit=server.name, flask_app_source_directory=str(source), flask_app_env=greeting)
    assert done.code == 0, done.output
    return old, server.live


@pytest.fixture
def newer_is_live(two: tuple[str, str], one_server: Server) -> None:
    """Make the newer release live again, whatever the previous test left."""
    if one_server.live != two[1]:
        assert run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_rollback_to=two[1]).code == 0


@pytest.mark.usefixtures("newer_is_live")
def test_rollback_restores_code_and_environment_without_a_lost_request(
    two: tuple[str, str], one_server: Server
) -> None:
    old, new = two
    assert "A newer greeting" in one_server.ask("/").body
    with Load(one_server.url, SITE, 200) as load:
        done = run_play(playbook=PLAYBOOK, limit=one_server.name)
    assert done.code == 0, done.output
    assert load.result.failed == 0, str(load.result)
    assert sorted(load.result.by_release) == sorted([old, new])
    page = one_server.ask("/").body
    assert "Hello from the tests" in page
    assert "newer" not in page
    assert one_server.live == one_server.ask("/health").json["release"] == old
    assert one_server.host.run(f"systemctl is-active {APP}@{new}.service").stdout.strip() == "inactive"


@pytest.mark.usefixtures("newer_is_live")
def test_rollback_goes_to_a_named_release_and_then_to_the_one_before(two: tuple[str, str], one_server: Server) -> None:
    old, new = two
    assert run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_rollback_to=old).code == 0
    assert one_server.live == old
    assert run_play(playbook=PLAYBOOK, limit=one_server.name).code == 0
    assert one_server.live == new


@pytest.mark.usefixtures("newer_is_live")
def test_rollback_to_a_bad_release_is_refused(
    two: tuple[str, str], play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    old, live = two
    source = variants.make("health_500", tmp_path / "bad")
    assert play(limit=one_server.name, flask_app_source_directory=str(source)).code != 0
    bad = one_server.root(f"ls -d /srv/{APP}/releases/*/bad.json | tail -n1 | xargs dirname | xargs basename")
    done = run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_rollback_to=bad)
    assert done.code != 0
    assert done.finds(f"no-rollback:{bad}"), done.output
    assert old in done.prose  # where a rollback can go
    assert one_server.live == live


@pytest.mark.usefixtures("newer_is_live")
def test_rollback_to_the_live_release_is_refused(two: tuple[str, str], one_server: Server) -> None:
    _, live = two
    done = run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_rollback_to=live)
    assert done.code != 0
    assert done.finds(f"no-rollback:{live}"), done.output


@pytest.mark.usefixtures("newer_is_live")
def test_a_rollback_that_failed_after_its_switch_is_resumed(
    two: tuple[str, str], one_server: Server, tmp_path: Path
) -> None:
    old, _ = two
    hook = tmp_path / "fail.yml"
    hook.write_text(json.dumps([{"name": "Fail", "ansible.builtin.fail": {"msg": "after the switch"}}]))
    done = run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_hooks_after_switch=[str(hook)])
    assert (done.code != 0, one_server.live) == (True, old)
    done = run_play(playbook=PLAYBOOK, limit=one_server.name)
    assert (done.code, one_server.live) == (0, old), done.output


@pytest.mark.usefixtures("newer_is_live")
def test_a_misspelt_rollback_variable_is_refused(two: tuple[str, str], one_server: Server) -> None:
    done = run_play(playbook=PLAYBOOK, limit=one_server.name, flask_app_rolback_to=two[0])
    assert (done.code != 0, one_server.live) == (True, two[1])
    assert "Did you mean flask_app_rollback_to?" in done.prose


@pytest.mark.usefixtures("newer_is_live")
def test_rollback_in_check_mode_moves_no_traffic(two: tuple[str, str], one_server: Server) -> None:
    _, live = two
    done = run_play("--check", playbook=PLAYBOOK, limit=one_server.name)
    assert done.code == 0, done.output
    assert one_server.live == live


@pytest.mark.usefixtures("newer_is_live")
def test_the_list_of_releases_marks_the_live_one(two: tuple[str, str], one_server: Server) -> None:
    done = run_play(playbook=ROOT / "playbooks/releases.yml", limit=one_server.name)
    assert (done.code, done.count("changed")) == (0, 0), done.output
    rows = [line.split() for line in done.output.splitlines() if "@" in line and " good " in line]
    states = {row[1]: row[-1] for row in rows}
    assert states[two[1]] == "live"
    assert two[0] in states
