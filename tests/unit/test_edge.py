# SPDX-License-Identifier: GPL-3.0-or-later
"""Site and certificate change together, from any state to any other, and the old ones are served until then."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base import http as _http
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, NoAnswer, Target
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge.acme import Account
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import encoded, inspect
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import noted_page
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import (
    HASHES,
    OWNER,
    Edge,
    Site,
    Tls,
    apps_inside,
    files_of,
    unused_defaults,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import Page
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import reach as _reach
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.reach import Reach
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import PROVED, Releases

from tests.support import certificates
from tests.unit.cases import all_named, named
from tests.unit.edge_machine import EdgeMachine, played, put
from tests.unit.fakes import SECRETS, WORD, create

SITE = "sites-enabled/shop.conf"
NAMES = ["shop.example.org", "www.shop.example.org"]
ACCOUNT = Account("https://acme.example.org/directory")
MODES = ["none", "self_signed", "provided", "acme"]
# Findings that refuse a change.
BY_NGINX, SANDBOX = ("refused-by-nginx", "nginx"), ("nginx-sandbox", "flask_app_nginx_harden")
NO_CERTIFICATE, TAKEN_BACK = ("no-certificate", NAMES[0]), ("site-taken-back", "shop")
SHARED_SITE, SHARED_PATH = ("shared-site", "flask_app_nginx_site_of"), ("shared-path", "flask_app_url_prefix")


@contextmanager
def refused(wanted: tuple[str, str] | None, *facts: str) -> Iterator[None]:
    """Expect a refusal with one finding whose text has these facts; None: expect no refusal."""
    if not wanted:
        yield
        return
    with pytest.raises(Refused) as error:
        yield
    (finding,) = error.value.findings
    assert named(finding) == wanted
    assert [fact for fact in facts if fact not in str(finding)] == []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeMachine:
    machine = played(tmp_path, monkeypatch)
    machine.next_certificate(*NAMES)
    return machine


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    private = certificates.key()
    return certificates.certificate(private, *NAMES), certificates.key_pem(private)


class Sites:
    """The site in each mode, as the role's templates make it."""

    def __init__(self, machine: EdgeMachine, pair: tuple[str, str]) -> None:
        self.machine, self.pair = machine, pair

    def __call__(self, mode: Any, *names: str) -> Site:
        live = self.machine.layout.certificate
        lines = [f"# {mode}", f"server_name {' '.join(names or NAMES)};"]
        if mode != "none":
            lines += [f"ssl_certificate {live}/fullchain.pem;", f"ssl_certificate_key {live}/privkey.pem;"]
        chain, key = self.pair if mode == "provided" else ("", "")
        tls = Tls(mode, 443, chain, key, ACCOUNT if mode == "acme" else Account(""))
        return Site({SITE: "\n".join([*lines, ""])}, server_names=list(names or NAMES), tls=tls)


@pytest.fixture
def site(machine: EdgeMachine, pair: tuple[str, str]) -> Sites:
    return Sites(machine, pair)


def publish(machine: EdgeMachine, site: Site) -> bool:
    return machine.edge.publish(site)


def target(machine: EdgeMachine) -> str:
    """Return the source of the certificate that the link leads to."""
    live = machine.layout.certificate
    if not live.is_symlink():
        return "none"
    if live.readlink() == machine.certbot.lineage(machine.layout):
        return "acme"
    assert live.readlink().parent == machine.layout.tls
    return {"self": "self_signed", "prov": "provided"}[live.readlink().name[:4]]


def certificates_held(machine: EdgeMachine) -> list[str]:
    tls = machine.layout.tls
    return sorted(name.partition("-")[0] for name in os.listdir(tls)) if tls.exists() else []


def lineages(machine: EdgeMachine) -> list[str]:
    return [path.name for path in machine.certbot.etc.glob("live/*")]


def tree(machine: EdgeMachine) -> dict[str, str]:
    return {name: text for name, text in machine.files().items() if name.startswith("etc/nginx/")}


def debians_site(machine: EdgeMachine) -> tuple[Path, Path]:
    """Make Debian's own default site, and the link that enables it."""
    available, enabled = (machine.tree.etc / f"sites-{kind}/default" for kind in ("available", "enabled"))
    available.parent.mkdir()
    available.write_text("debian's\n")
    enabled.symlink_to("../sites-available/default")
    machine.stock(available)
    return available, enabled


def aged(machine: EdgeMachine) -> Path:
    """Rename the served self-signed certificate, so that its name has another time than now."""
    live, old = machine.layout.certificate, machine.layout.tls / "self-signed-20260101T000000Z"
    live.readlink().rename(old)
    live.unlink()
    live.symlink_to(old)
    return old


# From any state to any other


def every_change() -> Iterator[str]:
    """Yield modes so that each change between two of them occurs once."""
    left = {mode: [other for other in MODES if other != mode] for mode in MODES}
    here = MODES[0]
    while left[here]:
        here = left[here].pop()
        yield here
    assert not any(left.values())


@pytest.mark.slow
def test_every_mode_change_ends_with_only_its_own_certificate(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("none"))
    walk = list(every_change())
    assert len(walk) == 12
    before = "none"
    for mode in walk:
        way = f"{before} to {mode}"
        wanted = site(mode)
        assert publish(machine, wanted) is True, way
        assert target(machine) == mode, way
        expected = {"none": [], "self_signed": ["live", "self"], "provided": ["live", "provided"], "acme": ["live"]}
        assert certificates_held(machine) == expected[mode], way
        assert lineages(machine) == (["shop"] if mode == "acme" else []), way
        assert tree(machine)[f"etc/nginx/{SITE}"] == wanted.files[SITE], way
        assert machine.served() == (encoded(machine.layout.certificate) if mode != "none" else b""), way
        loads = machine.calls("systemctl reload")
        assert publish(machine, wanted) is False, way
        assert machine.calls("systemctl reload") == loads, way
        before = mode


def test_the_link_points_to_the_provided_certificate(machine: EdgeMachine, site: Sites, pair: tuple[str, str]) -> None:
    publish(machine, site("provided"))
    assert (machine.layout.certificate / "fullchain.pem").read_text() == pair[0]
    assert (machine.layout.certificate / "privkey.pem").read_text() == pair[1]


def test_a_new_provided_certificate_replaces_the_old_one(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("provided"))
    private = certificates.key()
    site.pair = certificates.certificate(private, *NAMES), certificates.key_pem(private)
    assert publish(machine, site("provided")) is True
    assert machine.served() == encoded(machine.layout.certificate)
    assert (machine.layout.certificate / "fullchain.pem").read_text() == site.pair[0]
    assert certificates_held(machine) == ["live", "provided"]


def test_changed_names_get_a_new_self_signed_certificate(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("self_signed"))
    aged(machine)
    assert publish(machine, site("self_signed", *NAMES, "new.example.org")) is True
    found = inspect(machine.layout.certificate)
    assert found
    assert found.names == {*NAMES, "new.example.org"}
    assert certificates_held(machine) == ["live", "self"]


