# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the play on servers that have a live release: nothing to change, check mode, a good change, a reboot."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import variants
from tests.support.deployed import (
    APP,
    PODMAN,
    PROJECT,
    SITE,
    Played,
    Server,
    connect,
    kill_run,
    run_until,
    secrets,
    servers,
)
from tests.support.load.load import Load


def test_check_mode_shows_the_change_without_making_it(play: Callable[..., Played], tmp_path: Path) -> None:
    source = variants.make("good_change", tmp_path / "app", label="checked-only")
    before = {name: connect(name).state() for name in servers()}
    done = play("--check", "--diff", flask_app_source_directory=str(source))
    assert done.code == 0, done.output
    assert done.count("changed") >= 2 * len(servers())
    assert "+source: " in done.output
    assert {name: connect(name).state() for name in servers()} == before


@pytest.mark.parametrize("options", [(), ("--check", "--diff")], ids=["", "check mode"])
def test_a_run_with_nothing_to_change_ends_after_its_first_step(
    play: Callable[..., Played], options: tuple[str, ...]
) -> None:
    assert play().code == 0  # a successful run prunes what another test's failed deploy left
    done = play(*options)
    assert (done.code, done.count("changed")) == (0, 0), done.output
    assert done.count("ok") == 2 * len(servers()), done.output  # that step and the report
    for name in servers():
        assert connect(name).root(f"test ! -e /run/greenlight/{APP}.lock && echo given back").strip() == "given back"


def test_a_good_deploy_loses_no_request(play: Callable[..., Played], tmp_path: Path) -> None:
    source = variants.make("good_change", tmp_path / "app", label="changed-under-load")
    before = {name: connect(name).live for name in servers()}
    with Load(connect("debian12").url, SITE, 100) as first, Load(connect("debian13").url, SITE, 100) as second:
        done = play(flask_app_source_directory=str(source))
        time.sleep(2)
    assert done.code == 0, done.output
    for name, load in (("debian12", first), ("debian13", second)):
        server = connect(name)
        assert load.result.failed == 0, str(load.result)
        assert load.result.sent > 500
        assert sorted(load.result.by_release) == sorted([before[name], server.live])
        assert "changed-under-load" in server.ask("/").body
        assert server.live != before[name]


def test_the_previous_release_is_kept_and_stopped(server: Server) -> None:
    previous = server.root(f"basename $(readlink /srv/{APP}/previous)")
    assert previous != server.live
    assert server.root(f"test -f /srv/{APP}/releases/{previous}/release.json && echo kept") == "kept"
    assert server.host.run(f"systemctl is-active {APP}@{previous}.service").stdout.strip() == "inactive"


def test_the_ledger_records_who_deployed_what(server: Server) -> None:
    events = [json.loads(line) for line in server.root(f"cat /srv/{APP}/ledger.jsonl").splitlines()]
    live = [event for event in events if event["event"] == "live"]
    assert live[-1]["release"] == server.live
    assert live[-1].keys() >= {"at", "by", "revision", "environment", "previous", "health", "start_seconds"}
    assert events[-1]["event"] == "retired"


def test_a_changed_secret_makes_a_new_release_with_the_same_source_and_venv(
    play: Callable[..., Played], one_server: Server
) -> None:
    assert play(limit=one_server.name).code == 0
    before = json.loads(one_server.root(f"cat /srv/{APP}/live/release.json"))
    values = {**secrets(), "DATABASE_URL": "sqlite:////var/lib/guestbook/guestbook.db"}
    done = play(limit=one_server.name, flask_app_secrets={**values, "API_TOKEN": "another-token-for-one-test"})
    after = json.loads(one_server.root(f"cat /srv/{APP}/live/release.json"))
    assert done.code == 0, done.output
    assert after["release"] != before["release"]
    assert (after["source"], after["venv"]) == (before["source"], before["venv"])
    main = one_server.root(f"systemctl show {APP}@{after['release']}.service --property=MainPID --value")
    assert "API_TOKEN=another-token-for-one-test" in one_server.root(f"tr '\\0' '\\n' < /proc/{main}/environ")
    assert "another-token-for-one-test" not in done.output


def test_a_release_that_was_changed_by_hand_is_replaced(play: Callable[..., Played], one_server: Server) -> None:
    assert play(limit=one_server.name).code == 0
    edited = one_server.live
    unit = f"/etc/systemd/system/{APP}@{edited}.service"
    one_server.root(f"sed -i 's/^User=.*/User=root/' {unit}; chmod 0644 /etc/{APP}/releases/{edited}.env")
    done = play(limit=one_server.name)
    assert done.code == 0, done.output
    assert one_server.live != edited
    user = one_server.root(f"systemctl show {APP}@{one_server.live}.service --property=User --value")
    assert user == APP
    assert play(limit=one_server.name).count("changed") == 0


def test_a_stopped_release_is_started_by_the_next_run(play: Callable[..., Played], one_server: Server) -> None:
    live = one_server.live
    one_server.root(f"systemctl stop {APP}@{live}.socket {APP}@{live}.service")
    answer = one_server.ask("/health")
    assert (answer.status, "not available" in answer.body) == (503, True)
    done = play(limit=one_server.name)
    assert done.code == 0, done.output
    assert (one_server.ask("/health").json["release"], one_server.live) == (live, live)


def test_a_disabled_nginx_is_enabled_again(play: Callable[..., Played], one_server: Server) -> None:
    one_server.root("systemctl disable --quiet nginx")
    assert play(limit=one_server.name).code == 0
    assert one_server.root("systemctl is-enabled nginx") == "enabled"


def test_a_request_as_long_as_nginx_allows_survives_the_switch(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("good_change", tmp_path / "app", label="while-one-waits")
    # Shorter than the defaults, so that the test waits less; only their ratio matters.
    times = {"flask_app_gunicorn_timeout_seconds": 1}
    assert play(limit=one_server.name, **times).code == 0
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(one_server.ask, "/slow?seconds=5")
        done = play(limit=one_server.name, flask_app_source_directory=str(source), **times)
    assert done.code == 0, done.output
    assert waiting.result().status == 200


def test_the_next_run_completes_one_killed_before_its_switch(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("good_change", tmp_path / "app", label="killed")
    before = one_server.live
    run_until("candidate |", kill_run(0.7), limit=one_server.name, flask_app_source_directory=str(source))
    assert one_server.ask("/health").json["release"] == before
    done = play(limit=one_server.name, flask_app_source_directory=str(source))
    assert done.code == 0, done.output
    assert "killed" in one_server.ask("/").body
    rows = one_server.root(f"systemctl list-units --plain --no-legend '{APP}@*'").splitlines()
    assert len(rows) == 2


def test_a_reboot_restores_the_same_release_without_ansible(server: Server) -> None:
    live = server.live
    subprocess.run([PODMAN, "restart", f"{PROJECT}-{server.name}"], check=True, capture_output=True)
    deadline = time.monotonic() + 60
    while True:
        try:
            health = server.ask("/health")
        except OSError:
            health = None
        if (health and health.status == 200) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert health
    assert health.json["release"] == live
    # testinfra's kept connection is gone after the reboot.
    assert connect(server.name).live == live
