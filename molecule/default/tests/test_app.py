# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a release gets traffic, its workers report which app they serve, and the report must meet the contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import apps, variants
from tests.support.deployed import APP, ROOT, Played, Server, connect, fresh, run_play, servers

DOCTOR = ROOT / "playbooks/doctor.yml"


@pytest.fixture(scope="module", autouse=True)
def _restored() -> Iterator[None]:
    yield
    assert run_play().code == 0


def units(server: Server) -> list[str]:
    """Return the app's units that systemd runs, starts, stops or has seen fail."""
    listed = server.root(
        f"systemctl list-units --all --plain --no-legend '{APP}*' | awk '$3 != \"inactive\" {{print $1}}'"
    )
    return sorted(listed.split())


def of_live(server: Server) -> list[str]:
    return [f"{APP}@{server.live}.service", f"{APP}@{server.live}.socket"]


# The app of the guides, with only its name, environment, source, server names and secrets set

#: The role's defaults for what the test inventory sets in addition.
NOTHING: dict[str, Any] = {
    "flask_app_env": {},
    "flask_app_nginx_static": {},
    "flask_app_nginx_headers": {},
    "flask_app_nginx_health_networks": [],
}
IMPORTS = f"/var/lib/{APP}/imports"
#: The servers share this machine's kernel. SCOPES_SIGNALS: the first version that can confine signals.
KERNEL = tuple(int(number) for number in os.uname().release.split(".")[:2])
SCOPES_SIGNALS = (6, 12)


def live() -> dict[str, str]:
    return {name: connect(name).live for name in servers()}


def test_the_tutorial_app_deploys_unchanged_and_is_imported_once_per_worker(
    play: Callable[..., Played], tmp_path: Path
) -> None:
    given = {"flask_app_source_directory": str(apps.make(tmp_path / "app")), **NOTHING}
    before = live()
    for name in servers():
        connect(name).root(f"rm -f {IMPORTS}")
    done = play(**given)
    assert done.code == 0, done.output
    for name in servers():
        server = connect(name)
        assert server.live != before[name]
        pids = server.root(f"cat {IMPORTS}").split()
        master = f"systemctl show {APP}@{server.live}.service --property=MainPID --value"
        assert sorted(pids) == sorted(server.root(f"pgrep -P $({master})").split())
        # Another process of the same account, like one of the next release.
        server.root(f"systemd-run --quiet --uid={APP} --unit=neighbor sleep 300")
        neighbor = server.root("systemctl show neighbor --property=MainPID --value")
        assert server.ask(f"/signal/{neighbor}").body == ("refused" if KERNEL >= SCOPES_SIGNALS else "reached")
        server.root("systemctl stop neighbor")
    assert "environment staging (the health page and 2 workers), DEBUG off (2 workers)" in done.prose
    again = play(**given)
    assert (again.code, again.count("changed")) == (0, 0)


@pytest.mark.parametrize(
    ("twin", "says"),
    [
        ("another class behind the same page", ["app.config ENV_NAME"]),
        ("DEBUG on", ["app.debug"]),
        ("one of two workers in another environment", ["app.config ENV_NAME in 1 of 2 workers"]),
        ("a key of each process", ["app.secret_key", "other-key"]),
        ("a database from elsewhere", ["SQLALCHEMY_DATABASE_URI", "DATABASE_URL", "other-database"]),
    ],
)
def test_a_faulty_copy_of_the_tutorial_app_gets_no_traffic(
    in_turns: Server, tmp_path: Path, twin: str, says: list[str]
) -> None:
    live = in_turns.live
    source = apps.make(tmp_path / "app", twin)
    done = run_play(limit=in_turns.name, flask_app_source_directory=str(source), **NOTHING)
    assert done.code != 0
    assert done.finds("candidate-failed"), done.output
    assert [fact for fact in (*says, live) if fact not in done.prose] == []
    assert in_turns.live == live
    assert units(in_turns) == of_live(in_turns)


def test_the_app_is_imported_once_more_if_workers_cannot_report(in_turns: Server, tmp_path: Path) -> None:
    source = apps.make(tmp_path / "app", "a worker class without hooks")
    given = {"flask_app_source_directory": str(source), **NOTHING}
    given["flask_app_gunicorn_settings"] = {"worker_class": "wsgi.Silent"}
    before = in_turns.live
    done = run_play(limit=in_turns.name, **given)
    assert done.code == 0, done.output
    assert in_turns.live != before
    assert units(in_turns) == of_live(in_turns)