def test_nginx_is_reloaded_if_it_serves_an_older_certificate(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("provided"))
    put(machine.state / "old", *NAMES)
    (machine.state / "served.pem").write_text((machine.state / "old/fullchain.pem").read_text())
    assert publish(machine, site("provided")) is True
    assert machine.served() == encoded(machine.layout.certificate)
    assert publish(machine, site("provided")) is False


# Nginx refuses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "old", "new"),
    [
        ("live-bad", "self_signed", "provided"),
        ("reload-fails", "provided", "self_signed"),
        ("reload-fails", "provided", "acme"),
        ("live-bad", "acme", "self_signed"),
    ],
)
def test_link_and_files_are_restored_when_nginx_refuses(
    machine: EdgeMachine, site: Sites, fault: str, old: str, new: str
) -> None:
    publish(machine, site(old))
    files, link, served = tree(machine), machine.layout.certificate.readlink(), machine.served()
    machine.turn(fault)
    with pytest.raises(GreenlightError):
        publish(machine, site(new))
    assert tree(machine) == files
    assert machine.layout.certificate.readlink() == link
    assert inspect(machine.layout.certificate)
    assert machine.served() == served
    assert len(machine.calls("certbot")) == (1 if old == "acme" else 0)
    machine.back(fault)
    assert publish(machine, site(new)) is True
    assert target(machine) == new


@pytest.mark.parametrize("mode", ["provided", "acme"])
def test_a_site_that_nginx_refuses_at_once_changes_no_file(machine: EdgeMachine, site: Sites, mode: str) -> None:
    before = tree(machine)
    with refused(BY_NGINX):
        publish(machine, replace(site(mode), files={SITE: "bad\n"}))
    assert tree(machine) == before
    assert target(machine) == "none"
    assert machine.calls("systemctl reload") == machine.calls("certbot") == []


# A certificate from an ACME server


def test_the_first_acme_challenge_is_served_with_a_self_signed_certificate(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("acme"))
    assert "/self-signed-" in machine.noted("meanwhile")
    assert machine.noted("meanwhile-site") == site("acme").files[SITE]
    orders = [line for line in machine.calls() if line.startswith(("systemctl reload", "certbot"))]
    assert orders == ["systemctl reload nginx", "certbot certonly", "systemctl reload nginx"]
    assert target(machine) == "acme"
    assert machine.served() == encoded(machine.certbot.lineage(machine.layout))
    assert certificates_held(machine) == ["live"]


def test_visitors_are_not_redirected_to_an_untrusted_certificate(machine: EdgeMachine, site: Sites) -> None:
    wanted = site("acme")
    interim = f"{wanted.files[SITE]}# without a redirect\n"
    publish(machine, replace(wanted, interim_files={SITE: interim}))
    assert machine.noted("meanwhile-site") == interim
    assert tree(machine)[f"etc/nginx/{SITE}"] == wanted.files[SITE]


@pytest.mark.parametrize("old", ["self_signed", "provided"])
def test_the_old_certificate_is_served_until_the_new_one_is_issued(machine: EdgeMachine, site: Sites, old: str) -> None:
    publish(machine, site(old))
    link = machine.layout.certificate.readlink()
    publish(machine, site("acme"))
    assert machine.noted("meanwhile").strip() == str(link)
    assert target(machine) == "acme"
    assert not link.exists()


@pytest.mark.slow
@pytest.mark.parametrize("old", MODES[:3])
def test_the_old_certificate_stays_when_the_acme_server_refuses(machine: EdgeMachine, site: Sites, old: str) -> None:
    publish(machine, site(old))
    before, served, link = tree(machine), machine.served(), target(machine)
    (machine.state / "refuses").write_text("NXDOMAIN\n")
    for _ in range(2):
        with refused(NO_CERTIFICATE):
            publish(machine, site("acme"))
        assert tree(machine) == before
        assert machine.served() == served
        assert target(machine) == link or old == "none"
        assert inspect(machine.layout.certificate)
    machine.back("refuses")
    assert publish(machine, site("acme")) is True
    assert target(machine) == "acme"
    assert certificates_held(machine) == ["live"]


