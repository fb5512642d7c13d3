# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that must not go live, beyond the rows of the fault table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import variants
from tests.support.deployed import APP, Played, Server, connect, servers


def test_a_release_that_fails_on_one_host_goes_live_nowhere(play: Callable[..., Played]) -> None:
    before = {name: connect(name).live for name in servers()}
    wsgi = "{{ 'guestbook.missing:app' if inventory_hostname == 'debian13' else 'wsgi:app' }}"
    done = play(flask_app_wsgi=wsgi, flask_app_env={"GREETING": "On both or on none"})
    assert done.code != 0
    assert done.finds("candidate-failed"), done.output
    assert "ModuleNotFoundError" in done.prose
    assert "guestbook.missing" in done.prose
    assert {name: connect(name).live for name in servers()} == before
    assert all("On both or on none" not in connect(name).ask("/").body for name in servers())
    # The healthy candidate stops too, because it gets no traffic.
    for name in servers():
        units = connect(name).root(f"systemctl list-units --all --plain --no-legend '{APP}@*' | awk '{{print $1}}'")
        assert units.split() == [f"{APP}@{before[name]}.service", f"{APP}@{before[name]}.socket"]


def test_an_unchanged_run_still_fails_on_a_wrong_response(play: Callable[..., Played], one_server: Server) -> None:
    assert play(limit=one_server.name).code == 0
    live = one_server.live
    done = play(limit=one_server.name, flask_app_health_subset={"status": "never"})
    assert done.code != 0
    assert done.finds(f"front-door-failed:{live}"), done.output
    assert 'status: expected "never", got "ok"' in done.prose
    assert one_server.ask("/health").json["release"] == one_server.live == live


def test_traffic_returns_when_the_front_door_check_fails(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("ill_when_live", tmp_path / "app")
    live = one_server.live
    done = play(limit=one_server.name, flask_app_source_directory=str(source))
    assert done.code != 0
    assert done.finds("front-door-failed"), done.output
    assert live in done.prose
    assert one_server.ask("/health").json["release"] == one_server.live == live
    rows = one_server.root(f"systemctl list-units --all --plain --no-legend '{APP}@*' | awk '{{print $1}}'").split()
    assert sorted(rows) == [f"{APP}@{live}.service", f"{APP}@{live}.socket"]


def test_spaced_probes_catch_an_app_that_fails_soon_after_start(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("ill_later", tmp_path / "app", seconds=2)
    live = one_server.live
    done = play(limit=one_server.name, flask_app_source_directory=str(source), flask_app_probe_interval_seconds=3)
    assert done.code != 0
    assert one_server.ask("/health").json["release"] == one_server.live == live