def test_an_https_only_app_is_proved_behind_an_https_proxy(in_turns: Server, tmp_path: Path) -> None:
    given = {"flask_app_source_directory": str(apps.make(tmp_path / "app", "only HTTPS")), **NOTHING}
    before = in_turns.live
    done = run_play(limit=in_turns.name, flask_app_nginx_trusted_proxies=["10.0.0.0/8"], **given)
    assert done.code == 0, done.output
    assert in_turns.live != before
    for said, status in (("http", 302), ("https", 200), ("", 200)):  # without a header, the public scheme is assumed
        answer = in_turns.curl("/", "--header", f"X-Forwarded-Proto: {said}", scheme="http")
        assert (said, answer.status) == (said, status)


# What else is proved


def test_an_app_whose_health_page_only_says_ok_is_proved(play: Callable[..., Played], tmp_path: Path) -> None:
    source = variants.make("not_json", tmp_path / "app")
    before = live()
    done = play(flask_app_source_directory=str(source))
    assert done.code == 0, done.output
    for name in servers():
        assert connect(name).live != before[name]
        assert connect(name).ask("/health").body == "ok"


def test_an_app_without_a_health_page_is_proved_even_during_maintenance(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    given = {"limit": one_server.name, "flask_app_source_directory": str(variants.make("no_health", tmp_path / "app"))}
    before = one_server.live
    done = play(**given)
    assert done.code == 0, done.output
    assert one_server.live != before
    assert (one_server.ask("/health").status, one_server.ask("/").status) == (404, 200)
    maintenance = {"playbook": ROOT / "playbooks/maintenance.yml", "limit": one_server.name}
    assert play(**maintenance, flask_app_maintenance=True).code == 0
    try:
        assert (one_server.ask("/").status, one_server.ask("/slow").status) == (503, 503)
        assert play(**given, flask_app_env={"GREETING": "After the maintenance"}).code == 0
        assert one_server.ask("/").status == 503
    finally:
        assert play(**maintenance, flask_app_maintenance=False).code == 0
    assert "After the maintenance" in one_server.ask("/").body


def test_an_app_with_an_unproved_environment_is_refused_unless_accepted(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("not_json", tmp_path / "app")
    given: dict[str, Any] = {"limit": one_server.name, "flask_app_source_directory": str(source)}
    given["flask_app_inspect_environment_keys"] = ["NONE_OF_THESE"]
    before = one_server.live
    done = play(**given)
    assert done.code != 0
    assert done.finds("candidate-failed"), done.output
    ways = ("flask_app_inspect_environment_keys", "flask_app_health_fields", "[unproved-environment]")
    assert [way for way in ways if way not in done.prose] == []
    assert one_server.live == before
    accepted = play(**given, flask_app_accepted_findings=["unproved-environment"], **fresh())
    assert accepted.code == 0, accepted.output
    assert one_server.live != before


def test_no_inspection_unit_is_left_running(one_server: Server) -> None:
    assert units(one_server) == of_live(one_server)


# What only causes a warning


def test_an_insecure_cookie_is_a_warning_that_can_be_accepted(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("insecure_cookie", tmp_path / "app")
    given = {"limit": one_server.name, "flask_app_source_directory": str(source), "flask_app_tls": "self_signed"}
    finding = "insecure-cookie:SESSION_COOKIE_SECURE"
    done = play(**given)
    assert done.code == 0, done.output
    assert done.finds(finding), done.output
    doctor = play(**given, playbook=DOCTOR, flask_app_doctor_hosts=True)
    assert doctor.code == 0, doctor.output
    assert doctor.finds(finding), doctor.output
    accepted = play(**given, flask_app_accepted_findings=[finding], flask_app_env={"GREETING": "Accepted"})
    assert accepted.code == 0, accepted.output
    assert not accepted.finds(finding)
    assert finding not in accepted.prose
    assert "PREFERRED_URL_SCHEME" not in accepted.prose


def test_the_doctor_reports_hosts_without_a_live_release(play: Callable[..., Played], one_server: Server) -> None:
    given = {"limit": one_server.name, "playbook": DOCTOR, "flask_app_doctor_hosts": True}
    done = play(**given, flask_app_name="never-deployed")
    assert done.finds("app-unreachable:flask_app_doctor_hosts"), done.output
    assert "never-deployed" in done.prose