def test_a_failed_revert_does_not_claim_that_the_old_site_is_served(
    machine: EdgeMachine, site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise GreenlightError("Nginx refuses it")

    publish(machine, site("provided"))
    (machine.state / "refuses").write_text("NXDOMAIN\n")
    monkeypatch.setattr(Edge, "_go_back", fails)
    with pytest.raises(Refused) as error:
        publish(machine, site("acme"))
    assert all_named(error) == [NO_CERTIFICATE]
    (closing,) = error.value.closing
    assert closing != machine.edge._still_served()
    assert str(machine.layout.certificate.readlink()) in closing


def test_names_without_a_certificate_are_not_served_after_a_refusal(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("acme"))
    before, served = tree(machine), machine.served()
    (machine.state / "refuses").write_text("NXDOMAIN\n")
    with refused(NO_CERTIFICATE, "new.example.org"):
        publish(machine, site("acme", *NAMES, "new.example.org"))
    assert (tree(machine), machine.served(), target(machine)) == (before, served, "acme")
    assert publish(machine, site("acme")) is False


@pytest.mark.slow
def test_a_first_deploy_refused_by_the_acme_server_leaves_nginx_unchanged(machine: EdgeMachine, site: Sites) -> None:
    """Debian's site is a link, and must come back as a link."""
    debians_site(machine)
    conffiles = machine.noted("conffiles")
    machine.stock(machine.tree.etc / "nginx.conf")
    (machine.state / "conffiles").write_text(machine.noted("conffiles") + conffiles)
    wanted = replace(site("acme"), main=f"{OWNER}\n", replace_stock_default_site=True)
    before = tree(machine)
    (machine.state / "refuses").write_text("NXDOMAIN\n")
    for _ in range(2):
        with refused(NO_CERTIFICATE):
            publish(machine, wanted)
        assert tree(machine) == before
        assert machine.served() == b""
        assert [path.name for path in machine.tree.state.glob("*.json")] == ["shop.json"]
    machine.back("refuses")
    assert publish(machine, wanted) is True
    assert "etc/nginx/sites-enabled/default" not in tree(machine)
    assert publish(machine, wanted) is False


def test_an_expired_certificate_is_replaced_by_a_self_signed_one(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("self_signed"))
    ended = aged(machine)
    put(ended, *NAMES, begins_days=-10, ends_days=-1)
    publish(machine, site("acme"))
    assert "/self-signed-" in machine.noted("meanwhile")
    assert machine.noted("meanwhile").strip() != str(ended)
    assert target(machine) == "acme"


@pytest.mark.slow
@pytest.mark.parametrize("hook", [True, False])
def test_an_added_name_is_served_once_its_certificate_is_issued(machine: EdgeMachine, site: Sites, hook: bool) -> None:
    """The lineage's path stays the same; without its hook, certbot notifies nobody."""
    publish(machine, site("acme"))
    if not hook:
        machine.certbot.hook.chmod(0o644)
    new = machine.next_certificate(*NAMES, "new.example.org")
    wanted = site("acme", *NAMES, "new.example.org")
    assert publish(machine, wanted) is True
    assert machine.served() == new
    assert publish(machine, wanted) is False
    assert len(machine.calls("certbot")) == 2


def test_another_acme_server_issues_a_new_certificate(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("acme"))
    new = machine.next_certificate(*NAMES)
    other = replace(site("acme"), tls=Tls("acme", account=Account("https://other.example.org/directory")))
    assert publish(machine, other) is True
    assert machine.served() == new
    assert publish(machine, other) is False


def test_an_existing_certbot_lineage_is_served(machine: EdgeMachine, site: Sites) -> None:
    """The app never had its own certificate, nor the directory for it."""
    publish(machine, site("acme"))
    certificate.tidy(machine.layout, None)
    assert not machine.layout.tls.exists()
    assert publish(machine, site("acme")) is True
    assert target(machine) == "acme"
    assert len(machine.calls("certbot")) == 1


def test_an_unwanted_certbot_lineage_is_deleted(machine: EdgeMachine, site: Sites) -> None:
    """As after a run that died between the switch and certbot's deletion."""
    publish(machine, site("provided"))
    put(machine.certbot.lineage(machine.layout), *NAMES)
    machine.certbot.settings(machine.layout).parent.mkdir(parents=True)
    machine.certbot.settings(machine.layout).write_text(f"webroot_path = {machine.certbot.webroot},\n")
    assert publish(machine, site("provided")) is True
    assert lineages(machine) == []
    assert publish(machine, site("provided")) is False


def test_publishing_restores_the_renewal_hook(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("acme"))
    assert machine.certbot.hook.exists()
    machine.certbot.hook.unlink()
    assert publish(machine, site("acme")) is True
    assert machine.certbot.hook.exists()


# The unit of Nginx


def test_nginx_is_hardened_before_its_first_site_of_ours(machine: EdgeMachine, site: Sites) -> None:
    wanted = replace(site("none"), drop_in="[Service]\n")
    assert publish(machine, wanted) is True
    assert (machine.root / "etc/systemd/system/nginx.service.d/greenlight.conf").read_text() == "[Service]\n"
    told = [line for line in machine.calls() if line.startswith("system")]
    orders = [line for line in told if " is-" not in line and "systemctl show" not in line]
    assert orders[0].startswith("systemd-run ")  # tested before it is written
    assert orders[1:] == ["systemctl daemon-reload", "systemctl restart nginx", "systemctl reload nginx"]
    assert publish(machine, wanted) is False


@pytest.mark.parametrize("killed_after", ["the drop-in was written", "systemd was told"])
def test_an_interrupted_hardening_is_completed(machine: EdgeMachine, site: Sites, killed_after: str) -> None:
    machine.edge.drop_in.parent.mkdir(parents=True)
    machine.edge.drop_in.write_text("[Service]\n")
    if killed_after == "the drop-in was written":
        machine.turn("needs-reload")
    assert publish(machine, replace(site("none"), drop_in="[Service]\n")) is True
    assert len(machine.calls("systemctl daemon-reload")) == (killed_after == "the drop-in was written")
    assert machine.calls("systemctl restart") == ["systemctl restart nginx"]


def test_a_sandbox_in_which_nginx_fails_is_not_written(machine: EdgeMachine, site: Sites) -> None:
    (machine.state / "sandbox-refuses").write_text("open() /srv/www/log failed (30: Read-only file system)\n")
    wanted = replace(site("none"), drop_in="[Service]\n# why\nRestart=on-failure\nProtectSystem=strict\n")
    with refused(SANDBOX, "flask_app_nginx_harden: false", "/srv/www/log"):
        publish(machine, wanted)
    assert not machine.edge.drop_in.exists()
    assert machine.calls("systemctl restart") == []
    (tried,) = machine.calls("systemd-run")
    assert "--property ProtectSystem=strict" in tried
    assert "Restart" not in tried


@pytest.mark.parametrize("before", ["", "[Service]\nPrivateTmp=yes\n"])
def test_nginx_starts_without_the_sandbox_if_it_fails_in_it(machine: EdgeMachine, site: Sites, before: str) -> None:
    if before:
        machine.edge.drop_in.parent.mkdir(parents=True)
        machine.edge.drop_in.write_text(before)
    machine.turn("restart-fails")
    with refused(SANDBOX):
        publish(machine, replace(site("none"), drop_in="[Service]\n"))
    assert (machine.edge.drop_in.read_text() if machine.edge.drop_in.exists() else "") == before
    assert (machine.state / "active").exists()


def test_nginx_that_serves_others_is_not_restarted(machine: EdgeMachine, site: Sites) -> None:
    (machine.tree.etc / "sites-enabled/theirs.conf").write_text("server { listen 80; }\n")
    assert publish(machine, replace(site("none"), drop_in="[Service]\n")) is True
    assert machine.calls("systemctl restart") == []
    assert machine.edge.drop_in.exists()


def test_nginx_that_serves_a_site_of_ours_is_not_restarted(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("none"))
    assert publish(machine, replace(site("none"), drop_in="[Service]\n")) is True
    assert machine.calls("systemctl daemon-reload") == ["systemctl daemon-reload"]
    assert machine.calls("systemctl restart") == []
    assert machine.edge.drop_in.read_text() == "[Service]\n"


def test_without_hardening_the_unit_is_unchanged(machine: EdgeMachine, site: Sites) -> None:
    publish(machine, site("none"))
    assert not machine.edge.drop_in.exists()
    assert machine.calls("systemctl daemon-reload") == machine.calls("systemctl restart") == []


# Debian's files that it replaces


@pytest.mark.parametrize(
    ("there", "stock", "replaced"),
    [("debian's", True, True), ("edited", False, False), (f"{OWNER}\nolder\n", False, True), (None, False, False)],
)
def test_only_the_stock_nginx_conf_or_ours_is_replaced(
    machine: EdgeMachine, site: Sites, there: str | None, stock: bool, replaced: bool
) -> None:
    path = machine.tree.etc / "nginx.conf"
    path.unlink()
    if there is not None:
        path.write_text(there)
    if stock:
        machine.stock(path)
    wanted = replace(site("none"), main=f"{OWNER}\nnewer\n")
    assert ("nginx.conf" in machine.edge.pending(wanted)[0]) is replaced
    publish(machine, wanted)
    assert (path.read_text() if path.exists() else None) == (wanted.main if replaced else there)
    assert publish(machine, wanted) is False


def test_nginx_conf_is_restored_when_nginx_refuses(machine: EdgeMachine, site: Sites) -> None:
    machine.stock(machine.tree.etc / "nginx.conf")
    before = tree(machine)
    machine.turn("live-bad")
    with pytest.raises(GreenlightError):
        publish(machine, replace(site("none"), main=f"{OWNER}\n"))
    assert tree(machine) == before


def test_without_our_nginx_conf_the_stock_one_stays(machine: EdgeMachine, site: Sites) -> None:
    machine.stock(machine.tree.etc / "nginx.conf")
    publish(machine, site("none"))
    assert OWNER not in (machine.tree.etc / "nginx.conf").read_text()


@pytest.mark.parametrize(("asked", "stock", "gone"), [(True, True, True), (True, False, False), (False, True, False)])
def test_only_the_unmodified_stock_site_is_removed(
    machine: EdgeMachine, site: Sites, asked: bool, stock: bool, gone: bool
) -> None:
    available, enabled = debians_site(machine)
    if not stock:
        available.write_text("edited")
    publish(machine, replace(site("none"), replace_stock_default_site=asked))
    assert enabled.is_symlink() is not gone
    assert available.exists()


# The default servers that apps share


SHARED = {port: f"sites-enabled/00-default-{port}.conf" for port in ("80", "443", "443-quic", "8080")}


def shared(machine: EdgeMachine, *ports: str) -> list[str]:
    """Make default servers; return those that the app's site gives up."""
    for port in ports:
        (machine.tree.etc / SHARED[port]).write_text(
            f"{OWNER}\nserver {{ listen {port[:4].strip('-')} default_server; }}\n"
        )
    site = "server {\n    listen 80;\n    listen [::]:80;\n}\n"
    return [SHARED_PORTS[name] for name in unused_defaults(machine.tree, "shop", {SITE: site})]


SHARED_PORTS = {name: port for port, name in SHARED.items()}


def test_unused_default_servers_are_removed(machine: EdgeMachine) -> None:
    (machine.tree.etc / SITE).write_text("server {\n    listen 443 ssl;\n    listen 443 quic;\n    listen 8080;\n}\n")
    assert shared(machine, "80", "443", "443-quic", "8080") == ["443-quic", "443", "8080"]


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("listen 443 ssl;", ["443-quic"]),
        ("listen [::]:443 ssl;", ["443-quic"]),
        ("listen 0.0.0.0:443 ssl http2;", ["443-quic"]),
        ("listen 443 quic;", ["443"]),
        ("listen 4430 ssl;", ["443-quic", "443"]),
        ("# listen 443 ssl;", ["443-quic", "443"]),
        ("server { listen 443 ssl; listen 443 quic; }", []),
        ("listen 443.example.org:80;", ["443-quic", "443"]),
    ],
)
@pytest.mark.parametrize("name", ["blog.conf", "blog"])
def test_a_default_server_stays_for_another_site_on_its_port(
    machine: EdgeMachine, line: str, gone: list[str], name: str
) -> None:
    (machine.tree.etc / "sites-enabled" / name).write_text(f"server {{\n    {line}\n}}\n")
    assert shared(machine, "80", "443", "443-quic") == gone


