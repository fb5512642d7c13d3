# SPDX-License-Identifier: GPL-3.0-or-later
"""A site whose files somebody damaged: the next deploy publishes it again, or names the path that prevents it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, systemd
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._drift import units
from ansible_collections.greenlight.flask.plugins.module_utils._drift.drift import drift
from ansible_collections.greenlight.flask.plugins.module_utils._drift.look import Wanted
from ansible_collections.greenlight.flask.plugins.module_utils._edge.acme import Account
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import CHAIN, KEY, encoded, is_pair
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Site, Tls
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._release import state
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import breaks_site, faults, rehearsal_word

from tests.support import certificates
from tests.unit.cases import all_named
from tests.unit.edge_machine import EdgeMachine, played, put
from tests.unit.fakes import Host, plan_options, specification

SITE = "sites-enabled/shop.conf"
NAMES = ["shop.example.org"]
DROP_IN = "[Service]\nProtectHome=yes\n"
BINARY = b"\x00\xff\xfe\x1b[31m{[\n" * 3

PLACES: dict[str, Callable[[EdgeMachine], Path]] = {
    "site": lambda machine: machine.tree.etc / SITE,
    "marker": lambda machine: machine.layout.site_marker,
    "drop-in": lambda machine: machine.edge.drop_in,
    "link": lambda machine: machine.layout.certificate,
    "chain": lambda machine: machine.layout.certificate.readlink() / CHAIN,
    "key": lambda machine: machine.layout.certificate.readlink() / KEY,
    "tls": lambda machine: machine.layout.tls,
}
WAYS = {
    **dict.fromkeys(
        ("site", "marker", "drop-in"), ("missing", "empty", "cut", "binary", "empty directory", "directory")
    ),
    **dict.fromkeys(("chain", "key"), ("missing", "empty", "cut", "binary", "directory")),
    "link": ("missing", "file", "nowhere", "hollow", "directory"),
    "tls": ("missing", "file"),
}
CELLS = [(name, damage) for name, ways in WAYS.items() for damage in ways]


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    private = certificates.key()
    return certificates.certificate(private, *NAMES), certificates.key_pem(private)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeMachine:
    machine = played(tmp_path, monkeypatch)
    claim(machine.layout, "staging")
    return machine


def site(machine: EdgeMachine, mode: Any, pair: tuple[str, str]) -> Site:
    live = machine.layout.certificate
    text = f"ssl_certificate {live}/fullchain.pem;\nssl_certificate_key {live}/privkey.pem;\n"
    chain, key = pair if mode == "provided" else ("", "")
    account = Account("https://acme.example/directory")
    return Site({SITE: text}, server_names=NAMES, drop_in=DROP_IN, tls=Tls(mode, 443, chain, key, account))


def damage_at(path: Path, damage: str) -> None:
    content = path.read_bytes() if path.is_file() else b""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if damage in ("empty", "cut", "binary", "file"):
        path.write_bytes({"cut": content[: len(content) // 2], "binary": BINARY}.get(damage, b""))
    elif damage == "nowhere":
        path.symlink_to(path.parent / "self-signed-20200101T000000Z")
    elif damage != "missing":
        path.mkdir()
        if damage == "directory":
            (path / "somebody's").write_text("work\n")


def age(machine: EdgeMachine) -> None:
    """Rename a self-signed certificate, so that its name has another time than now."""
    live = machine.layout.certificate
    if live.readlink().name.startswith("self"):
        old = machine.layout.tls / "self-signed-20260101T000000Z"
        live.readlink().rename(old)
        live.unlink()
        live.symlink_to(old)


def findings(machine: EdgeMachine, wanted: Site, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Run verify on the site."""
    host = Host(machine.layout)
    for module in (systemd, units):
        monkeypatch.setattr(module, "run", host.run)
    monkeypatch.setattr(host, "_is_enabled", lambda units: host._show(["nginx"]), raising=False)
    monkeypatch.setattr(state, "socket_group", os.getegid)
    monkeypatch.setattr(accounts, "number", lambda part, name: 998)
    plan = Plan.of(plan_options(specification())["specification"], {})
    report = drift(machine.layout, Wanted(plan, wanted), edge=machine.edge)
    return [finding for finding in report.findings if finding.id not in ("live", "unit")]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["self_signed", "provided", "acme"])
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_damaged_site_is_republished_or_reported(
    machine: EdgeMachine, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, mode: str, cell: tuple[str, str]
) -> None:
    (name, damage), wanted = cell, site(machine, mode, pair)
    machine.next_certificate(*NAMES)
    machine.edge.publish(wanted)
    age(machine)
    served, path = machine.served(), PLACES[name](machine)
    damage_at(path, damage)
    with monkeypatch.context() as patch:
        found = findings(machine, wanted, patch)
    assert found
    assert all(finding.fix for finding in found)
    try:
        machine.edge.publish(wanted)
    except Damaged as error:
        assert (damage, error.path) == ("directory", path) or (name, damage) == ("tls", "file")
        assert machine.served() == served
        # The deploy's first look has found it, before anything was made.
        assert [fault.path for fault in faults(machine.layout, "staging") if not fault.repair] == [error.path]
        return
    assert (machine.tree.etc / SITE).read_text() == wanted.files[SITE]
    assert machine.edge.drop_in.read_text() == DROP_IN
    assert machine.served() == encoded(machine.layout.certificate) != b""
    with monkeypatch.context() as patch:
        assert findings(machine, wanted, patch) == []
    assert machine.edge.publish(wanted) is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain", "key"])
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("memory", ["good", "ended", "none", "unknown"])
def test_a_mismatched_acme_pair_is_reissued_while_the_site_keeps_serving(
    machine: EdgeMachine, pair: tuple[str, str], name: str, refused: bool, memory: str
) -> None:
    """Until then Nginx serves what it has in memory, if that is usable, or else a self-signed certificate.

    Certbot keeps a certificate that isn't near its end, however damaged its files are; so it must delete it first.
    """
    wanted = site(machine, "acme", pair)
    machine.next_certificate(*NAMES)
    machine.edge.publish(wanted)
    PLACES[name](machine).write_text(pair[name == "key"])
    served, loads = machine.served(), machine.calls("systemctl reload")
    if memory == "ended":
        put(machine.state / "ended", *NAMES, begins_days=-9, ends_days=-1)
        served = encoded(machine.state / "ended")
        (machine.state / "served.pem").write_text((machine.state / "ended" / CHAIN).read_text())
    elif memory == "none":
        (machine.state / "served.pem").write_text("")
    elif memory == "unknown":  # as if a killed run has not loaded the site
        machine.layout.site_marker.write_text('{"begun": ""}')
    keeps = memory == "good"
    more = machine.edge.pending(wanted)[1]
    assert [each.what.startswith("from ") for each in more] == [False, True][keeps:]
    new = machine.next_certificate(*NAMES)
    if refused:
        (machine.state / "refuses").write_text("too many certificates\n")
        for before in ("damaged", "refused"):
            with pytest.raises(Refused, match="too many certificates") as said:
                machine.edge.publish(wanted)
            assert all_named(said) == [("no-certificate", NAMES[0])]
            (told,) = said.value.closing
            assert (told == machine.edge._still_served()) is (keeps or before == "refused")
            assert ("flask_app_tls: self_signed" in told) is keeps  # Nginx can't be restarted
            assert (str(machine.layout.certificate.readlink()) in told) is (keeps or before == "damaged")
            assert (machine.served() == served) is keeps
            assert (machine.calls("systemctl reload") == loads) is keeps
            assert keeps or machine.served() == encoded(machine.layout.certificate) != b""
            assert is_pair(machine.layout.certificate) is not keeps
        machine.back("refuses")
    assert machine.edge.publish(wanted) is True
    assert machine.calls("certbot delete") == ["certbot delete"]
    assert machine.served() == new
    assert len(machine.calls("systemctl reload")) - len(loads) == 1 or not keeps
    assert machine.edge.publish(wanted) is False


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "binary", "hollow"])
def test_nginx_reloads_a_new_rehearsal_word(machine: EdgeMachine, pair: tuple[str, str], damage: str) -> None:
    """Nginx has the old word in memory, so no candidate could be reached with the new one."""
    wanted = site(machine, "provided", pair)
    machine.edge.publish(wanted)
    assert machine.edge.publish(wanted) is False
    word = rehearsal_word(machine.layout)
    damage_at(machine.layout.rehearsal, damage)
    assert breaks_site(machine.layout) == (damage != "missing")
    assert claim(machine.layout, "staging") == [str(machine.layout.rehearsal)]
    assert not breaks_site(machine.layout)
    assert rehearsal_word(machine.layout) != word
    before = machine.calls("systemctl reload nginx")
    machine.edge.publish(wanted)
    assert len(machine.calls("systemctl reload nginx")) == len(before) + 1


def test_the_layout_and_the_transaction_agree_on_the_site_marker(machine: EdgeMachine, pair: tuple[str, str]) -> None:
    machine.edge.publish(site(machine, "provided", pair))
    assert "confirmed" in machine.layout.site_marker.read_text()
    assert machine.tree.state.relative_to(machine.root) == Tree().state.relative_to("/")


def test_a_foreign_file_in_another_encoding_is_restored_byte_for_byte(
    machine: EdgeMachine, pair: tuple[str, str]
) -> None:
    path = machine.tree.etc / SITE
    path.write_bytes(BINARY)
    wanted = site(machine, "provided", pair)
    machine.turn("live-bad")
    with pytest.raises(Exception, match="live tree refused"):
        machine.edge.publish(wanted)
    assert path.read_bytes() == BINARY
