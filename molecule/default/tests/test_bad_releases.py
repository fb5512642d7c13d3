# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that must not go live: each is tried under load on a server with a live release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps import variants
from tests.deployed import APP, SITE, Played, Server, connect, servers
from tests.load.load import Load

#: Variant of the example app -> what the failing play must say.
BAD = {
    "import_error": ["process: expected running", "ModuleNotFoundError"],
    "exit_at_start": ["process: expected running", "exited with code 3"],
    "health_500": ["HTTP status: expected 200, got 500"],
    "wrong_environment": ['env: expected "staging", got "production"'],
    "debug_on": ["debug: expected false, got true"],
    "wrong_revision": ["revision: expected"],
    "not_json": ["health answer: expected a JSON object"],
    "hangs": ["health answer: expected within"],
    "bad_hash": ["installing the locked packages with uv failed", "Hash mismatch for `flask"],
    "unresolvable": ["installing the locked packages with uv failed"],
}


@pytest.mark.parametrize("variant", BAD)
def test_traffic_never_reaches_a_release_with(
    variant: str, play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make(variant, tmp_path / "app")
    live = one_server.live
    with Load(one_server.url, SITE, 100) as load:
        done = play(limit=one_server.name, flask_app_source_directory=str(source), flask_app_start_seconds=8)
    assert done.code != 0
    for words in BAD[variant]:
        assert words in done.prose, done.output
    message = done.output[done.output.index("[ERROR]") : done.output.index("Origin:")]
    assert "Traceback" not in message
    assert load.result.failed == 0, str(load.result)
    assert list(load.result.by_release) == [live]
    assert one_server.live == live
    rows = one_server.root(f"systemctl list-units --all --plain --no-legend '{APP}@*' | awk '{{print $1}}'").split()
    assert sorted(rows) == [f"{APP}@{live}.service", f"{APP}@{live}.socket"]


def test_a_release_that_fails_on_one_host_goes_live_on_none(play: Callable[..., Played]) -> None:
    before = {name: connect(name).live for name in servers()}
    wsgi = "{{ 'missing:app' if inventory_hostname == 'debian13' else 'wsgi:app' }}"
    done = play(flask_app_wsgi=wsgi, flask_app_env={"GREETING": "On both or on none"})
    assert done.code != 0
    assert "ModuleNotFoundError" in done.prose
    assert {name: connect(name).live for name in servers()} == before
    assert all("On both or on none" not in connect(name).ask("/").body for name in servers())


def test_a_run_with_nothing_to_change_still_fails_when_the_answer_is_wrong(
    play: Callable[..., Played], one_server: Server
) -> None:
    assert play(limit=one_server.name).code == 0
    live = one_server.live
    done = play(limit=one_server.name, flask_app_health_subset={"status": "never"})
    assert done.code != 0
    assert 'status: expected "never", got "ok"' in done.prose
    assert one_server.ask("/health").json["release"] == one_server.live == live


def test_a_bad_release_is_tried_afresh_not_taken_for_done(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("health_500", tmp_path / "app")
    for _ in range(2):
        done = play(limit=one_server.name, flask_app_source_directory=str(source))
        assert done.code != 0
        assert "HTTP status: expected 200, got 500" in done.prose


def test_traffic_comes_back_when_the_front_door_fails(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("front_door_500", tmp_path / "app")
    live = one_server.live
    done = play(limit=one_server.name, flask_app_source_directory=str(source))
    assert done.code != 0
    assert "the front door" in done.prose
    assert f"Traffic is back at {live}" in done.prose
    assert one_server.ask("/health").json["release"] == one_server.live == live
    rows = one_server.root(f"systemctl list-units --all --plain --no-legend '{APP}@*' | awk '{{print $1}}'").split()
    assert sorted(rows) == [f"{APP}@{live}.service", f"{APP}@{live}.socket"]