def test_a_foreign_default_server_stays(machine: EdgeMachine) -> None:
    shared(machine, "443")
    (machine.tree.etc / SHARED["443"]).write_text("server { listen 443 default_server; }\n")
    assert unused_defaults(machine.tree, "shop", {SITE: "listen 80;\n"}) == []


def test_a_wanted_default_server_stays(machine: EdgeMachine) -> None:
    shared(machine, "80", "443")
    wanted = {SITE: "listen 80;\n", SHARED["443"]: "listen 443 default_server;\n"}
    assert unused_defaults(machine.tree, "shop", wanted) == []


def test_a_failed_change_restores_the_unused_default_server(machine: EdgeMachine, site: Sites) -> None:
    shared(machine, "80", "443")
    before = tree(machine)
    wanted = replace(site("none"), files={SITE: "listen 80;\n"})
    assert set(machine.edge.pending(wanted)[0]) == {SITE, SHARED["443"]}
    machine.turn("live-bad")
    with pytest.raises(GreenlightError):
        publish(machine, wanted)
    assert tree(machine) == before
    machine.back("live-bad")
    assert publish(machine, wanted) is True
    assert f"etc/nginx/{SHARED['443']}" not in tree(machine)
    assert f"etc/nginx/{SHARED['80']}" in tree(machine)
    assert publish(machine, wanted) is False


# Settings for all sites


ROOM = f"{OWNER}\nserver_names_hash_bucket_size 512;\nvariables_hash_max_size 4096;\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("sites-enabled/blog", "server { listen 80; }", ["server_names_hash_bucket_size", "variables_hash_max_size"]),
        ("sites-enabled/blog", "server_names_hash_bucket_size 64;", ["variables_hash_max_size"]),
        ("sites-enabled/blog", "map $a $b { } variables_hash_max_size 64;", ["server_names_hash_bucket_size"]),
        ("sites-enabled/blog", "server_names_hash_bucket_size 64;\nvariables_hash_max_size\n 64;", []),
        ("sites-enabled/blog", "# server_names_hash_bucket_size 64;", None),
        ("sites-enabled/blog", "x; # server_names_hash_bucket_size 64;", None),
        ("sites-enabled/blog", "server_names_hash_bucket_size_of_mine 64;", None),
        ("sites-enabled/.blog.swp", "server_names_hash_bucket_size 64;", None),
        ("sites-available/blog", "server_names_hash_bucket_size 64;", None),
    ],
)
def test_hash_sizes_are_set_unless_already_configured(
    machine: EdgeMachine, site: Sites, name: str, text: str, left: list[str] | None
) -> None:
    (machine.tree.etc / name).parent.mkdir(exist_ok=True)
    (machine.tree.etc / name).write_text(text)
    wanted = replace(site("none"), files={**site("none").files, HASHES: ROOM})
    for _ in range(2):
        change = machine.edge.change(wanted)
        settings = [line.split()[0] for line in str(change[HASHES] or "").splitlines() if not line.startswith("#")]
        assert settings == (["server_names_hash_bucket_size", "variables_hash_max_size"] if left is None else left)
        assert (change[HASHES] is None) is (left == [])
        publish(machine, wanted)  # our own files don't count as somebody else's
    assert publish(machine, wanted) is False


def test_included_files_elsewhere_are_checked_for_hash_sizes(machine: EdgeMachine, site: Sites) -> None:
    (machine.tree.etc / "sites-enabled/blog").write_text("include mine/*.conf;\ninclude gone.conf;\n")
    (machine.tree.etc / "mine").mkdir()
    (machine.tree.etc / "mine/a.conf").write_text("include 'mine/a.conf';\nserver_names_hash_bucket_size 64;\n")
    wanted = replace(site("none"), files={HASHES: ROOM})
    assert "server_names_hash_bucket_size" not in str(machine.edge.change(wanted)[HASHES])


# In the site of another app


