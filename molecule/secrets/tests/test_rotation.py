# SPDX-License-Identifier: GPL-3.0-or-later
"""A new signing key, with a real visitor's session."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import APP, SITE, Server, connect, run_play, servers
from tests.support.rotation import ansible_vault, inventory, keys, make_vault, rotate

NAME = "A visitor with a session"


def sign(server: Server) -> str:
    """Sign the guestbook as a visitor; return the cookie that the app set."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    headers = {"Host": SITE, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/sign", f"name={NAME.replace(' ', '+')}&message=Hello", headers)
    cookie = connection.getresponse().getheader("Set-Cookie") or ""
    return cookie.partition(";")[0]


def is_known(server: Server, cookie: str) -> bool:
    """Return whether the app accepts the session: it then fills in the visitor's name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.request("GET", "/", headers={"Host": SITE, "Cookie": cookie})
    return f'value="{NAME}"' in connection.getresponse().read().decode()


@pytest.fixture(scope="module", autouse=True)
def vault() -> Iterator[Path]:
    path = make_vault()
    assert run_play().code == 0
    yield path
    assert run_play().code == 0


def manifests() -> dict[str, dict[str, str]]:
    """Return the manifest of each server's live release."""
    return {name: json.loads(connect(name).root(f"cat /srv/{APP}/live/release.json")) for name in servers()}


def agrees(with_what: dict[str, Any]) -> bool:
    """Return whether a deploy with these variables has nothing to change."""
    done = run_play(**with_what)
    return (done.code, done.count("changed")) == (0, 0)


def test_sessions_survive_rotation_and_end_when_the_old_key_is_removed(vault: Path) -> None:
    """The inventory, the vault and the servers agree after each step, and no key is shown."""
    visited = [connect(name) for name in servers()]
    old, old_key = {server.name: sign(server) for server in visited}, keys()[0]
    assert all(is_known(server, old[server.name]) for server in visited)
    before = manifests()

    done = rotate("start", "-vvvv", "--diff")
    assert done.code == 0, done.output
    assert "-e flask_app_rotation_step=finish" in done.prose
    new_key = keys()[0]
    assert new_key != old_key
    assert [key for key in (old_key, new_key) if key in done.output] == []
    new = {server.name: sign(server) for server in visited}
    for server in visited:
        assert is_known(server, old[server.name])
        assert is_known(server, new[server.name])
    same = ("source", "venv", "revision", "environment")
    for name, after in manifests().items():
        assert after["release"] != before[name]["release"]
        assert [after[key] for key in same] == [before[name][key] for key in same]
    assert agrees(inventory())

    assert rotate("finish").code == 0
    for server in visited:
        assert is_known(server, new[server.name])
        assert not is_known(server, old[server.name])
    assert agrees(inventory())
    assert "# kept\n" in ansible_vault("view", str(vault))


def test_an_interrupted_rotation_continues_with_the_same_key(one_server: Server) -> None:
    # The vault is changed, but one of the servers was not reached.
    assert rotate("start", limit="debian12").code == 0
    begun = keys()
    for _ in range(2):
        done = rotate("start")
        assert done.code == 0, done.output
        assert keys() == begun
    assert "A rotation is already in progress" in done.prose
    for name in ("debian12", "debian13"):
        body = connect(name).root(f"cat /etc/{APP}/releases/{connect(name).live}.env")
        assert f"SECRET_KEY='{begun[0]}'" in body
    assert rotate("finish").code == 0


def test_purge_leaves_no_old_key_on_the_servers() -> None:
    old = keys()[0]
    assert rotate("start").code == 0
    assert rotate("finish").code == 0
    for server in map(connect, servers()):
        assert old in server.root(f"cat /etc/{APP}/releases/*.env")
    done = rotate("purge")
    assert done.code == 0, done.output
    for server in map(connect, servers()):
        assert old not in server.root(f"cat /etc/{APP}/releases/*.env")
        assert server.host.run(f"grep -rlF -- '{old}' /etc/{APP} /srv/{APP}").stdout == ""
        assert server.ask().status == 200


def test_check_mode_changes_neither_vault_nor_server(vault: Path, one_server: Server) -> None:
    text = vault.read_bytes()
    before = one_server.state()
    done = rotate("start", "--check")
    assert done.code == 0, done.output
    assert (vault.read_bytes(), one_server.state()) == (text, before)
