# SPDX-License-Identifier: GPL-3.0-or-later
"""A new key that signs, with a real visitor's session."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployed import APP, DIRECTORY, ROOT, SITE, Played, Server, connect, play_environment, run_play, secrets

ROTATE = ROOT / "playbooks/rotate.yml"
NAME = "A visitor with a session"


def sign(server: Server) -> str:
    """Sign the guestbook as a visitor; return the cookie that the app made."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    headers = {"Host": SITE, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/sign", f"name={NAME.replace(' ', '+')}&message=Hello", headers)
    cookie = connection.getresponse().getheader("Set-Cookie") or ""
    return cookie.partition(";")[0]


def is_known(server: Server, cookie: str) -> bool:
    """Say whether the app reads the session: it then fills in the visitor's name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.request("GET", "/", headers={"Host": SITE, "Cookie": cookie})
    return f'value="{NAME}"' in connection.getresponse().read().decode()


@pytest.fixture(scope="module")
def vault() -> Iterator[Path]:
    """A vault file with the key that the test inventory has; the other variables are the inventory's."""
    path = DIRECTORY / "rotation.yml"
    key = (DIRECTORY / "secret_key").read_text().strip()
    path.write_text(f"# kept\nvault_flask_app_secret_key: {json.dumps(key)}\nvault_other: 1\n")
    ansible_vault("encrypt", "--encrypt-vault-id", "test", str(path))
    assert run_play().code == 0
    yield path
    assert run_play().code == 0


def ansible_vault(*words: str) -> str:
    done = subprocess.run(
        ["ansible-vault", *words], check=True, cwd=ROOT, env=play_environment(), capture_output=True, text=True
    )
    return done.stdout


def rotate(vault: Path, step: str, *options: str) -> Played:
    return run_play(*options, playbook=ROTATE, flask_app_rotation_step=step, flask_app_rotation_vault_file=str(vault))


def inventory(vault: Path) -> dict[str, Any]:
    """The variables that an inventory with this vault file would give."""
    lines = ansible_vault("view", str(vault)).splitlines()
    held = {name: json.loads(value) for name, _, value in (line.partition(": ") for line in lines if ": " in line)}
    return {
        "flask_app_secrets": {
            **secrets(),
            "DATABASE_URL": "sqlite:////var/lib/guestbook/guestbook.db",
            "SECRET_KEY": held["vault_flask_app_secret_key"],
        },
        "flask_app_secret_key_fallbacks": held["vault_flask_app_secret_key_fallbacks"],
    }


def test_sessions_survive_a_new_key_and_end_with_the_old_one(vault: Path, server: Server) -> None:
    """On each server in turn, each time from the state before."""
    old = sign(server)
    assert is_known(server, old)
    before = json.loads(server.root(f"cat /srv/{APP}/live/release.json"))

    done = rotate(vault, "start")
    assert done.code == 0, done.output
    assert "-e flask_app_rotation_step=finish" in done.prose
    new = sign(server)
    assert is_known(server, old)
    assert is_known(server, new)
    after = json.loads(server.root(f"cat /srv/{APP}/live/release.json"))
    assert after["release"] != before["release"]
    same = ("source", "venv", "revision", "environment")
    assert [after[name] for name in same] == [before[name] for name in same]

    assert rotate(vault, "finish").code == 0
    assert is_known(server, new)
    assert not is_known(server, old)


def test_the_inventory_and_the_servers_agree_after_each_step(vault: Path) -> None:
    for step in ("start", "finish"):
        assert rotate(vault, step).code == 0
        done = run_play(**inventory(vault))
        assert (done.code, done.count("changed")) == (0, 0), done.output
    assert "# kept\n" in ansible_vault("view", str(vault))


def test_an_interrupted_rotation_goes_on_with_the_same_key(vault: Path, one_server: Server) -> None:
    # The vault is changed, and one of the servers was not reached.
    assert run_play(playbook=ROTATE, limit="debian12", flask_app_rotation_vault_file=str(vault)).code == 0
    text = ansible_vault("view", str(vault))
    done = rotate(vault, "start")
    assert done.code == 0, done.output
    assert ansible_vault("view", str(vault)) == text
    keys = {inventory(vault)["flask_app_secrets"]["SECRET_KEY"]}
    for name in ("debian12", "debian13"):
        body = connect(name).root(f"cat /etc/{APP}/releases/{connect(name).live}.env")
        assert all(f"SECRET_KEY='{key}'" in body for key in keys)


def test_purge_leaves_no_old_key_on_the_servers(vault: Path, server: Server) -> None:
    old = inventory(vault)["flask_app_secrets"]["SECRET_KEY"]
    assert rotate(vault, "start").code == 0
    assert rotate(vault, "finish").code == 0
    assert old in server.root(f"cat /etc/{APP}/releases/*.env")
    done = rotate(vault, "purge")
    assert done.code == 0, done.output
    assert old not in server.root(f"cat /etc/{APP}/releases/*.env")
    assert server.host.run(f"grep -rlF -- '{old}' /etc/{APP} /srv/{APP}").stdout == ""
    assert server.ask().status == 200


def test_no_key_is_shown(vault: Path) -> None:
    old = inventory(vault)["flask_app_secrets"]["SECRET_KEY"]
    done = rotate(vault, "start", "-vvvv", "--diff")
    new = inventory(vault)["flask_app_secrets"]["SECRET_KEY"]
    assert done.code == 0
    assert new != old
    assert old not in done.output
    assert new not in done.output


def test_check_mode_changes_neither_vault_nor_server(vault: Path, one_server: Server) -> None:
    text = vault.read_bytes()
    before = one_server.state()
    done = rotate(vault, "start", "--check")
    assert done.code == 0, done.output
    assert (vault.read_bytes(), one_server.state()) == (text, before)