PARTS = [f"sites-shared/blog/{kind}/shop.conf" for kind in ("http", "server", "settings")]
BLOG = "sites-enabled/blog.conf"


#: The settings that the site of the app blog records, as the role's template does.
FACTS: dict[str, Any] = {
    "flask_app_url_prefix": "",
    "flask_app_server_names": NAMES,
    "flask_app_tls": "none",
    "flask_app_http_port": 80,
    "flask_app_https_port": 443,
    "flask_app_tls_redirect": True,
    "flask_app_public_scheme": "http",
    "flask_app_nginx_http3": False,
    "flask_app_nginx_trusted_proxies": [],
    "flask_app_nginx_client_header": "X-Forwarded-For",
    "flask_app_nginx_default_server": True,
    "flask_app_tls_certificate": "",
    "flask_app_acme_directory": ACCOUNT.directory,
    "flask_app_acme_email": "",
}
MINE = {**FACTS, "flask_app_url_prefix": "/shop"}


def as_comments(facts: object) -> str:
    """Return the facts as comments."""
    return "# Facts: " + json.dumps(facts, indent=1).replace("\n", "\n# ") + "\n"


def owner(machine: EdgeMachine, *, facts: str | None = None, **theirs: Any) -> None:
    """Make the site of the app blog."""
    include = f"include {machine.tree.etc}/sites-shared/blog"
    says = as_comments({**FACTS, **theirs}) if facts is None else facts
    text = f"#\n{OWNER}\n{says}\n{include}/http/*.conf;\nserver {{\n {include}/server/*.conf;\n}}\n"
    (machine.tree.etc / BLOG).write_text(text)


def own(site: Sites, mode: str) -> Site:
    """Return the app's own site, marked like the role's."""
    made = site(mode)
    return replace(made, files={SITE: f"{OWNER}\n{made.files[SITE]}"})


def inside(site: Sites, **more: Any) -> Site:
    parts = {name: f"{OWNER}\n# {name}\n" for name in PARTS}
    return replace(site("none"), files=parts, inside="blog", **{"facts": MINE, **more})


def test_an_app_moves_into_a_shared_site_and_out_again(machine: EdgeMachine, site: Sites) -> None:
    owner(machine)
    publish(machine, own(site, "self_signed"))
    for _ in range(2):
        assert publish(machine, inside(site)) is True
        assert publish(machine, inside(site)) is False
        assert [name for name in PARTS if (machine.tree.etc / name).exists()] == PARTS
        assert not (machine.tree.etc / SITE).exists()
        assert (certificates_held(machine), target(machine)) == ([], "none")
        assert apps_inside(machine.tree, "blog") == ["shop"]
        assert publish(machine, own(site, "self_signed")) is True
        assert publish(machine, own(site, "self_signed")) is False
        assert (machine.tree.etc / SITE).exists()
        assert not (machine.tree.etc / "sites-shared").exists()
        assert apps_inside(machine.tree, "blog") == []


def test_an_app_moves_from_one_site_to_another(machine: EdgeMachine, site: Sites) -> None:
    owner(machine)
    publish(machine, inside(site))
    text = (machine.tree.etc / BLOG).read_text().replace("sites-shared/blog", "sites-shared/docs")
    (machine.tree.etc / "sites-enabled/docs.conf").write_text(text)
    other = {name.replace("/blog/", "/docs/"): text for name, text in inside(site).files.items()}
    assert publish(machine, replace(inside(site), files=other, inside="docs")) is True
    assert (apps_inside(machine.tree, "blog"), apps_inside(machine.tree, "docs")) == ([], ["shop"])
    assert not (machine.tree.etc / "sites-shared/blog").exists()


def test_a_refused_move_into_a_shared_site_changes_nothing(machine: EdgeMachine, site: Sites) -> None:
    owner(machine)
    publish(machine, own(site, "none"))
    before = tree(machine)
    machine.turn("reload-fails")
    with pytest.raises(GreenlightError):
        publish(machine, inside(site))
    assert tree(machine) == before


#: A setting that differs from the owner's -> the value it must get; the owner has HTTPS and a proxy in front.
THEIRS = {
    "flask_app_tls": "provided",
    "flask_app_public_scheme": "https",
    "flask_app_nginx_trusted_proxies": ["10.0.0.0/8", "fd00::/8"],
    "flask_app_tls_certificate": "c0ffee",
}
OTHERWISE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"flask_app_server_names": [NAMES[0], "other.example.org"]}, f'["{NAMES[0]}", "{NAMES[1]}"]'),
    ({}, {"flask_app_tls": "none"}, "provided"),
    ({}, {"flask_app_http_port": 8080}, "80"),
    ({}, {"flask_app_https_port": 8443}, "443"),
    ({}, {"flask_app_tls_redirect": False}, "true"),
    ({}, {"flask_app_public_scheme": "http"}, "https"),
    ({}, {"flask_app_nginx_http3": True}, "false"),
    ({}, {"flask_app_nginx_trusted_proxies": []}, '["10.0.0.0/8", "fd00::/8"]'),
    ({}, {"flask_app_nginx_client_header": "X-Real-IP"}, "X-Forwarded-For"),
    ({}, {"flask_app_nginx_default_server": False}, "true"),
    ({}, {"flask_app_tls_certificate": "decaf"}, '""'),
    ({"flask_app_tls": "acme"}, {"flask_app_acme_directory": "https://other/"}, ACCOUNT.directory),
    (
        {"flask_app_tls": "acme", "flask_app_acme_email": "c0ffee"},
        {"flask_app_acme_email": "decaf"},
        '""',
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("theirs", "mine", "value"), OTHERWISE, ids=lambda given: "-".join(given) if given else "")
def test_settings_of_a_whole_site_must_match_its_owner(
    machine: EdgeMachine, site: Sites, theirs: dict[str, Any], mine: dict[str, Any], value: str
) -> None:
    (name,) = mine
    both = {**THEIRS, **theirs}
    owner(machine, **both)
    publish(machine, inside(site, facts={**MINE, **both}))
    before = machine.files()
    for act in (machine.edge.check, machine.edge.publish):
        with pytest.raises(Refused) as error:
            act(inside(site, facts={**MINE, **both, **mine}, drop_in="[Service]\n"))
        (finding,) = error.value.findings
        assert named(finding) == SHARED_SITE
        assert "blog" in finding.what
        # Both fixes: match the owner, or change the owner first.
        assert f"({name}: {value})" in finding.fix
        assert "--limit" in finding.fix
        assert set(re.findall(r"flask_app_\w+", str(finding))) == {name, "flask_app_nginx_site_of"}
    assert machine.files() == before


