# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift made by hand on a real server is found and named; an untouched server has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployed import APP, ROOT, Played, Server, connect, run_play, secrets

PLAYBOOK = ROOT / "playbooks/verify.yml"
BY_HAND = "set-by-hand-and-secret"


def verify(server: Server, *options: str, **variables: Any) -> Played:
    """Verify one server; assert that nothing changes and no value is shown."""
    before = server.state()
    done = run_play(*options, playbook=PLAYBOOK, limit=server.name, **variables)
    assert server.state() == before
    assert done.count("changed") == 0
    for value in (*secrets().values(), BY_HAND):
        assert value not in done.output
    return done


def findings(server: Server, **variables: Any) -> list[dict[str, str]]:
    done = verify(server, flask_app_verify_format="json", **variables)
    [line] = [line for line in done.output.splitlines() if line.startswith("{")]
    document = json.loads(line)
    assert done.code == (2 if document["findings"] else 0), done.output
    found: list[dict[str, str]] = document["findings"]
    return found


@pytest.fixture(scope="module", autouse=True)
def deployed() -> None:
    done = run_play()
    assert done.code == 0, done.output


@pytest.fixture
def restored(one_server: Server) -> Iterator[Server]:
    """Undo the test's manual change."""
    unit = f"{APP}@{one_server.live}.service"
    path = f"/etc/{APP}/releases/{one_server.live}.env"
    one_server.root(f"cp -p {path} /root/kept.env")
    yield one_server
    one_server.root(f"cp -p /root/kept.env {path} && rm -f /root/kept.env /etc/systemd/system/{unit}.d/override.conf")
    one_server.root(f"systemctl daemon-reload && systemctl restart {unit}")
    assert findings(one_server) == []


def test_an_untouched_server_has_no_drift(server: Server) -> None:
    done = verify(server)
    assert done.code == 0, done.output
    assert done.findings == set()
    assert server.live in done.prose
    assert "Not fully checked" not in done.output


def test_an_environment_overridden_by_a_drop_in_is_reported(restored: Server) -> None:
    """With Environment= alone the release's own file would win, so systemctl edit needs another file to succeed."""
    unit = f"{APP}@{restored.live}.service"
    directory = f"/etc/systemd/system/{unit}.d"
    restored.write("/root/by-hand.env", "FLASK_CONFIG=development\n")
    restored.write(f"{directory}/override.conf", "[Service]\nEnvironmentFile=/root/by-hand.env\n", umask="022")
    restored.root(f"systemctl daemon-reload && systemctl restart {unit}")
    found = {(each["id"], each["subject"]) for each in findings(restored)}
    assert found == {("drop-in", f"{directory}/override.conf"), ("environment", "FLASK_CONFIG")}


def test_an_edited_environment_file_is_reported_before_and_after_a_restart(restored: Server) -> None:
    path = f"/etc/{APP}/releases/{restored.live}.env"
    restored.root(f"sed -i \"s/^FLASK_CONFIG=.*/FLASK_CONFIG='development'/\" {path}")
    restored.root(f"echo \"ODD='{BY_HAND}'\" >> {path}")
    edited = {("file", path), ("inventory", "FLASK_CONFIG"), ("inventory", "ODD")}
    running = {("environment", "FLASK_CONFIG"), ("environment", "ODD")}
    assert {(each["id"], each["subject"]) for each in findings(restored)} == edited | running
    restored.root(f"systemctl restart {APP}@{restored.live}.service")
    assert {(each["id"], each["subject"]) for each in findings(restored)} == edited


def test_a_systemd_default_for_all_services_is_reported_for_the_process(restored: Server) -> None:
    restored.root(f"systemctl set-environment FLASK_DEBUG=1 && systemctl restart {APP}@{restored.live}.service")
    try:
        assert [(each["id"], each["subject"]) for each in findings(restored)] == [("environment", "FLASK_DEBUG")]
    finally:
        restored.root("systemctl unset-environment FLASK_DEBUG")


def test_a_stopped_or_disabled_unit_is_reported(restored: Server) -> None:
    unit = f"{APP}@{restored.live}.service"
    restored.root(f"systemctl disable --quiet {unit}")
    assert [each["subject"] for each in findings(restored)] == [unit]
    restored.root(f"systemctl enable --quiet {unit} && systemctl stop {unit}")
    assert [each["subject"] for each in findings(restored)] == [unit]


def test_pending_settings_are_reported_and_undeployed_code_is_not(one_server: Server) -> None:
    assert findings(one_server, flask_app_revision="not-deployed-yet") == []
    other = {"flask_app_gunicorn_threads": 5, "flask_app_service_tasks_max": 99, "flask_app_nginx_body_size_mb": 3}
    found = findings(one_server, flask_app_env={"NEW": "new"}, **other)
    named = {(each["id"], each["subject"]) for each in found}
    assert {("inventory", "NEW"), ("nginx", f"/etc/nginx/sites-enabled/{APP}.conf")} <= named
    told = " ".join(each["what"] for each in found)
    for word in ("(threads)", "(TasksMax)"):
        assert word in told


def test_the_wrong_inventory_is_reported(one_server: Server) -> None:
    [found] = findings(one_server, flask_app_environment="production", flask_app_required_secrets=[])
    assert (found["id"], found["subject"]) == ("host", f"/etc/{APP}/environment-id")
    assert [fact for fact in ("staging", "production") if fact not in found["what"]] == []


def test_an_edited_venv_is_reported() -> None:
    server = connect("debian12")
    path = server.root(f"realpath /srv/{APP}/live/venv/lib/python3*/site-packages/flask/app.py")
    # Copy it first: uv links the files of all venvs to its cache.
    server.root(f"cp -p {path} /root/kept.py && rm {path} && cp -p /root/kept.py {path} && echo '# edited' >> {path}")
    try:
        assert [(each["id"], each["subject"]) for each in findings(server)] == [("venv", path)]
    finally:
        server.root(f"cp -p /root/kept.py {path} && rm /root/kept.py")
    assert findings(server) == []
