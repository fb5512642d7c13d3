# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a release has traffic the app itself is asked, in its release's environment and sandbox, what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.deployed import APP, ROOT, Played, Server, connect, run_play, secrets, servers

DOCTOR = ROOT / "playbooks/doctor.yml"
#: For an app whose health page is only "ok".
ONLY_OK: dict[str, Any] = {"flask_app_health_fields": {}}
#: For an app that has none.
NO_HEALTH: dict[str, Any] = {**ONLY_OK, "flask_app_health_path": "/"}


@pytest.fixture(scope="module", autouse=True)
def _as_before() -> Iterator[None]:
    yield
    assert run_play().code == 0


def units(server: Server) -> list[str]:
    """What of the app systemd runs, starts, stops or has seen failing."""
    listed = server.root(
        f"systemctl list-units --all --plain --no-legend '{APP}*' | awk '$3 != \"inactive\" {{print $1}}'"
    )
    return sorted(listed.split())


def of_live(server: Server) -> list[str]:
    return [f"{APP}@{server.live}.service", f"{APP}@{server.live}.socket"]


# What is refused, though the health page says nothing of it


@pytest.mark.parametrize(
    ("variant", "more", "says"),
    [
        ("wrong_environment", ONLY_OK, 'app.config ENVIRONMENT: expected "staging", got "production"'),
        ("debug_on", ONLY_OK, "app.debug: expected false, got true"),
        ("testing_on", {}, "app.config TESTING: expected false, got true"),
        ("debug_toolbar", {}, "package flask_debugtoolbar: expected not imported in staging, got imported"),
        ("gunicorn_only", {}, "the app's own word: expected an answer, got none"),
    ],
)
def test_an_app_that_is_not_what_was_meant_gets_no_traffic(
    in_turns: Server, tmp_path: Path, variant: str, more: dict[str, Any], says: str
) -> None:
    live = in_turns.live
    source = variants.make(variant, tmp_path / "app")
    done = run_play(limit=in_turns.name, flask_app_source_directory=str(source), **more)
    assert done.code != 0
    assert says in done.prose
    assert f"Traffic stays with {live}" in done.prose
    assert in_turns.live == live
    assert units(in_turns) == of_live(in_turns)


def test_an_app_that_falls_back_to_another_database_gets_no_traffic(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    live = one_server.live
    source = variants.make("own_database", tmp_path / "app")
    address = "postgresql://shop:a-password-of-the-test@db.example.org/shop"
    given = {**secrets(), "DATABASE_URL": address}
    done = play(limit=one_server.name, flask_app_source_directory=str(source), flask_app_secrets=given)
    assert done.code != 0
    assert "database: expected postgresql, as in DATABASE_URL, got sqlite" in done.prose
    assert one_server.live == live


def test_what_an_app_says_as_it_fails_to_be_asked_is_shown(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("gunicorn_only", tmp_path / "app")
    done = play(limit=one_server.name, flask_app_source_directory=str(source))
    assert done.code != 0
    assert "RuntimeError: only in a worker of Gunicorn" in done.prose
    assert "flask_app_inspect: false" in done.prose


# What is proved


def live() -> dict[str, str]:
    return {name: connect(name).live for name in servers()}


def test_an_app_whose_health_page_is_only_ok_is_proved(play: Callable[..., Played], tmp_path: Path) -> None:
    source = variants.make("not_json", tmp_path / "app")
    before = live()
    done = play(flask_app_source_directory=str(source), **ONLY_OK)
    assert done.code == 0, done.output
    for name in servers():
        assert connect(name).live != before[name]
        assert connect(name).ask("/health").body == "ok"
    again = play(flask_app_source_directory=str(source), **ONLY_OK)
    assert (again.code, again.count("changed")) == (0, 0)


def test_an_app_without_a_health_page_is_proved(play: Callable[..., Played], tmp_path: Path) -> None:
    source = variants.make("no_health", tmp_path / "app")
    before = live()
    done = play(flask_app_source_directory=str(source), **NO_HEALTH)
    assert done.code == 0, done.output
    for name in servers():
        assert connect(name).live != before[name]
        assert connect(name).ask("/health").status == 404
        assert connect(name).ask("/").status == 200  # for everybody, not only for those who may see health


def test_the_page_that_is_asked_for_is_closed_in_maintenance_and_a_deploy_goes_on(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("no_health", tmp_path / "app")
    given = {"limit": one_server.name, "flask_app_source_directory": str(source), **NO_HEALTH}
    assert play(**given).code == 0
    maintenance = {"playbook": ROOT / "playbooks/maintenance.yml", "limit": one_server.name}
    assert play(**maintenance, flask_app_maintenance=True).code == 0
    try:
        assert (one_server.ask("/").status, one_server.ask("/slow").status) == (503, 503)
        assert play(**given, flask_app_env={"GREETING": "After the maintenance"}).code == 0
    finally:
        assert play(**maintenance, flask_app_maintenance=False).code == 0
    assert "After the maintenance" in one_server.ask("/").body


def test_an_app_that_says_nowhere_what_it_is_is_refused_and_the_way_out_named(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("not_json", tmp_path / "app")
    keys = ["NONE_OF_THESE"]
    given = {"limit": one_server.name, "flask_app_source_directory": str(source), **ONLY_OK}
    done = play(**given, flask_app_inspect_environment_keys=keys)
    assert done.code != 0
    assert "flask_app_inspect_environment_keys" in done.prose


def test_an_app_that_cannot_be_asked_may_go_without(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("gunicorn_only", tmp_path / "app")
    given = {"limit": one_server.name, "flask_app_source_directory": str(source), "flask_app_inspect": False}
    done = play(**given, flask_app_env={"GREETING": "Unasked"})
    assert done.code == 0, done.output
    assert "Unasked" in one_server.ask("/").body


def test_nothing_that_asks_is_left(one_server: Server) -> None:
    assert units(one_server) == of_live(one_server)


# What is only warned of


def test_a_cookie_without_secure_is_warned_of_and_may_be_accepted(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("insecure_cookie", tmp_path / "app")
    given = {"limit": one_server.name, "flask_app_source_directory": str(source), "flask_app_tls": "self_signed"}
    told = "insecure-cookie:SESSION_COOKIE_SECURE"
    done = play(**given)
    assert done.code == 0, done.output
    assert "the app runs with SESSION_COOKIE_SECURE off" in done.prose
    assert told in done.prose
    doctor = play(**given, playbook=DOCTOR, flask_app_doctor_hosts=True)
    assert doctor.code == 0, doctor.output
    assert f"warning {told}" in doctor.prose
    accepted = play(**given, flask_app_accepted_findings=[told], flask_app_env={"GREETING": "Accepted"})
    assert accepted.code == 0, accepted.output
    assert told not in accepted.prose
    assert "PREFERRED_URL_SCHEME" not in accepted.prose


def test_the_doctor_says_where_no_app_can_be_heard(play: Callable[..., Played], one_server: Server) -> None:
    given = {"limit": one_server.name, "playbook": DOCTOR, "flask_app_doctor_hosts": True}
    done = play(**given, flask_app_name="never-deployed")
    assert "unheard-app" in done.prose
    assert "never-deployed has no live release on this host" in done.prose