def test_all_relevant_differences_from_the_site_owner_are_reported_at_once(machine: EdgeMachine, site: Sites) -> None:
    owner(machine, flask_app_nginx_trusted_proxies=["10.0.0.0/8", "fd00::/8"], flask_app_acme_email="a@example.org")
    same = {**MINE, "flask_app_nginx_trusted_proxies": ["FD00::/8", "10.0.0.0/8"]}
    unused = {"flask_app_https_port": 8443, "flask_app_tls_redirect": False, "flask_app_tls_certificate": "decaf"}
    fewer = {"flask_app_server_names": NAMES[1:], "flask_app_nginx_client_header": "x-forwarded-for"}
    publish(machine, inside(site, facts={**same, **unused, **fewer}))
    with refused(SHARED_SITE, "flask_app_http_port", "flask_app_tls"):
        publish(machine, inside(site, facts={**same, "flask_app_http_port": 8080, "flask_app_tls": "acme"}))


@pytest.mark.parametrize(
    "facts",
    [
        "",
        as_comments([]),
        as_comments({"flask_app_tls": "none"}),
        as_comments({**FACTS, "flask_app_server_names": 5}),
        as_comments(FACTS).replace(",", "", 1),
        as_comments(FACTS).replace("\n# ", "\n"),
    ],
)
def test_a_shared_site_without_recorded_settings_must_be_deployed_first(
    machine: EdgeMachine, site: Sites, facts: str
) -> None:
    owner(machine, facts=facts)
    for act in (machine.edge.check, machine.edge.publish):
        with refused(SHARED_SITE, "blog", "--limit"):
            act(inside(site))


def test_a_path_in_a_site_belongs_to_one_app(machine: EdgeMachine, site: Sites) -> None:
    """The second app's message names the first, as does the owner's; Nginx would name the file that it reads last."""
    owner(machine, flask_app_url_prefix="/blog")
    place = machine.tree.etc / "sites-shared/blog/server/docs.conf"
    place.parent.mkdir(parents=True)
    place.write_text(f"{OWNER}\n{as_comments({**FACTS, 'flask_app_url_prefix': '/docs'})}")
    for prefix, app in (("/docs", "docs"), ("/blog", "blog")):
        for act in (machine.edge.check, machine.edge.publish):
            with refused(SHARED_PATH, f" {prefix}, ", f" {app} "):
                act(inside(site, facts={**FACTS, "flask_app_url_prefix": prefix}))
    publish(machine, inside(site, facts={**FACTS, "flask_app_url_prefix": "/docs/more"}))
    (machine.tree.etc / SITE).write_text(OWNER)
    mine = machine.tree.etc / "sites-shared/shop/server/news.conf"
    mine.parent.mkdir(parents=True)
    mine.write_text(as_comments({**FACTS, "flask_app_url_prefix": "/news"}))
    with refused(SHARED_PATH, " /news, ", " news "):
        machine.edge.check(replace(own(site, "none"), facts={**FACTS, "flask_app_url_prefix": "/news"}))
    machine.edge.check(replace(own(site, "none"), facts=FACTS))


def test_a_foreign_site_of_that_name_is_not_mistaken_for_ours(machine: EdgeMachine, site: Sites) -> None:
    (machine.tree.etc / BLOG).write_text(f"server {{ server_name {' '.join(NAMES)}; }}\n")
    with refused(SHARED_SITE, "blog", "--limit"):
        publish(machine, inside(site))


def test_a_site_that_serves_other_apps_cannot_move(machine: EdgeMachine, site: Sites) -> None:
    owner(machine)
    publish(machine, own(site, "none"))
    place = machine.tree.etc / "sites-shared/shop/server/docs.conf"
    place.parent.mkdir(parents=True)
    place.write_text(OWNER)
    with refused(SHARED_SITE, "docs"):
        publish(machine, inside(site))
    assert (machine.tree.etc / SITE).exists()
    assert publish(machine, own(site, "none")) is False


# The live release, which must stay reachable


class Visit:
    """Simulates the servers: the live release itself, and Nginx according to the app's files.

    Args:
        hosts: names for which the release itself answers; empty: all.
        paths: the paths that it has.
        asked: the requests, as address, host and path.
        busy: Nginx's next answers in place of the site: a status, or 0 for a timeout.
        names: whether the pages name the release.
    """

    def __init__(self, machine: EdgeMachine) -> None:
        self.machine = machine
        self.release = create(machine.layout, "20261121T094420Z")
        machine.layout.live_socket.parent.mkdir(parents=True, exist_ok=True)
        machine.layout.live_socket.symlink_to(machine.layout.socket(self.release))
        Releases(machine.layout).mark(self.release, PROVED, {"path": "/health"})
        self.hosts: list[str] = []
        self.paths = ["/health"]
        self.asked: list[tuple[str, str, str]] = []
        self.words: set[str | None] = set()
        self.busy: list[int] = []
        self.names = True

    def get(self, target: Target, seconds: float) -> Answer:
        self.asked.append((target.address[:5], target.host, target.path))
        by_itself = target.address.startswith("/")
        place = target.headers.get("SCRIPT_NAME", "") if by_itself else ""
        if not by_itself:
            self.words.add(target.headers.get("X-Greenlight-Front-Door"))
            names = files_of(self.machine.tree, "shop")
            text = "\n".join((self.machine.tree.etc / name).read_text() for name in names)
            place = "".join(re.findall("^# below (.+)", text, re.MULTILINE)[:1])
            if target.host in text.partition("# closed to ")[2] or not names:
                raise NoAnswer("no connection")
            closed = "# closed\n" in text or f"# without {target.path}\n" in text
            if closed or not target.path.startswith(f"{place}/"):
                return Answer(403, "<h1>nginx</h1>", 0)
            if "# later" in text and self.busy:
                status = self.busy.pop(0)
                if not status:
                    time.sleep(seconds)
                    raise NoAnswer("no complete answer")
                return Answer(status, "<h1>nginx</h1>", 0)
            if "# elsewhere" in text:
                return Answer(302, "", 0)
            if "# somebody else" in text:
                return Answer(200, "welcome", 0)
        if self.hosts and target.host not in self.hosts:
            return Answer(400, "untrusted host", 0)
        status = 200 if target.path.removeprefix(place) in self.paths else 404
        return Answer(status, f'{{"release": "{self.release}"}}' if self.names else "welcome", 0)

    def reach(self, host: str = NAMES[0], prefix: str = "", path: str = "/health", seconds: float = 5) -> Reach:
        return Reach(self.machine.layout, Page(host, path, prefix=prefix), "http://127.0.0.1:80", seconds)


