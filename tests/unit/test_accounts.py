# SPDX-License-Identifier: GPL-3.0-or-later
"""An app's account has its own group, and a run killed between creating the two is completed."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts as _accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app.accounts import (
    make,
    missing,
    number,
    others_in_group,
)
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base import command
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError

LAYOUT = Layout("shop")


class Host:
    """Simulates the account files and the programs that write them."""

    def __init__(self) -> None:
        self.users: dict[str, pwd.struct_passwd] = {}
        self.groups: dict[str, int] = {"users": 100}
        self.calls: list[list[str]] = []
        self.refused = ""

    def getpwnam(self, name: str) -> pwd.struct_passwd:
        return self.users[name]

    def getgrnam(self, name: str) -> grp.struct_group:
        return grp.struct_group((name, "x", self.groups[name], []))

    def add(self, name: str, gid: int, uid: int = 998) -> None:
        self.users[name] = pwd.struct_passwd((name, "!", uid, gid, "", "/", "/bin/sh"))

    def run(self, argv: Sequence[str | Path], **_: object) -> Finished:
        words = [str(word) for word in argv]
        self.calls.append(words)
        if self.refused:
            return Finished(10, "", self.refused)
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words[1:-1])
        if words[0].endswith("groupadd"):
            self.groups[words[-1]] = int(options.get("gid", 997))
        else:
            self.add(words[-1], self.groups[options["gid"]])
        return Finished(0, "", "")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    played = Host()
    monkeypatch.setattr(command, "run", played.run)
    monkeypatch.setattr(pwd, "getpwnam", played.getpwnam)
    monkeypatch.setattr(pwd, "getpwall", lambda: list(played.users.values()))
    monkeypatch.setattr(grp, "getgrnam", played.getgrnam)
    return played


def test_account_and_group_get_the_same_name(host: Host) -> None:
    assert missing("shop") == make(LAYOUT) == ["the account shop", "the group shop"]
    assert number("passwd", "shop") == 998
    assert host.users["shop"].pw_gid == number("group", "shop") == 997
    assert all("--system" in call for call in host.calls)
    assert {"--shell=/usr/sbin/nologin", "--no-create-home", "--home-dir=/var/lib/shop"} <= set(host.calls[1])
    host.calls.clear()
    assert make(LAYOUT) == [] == host.calls


def test_a_group_without_its_account_gets_one(host: Host) -> None:
    host.groups["shop"] = 42
    assert make(LAYOUT) == ["the account shop"]
    assert host.users["shop"].pw_gid == 42


def test_a_missing_group_is_recreated_with_its_old_number(host: Host) -> None:
    host.add("shop", 42)
    assert make(LAYOUT) == ["the group shop"]
    assert host.groups["shop"] == 42


def test_a_failed_program_is_reported_with_its_reason(host: Host) -> None:
    host.refused = "groupadd: cannot lock /etc/group; try again later."
    with pytest.raises(GreenlightError, match="cannot lock /etc/group"):
        make(LAYOUT)
    assert host.users == {}


def test_other_accounts_with_this_primary_group_are_found(host: Host) -> None:
    make(LAYOUT)
    assert others_in_group("shop") == []
    host.add("ada", 997, 1000)
    host.add("bob", 100, 1001)
    assert others_in_group("shop") == ["ada"]
    assert _accounts.others_in_group("nobody-here") == []