@pytest.fixture
def visit(machine: EdgeMachine, monkeypatch: pytest.MonkeyPatch) -> Visit:
    visit = Visit(machine)
    monkeypatch.setattr(_http, "get", visit.get)
    monkeypatch.setattr(_reach, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(_reach, "PAUSE_SECONDS", 0.0)
    return visit


def with_lines(made: Site, *lines: str) -> Site:
    """Return the site with more lines in each of its files."""
    return replace(made, files={name: f"{text}{''.join(f'# {line}{chr(10)}' for line in lines)}"
                                for name, text in made.files.items()})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("modes", [("none", "none"), ("self_signed", "provided"), ("provided", "acme")])
@pytest.mark.parametrize("fault", ["closed", "below /shop", "somebody else"])
def test_a_site_that_loses_the_live_release_is_reverted(
    machine: EdgeMachine, site: Sites, visit: Visit, modes: tuple[str, str], fault: str
) -> None:
    old, new = modes
    machine.edge.publish(own(site, old), visit.reach().watch)
    before, link, served = tree(machine), target(machine), machine.served()
    for _ in range(2):
        with refused(TAKEN_BACK, visit.release, "http://127.0.0.1:80/health"):
            machine.edge.publish(with_lines(own(site, new), fault), visit.reach().watch)
        assert tree(machine) == before
        assert (target(machine), machine.served()) == (link, served)
        assert machine.calls("systemctl")[-1] == "systemctl reload nginx"
    assert machine.edge.publish(own(site, old), visit.reach().watch) is False
    assert machine.edge.publish(own(site, new), visit.reach().watch) is (old != new)
    assert visit.words == {WORD}


def test_a_site_that_loses_the_release_is_reverted_past_the_interim_site(
    machine: EdgeMachine, site: Sites, visit: Visit
) -> None:
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    before = tree(machine)
    wanted = replace(with_lines(own(site, "acme"), "closed"), interim_files=own(site, "acme").files)
    for _ in range(2):
        with refused(TAKEN_BACK):
            machine.edge.publish(wanted, visit.reach().watch)
        assert tree(machine) == before
    assert noted_page(machine.tree, "shop")["host"] == NAMES[0]
    assert machine.edge.publish(own(site, "acme"), visit.reach().watch) is True


@pytest.mark.parametrize(
    "reason", ["the site was closed", "the release does not answer", "there is none", "it does not know the new name"]
)
def test_a_site_that_was_not_reachable_before_is_not_reverted(
    machine: EdgeMachine, site: Sites, visit: Visit, reason: str
) -> None:
    closed = ["closed"] if reason == "the site was closed" else []
    machine.edge.publish(with_lines(own(site, "none"), *closed), visit.reach().watch)
    new = visit.reach("new.example.org")
    if reason == "the release does not answer":
        visit.paths = []
    elif reason == "there is none":
        machine.layout.live_socket.unlink()
        visit.asked.clear()
    elif reason == "it does not know the new name":
        visit.hosts = [NAMES[0]]
    assert machine.edge.publish(with_lines(own(site, "none"), "closed", "still"), new.watch) is True
    assert "still" in tree(machine)[f"etc/nginx/{SITE}"]
    assert visit.asked == [] or reason != "there is none"


@pytest.mark.parametrize("names_it", [True, False])
def test_a_site_may_lead_elsewhere_if_its_page_names_no_release(
    machine: EdgeMachine, site: Sites, visit: Visit, names_it: bool
) -> None:
    """As at the front door: if an app has no health page, any status below 400 is accepted."""
    visit.names = names_it
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    elsewhere = with_lines(own(site, "none"), "elsewhere")
    with refused(TAKEN_BACK if names_it else None, "2xx"):
        machine.edge.publish(elsewhere, visit.reach().watch)
    assert ("elsewhere" in tree(machine)[f"etc/nginx/{SITE}"]) is not names_it
    with refused(TAKEN_BACK, "403"):
        machine.edge.publish(with_lines(elsewhere, "closed"), visit.reach().watch)


@pytest.mark.parametrize("closed", [["/health"], ["/health", "/status"]])
def test_the_new_health_page_counts_if_the_old_one_is_closed(
    machine: EdgeMachine, site: Sites, visit: Visit, closed: list[str]
) -> None:
    visit.paths = ["/health", "/status"]
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    wanted = with_lines(own(site, "none"), *[f"without {path}" for path in closed])
    with refused(TAKEN_BACK if len(closed) > 1 else None):
        machine.edge.publish(wanted, visit.reach(path="/status").watch)
    assert ("without" in tree(machine)[f"etc/nginx/{SITE}"]) is (len(closed) == 1)


@pytest.mark.parametrize("busy", [[0], [503, 503, 503], [429, 429, 429], [0, 0], [503] * 6])
def test_a_briefly_busy_host_gets_a_second_chance(
    machine: EdgeMachine, site: Sites, visit: Visit, monkeypatch: pytest.MonkeyPatch, busy: list[int]
) -> None:
    lost = len(busy) in (2, 6)
    slept: list[float] = []
    monkeypatch.setattr(_reach, "PAUSE_SECONDS", 7)
    monkeypatch.setattr(_reach, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept.append))
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    machine.edge.publish(with_lines(own(site, "none"), "well"), visit.reach().watch)
    assert 7 not in slept
    visit.busy = busy
    with refused(TAKEN_BACK if lost else None):
        machine.edge.publish(with_lines(own(site, "none"), "later"), visit.reach(seconds=0.02).watch)
    assert busy == []
    assert slept.count(7) == 1


def test_a_release_that_broke_after_a_killed_run_does_not_fail_the_site(
    machine: EdgeMachine, site: Sites, visit: Visit
) -> None:
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    marker = machine.tree.state / "shop.json"
    closed = with_lines(own(site, "none"), "closed")
    noted = ""

    def after(seen: object) -> str:
        nonlocal noted
        noted = marker.read_text()
        return ""

    machine.edge.publish(closed, replace(visit.reach().watch, after=after))
    marker.write_text(noted)  # as left by a run that is killed before its request
    visit.paths = []
    assert machine.edge.publish(closed, visit.reach().watch) is True
    marker.write_text(noted)
    visit.paths = ["/health"]
    with refused(TAKEN_BACK):
        machine.edge.publish(closed, visit.reach().watch)
    assert tree(machine)[f"etc/nginx/{SITE}"] == own(site, "none").files[SITE]


def test_before_and_after_the_change_the_right_page_is_requested(
    machine: EdgeMachine, site: Sites, visit: Visit
) -> None:
    """The path is the one that proved that release: the next release may have another."""
    machine.edge.publish(own(site, "none"), visit.reach().watch)
    visit.asked.clear()
    moved = with_lines(own(site, "none"), "below /shop", f"closed to {NAMES[0]}")
    new = visit.reach("new.example.org", "/shop", "/status")
    assert machine.edge.publish(moved, new.watch) is True
    assert visit.asked == [("http:", NAMES[0], "/health"), ("http:", "new.example.org", "/shop/health")]
    visit.asked.clear()
    assert machine.edge.publish(moved, new.watch) is False
    assert visit.asked == []
    with refused(TAKEN_BACK, "/shop/health (Host: new.example.org"):
        machine.edge.publish(with_lines(moved, "closed"), new.watch)


def test_without_a_recorded_page_the_current_one_is_assumed(machine: EdgeMachine, site: Sites, visit: Visit) -> None:
    """As if an older version had published the site."""
    publish(machine, own(site, "none"))
    with refused(TAKEN_BACK):
        machine.edge.publish(with_lines(own(site, "none"), "closed"), visit.reach().watch)
    assert machine.edge.publish(with_lines(own(site, "none"), "below /shop"), visit.reach(prefix="/shop").watch) is True


def test_the_response_of_a_page_is_shown_with_secrets_masked(machine: EdgeMachine, site: Sites, visit: Visit) -> None:
    machine.edge.publish(own(site, "none"), visit.reach().watch)

    def get(target: Target, seconds: float) -> Answer:
        return Answer(200 if target.address.startswith("/") else 500, SECRETS["SECRET_KEY"], 0)

    lost = visit.reach().after({"status": 200})
    assert lost == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_http, "get", get)
        lost = visit.reach().after({"status": 200})
    assert "500" in lost
    assert SECRETS["SECRET_KEY"] not in lost


def test_an_app_unreachable_in_a_shared_site_gets_its_own_site_back(
    machine: EdgeMachine, site: Sites, visit: Visit
) -> None:
    owner(machine)
    machine.edge.publish(own(site, "self_signed"), visit.reach().watch)
    before, served = tree(machine), machine.served()
    for closed in (True, False):
        wanted = with_lines(inside(site), *["below /shop", "closed"][: 1 + closed])
        if closed:
            with refused(TAKEN_BACK, "/shop/health"):
                machine.edge.publish(wanted, visit.reach(prefix="/shop").watch)
            assert (tree(machine), machine.served(), target(machine)) == (before, served, "self_signed")
            assert machine.edge.publish(own(site, "self_signed"), visit.reach().watch) is False
        else:
            assert machine.edge.publish(wanted, visit.reach(prefix="/shop").watch) is True
            assert not (machine.tree.etc / SITE).exists()


# Log files


def test_log_files_are_created_before_nginx_makes_them_world_readable(machine: EdgeMachine, site: Sites) -> None:
    logs = machine.root / "var/log/nginx"
    (logs / "shop.error.log").write_text("kept\n")
    (logs / "shop.error.log").chmod(0o600)
    publish(machine, replace(site("none"), logs=["shop.access.log", "shop.error.log"]))
    assert (logs / "shop.access.log").stat().st_mode & 0o777 == 0o640
    assert (machine.state / "shop.access.log-www-data-adm").exists()
    assert ((logs / "shop.error.log").read_text(), (logs / "shop.error.log").stat().st_mode & 0o777) == (
        "kept\n",
        0o600,
    )
    assert not (machine.state / "shop.error.log-www-data-adm").exists()


def test_without_a_log_directory_no_log_files_are_created(machine: EdgeMachine, site: Sites) -> None:
    (machine.root / "var/log/nginx").rmdir()
    publish(machine, replace(site("none"), logs=["shop.access.log"]))
    assert not (machine.root / "var/log/nginx").exists()


# Before anything is done


def places(mode: str, machine: EdgeMachine) -> list[str]:
    """Return the sources of a mode's certificates: how each path begins, or the server's directory."""
    own = f"{machine.layout.tls}/"
    return {
        "none": [],
        "self_signed": [f"{own}self-signed-"],
        "provided": [f"{own}provided-"],
        "acme": [f"{own}self-signed-", f"from {ACCOUNT.directory}"],
    }[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_dry_run_lists_the_changes_and_makes_none(machine: EdgeMachine, site: Sites, mode: str) -> None:
    wanted = replace(site(mode), drop_in="[Service]\n")
    before = machine.files()
    files, more = machine.edge.pending(wanted)
    assert files == {SITE: ("", wanted.files[SITE])}
    *certificates, drop_in = more
    assert (drop_in.kind, drop_in.what) == ("drop-in", str(machine.edge.drop_in))
    assert {each.kind for each in certificates} <= {"certificate"}
    expected = places(mode, machine)
    assert [each.what[: len(start)] for each, start in zip(certificates, expected, strict=True)] == expected
    assert machine.files() == before
    assert machine.calls() == []
    publish(machine, wanted)
    assert machine.edge.pending(wanted) == ({}, [])


@pytest.mark.parametrize(("old", "new"), [("self_signed", "acme"), ("acme", "provided"), ("provided", "self_signed")])
def test_a_tls_mode_change_is_listed(machine: EdgeMachine, site: Sites, old: str, new: str) -> None:
    publish(machine, site(old))
    before = machine.files()
    files, more = machine.edge.pending(site(new))
    assert list(files) == [SITE]
    (certificate,) = (each.what for each in more if each.kind == "certificate")
    assert certificate.startswith(places(new, machine)[-1])
    assert any(each.kind == "lineage" for each in more) is (old == "acme")
    assert machine.files() == before


@pytest.mark.parametrize("mode", ["none", "acme"])
def test_a_site_is_tested_with_a_temporary_certificate(machine: EdgeMachine, site: Sites, mode: str) -> None:
    before = machine.files()
    machine.edge.check(site(mode))
    assert len(machine.calls("nginx test")) == 1
    with refused(BY_NGINX):
        machine.edge.check(replace(site(mode), files={SITE: "bad\n"}))
    assert machine.files() == before


def test_without_openssl_only_a_site_without_tls_is_tested(
    machine: EdgeMachine, site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    machine.edge.check(site("self_signed"))
    assert machine.calls("nginx test") == []
    machine.edge.check(site("none"))
    assert len(machine.calls("nginx test")) == 1


# The module's options


def test_a_site_is_built_from_options_and_secrets(tmp_path: Path) -> None:
    options = {
        "files": {SITE: "x\ny #:greenlight if ipv6\n", "sites-enabled/old.conf": None},
        "server_names": NAMES,
        "tls": {"mode": "acme", "port": 8443, "directory": "https://a/", "email": "ops@example.org"},
    }
    secrets = {"certificate": "chain", "key": "key", "eab_kid": "kid", "eab_hmac_key": "hmac"}
    made = Site.of(options, tmp_path, secrets)
    assert made.files == {SITE: "x\n", "sites-enabled/old.conf": None}
    assert made.tls == Tls("acme", 8443, "chain", "key", Account("https://a/", "ops@example.org", "kid", "hmac"))
    assert made.server_names == NAMES
    assert Site.of(options, tmp_path).tls == Tls("acme", 8443, account=Account("https://a/", "ops@example.org"))


@pytest.mark.parametrize("mode", ["none", "acme"])
def test_an_app_in_a_shared_site_uses_the_certificate_of_its_owner(mode: str, tmp_path: Path) -> None:
    tls = {"mode": mode, "port": 443, "directory": "", "email": ""}
    made = Site.of({"files": {}, "inside": "blog", "server_names": NAMES, "tls": tls}, tmp_path)
    assert (made.tls.mode, made.own_names) == ("none", [])
    assert Site.of({"files": {}, "inside": "", "server_names": NAMES, "tls": tls}, tmp_path).own_names == NAMES
