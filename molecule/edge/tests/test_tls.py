# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates: their sources, each change between them under load, and renewal by certbot's own timer."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.certificates import certificate, issuer, key, key_pem, served
from tests.support.deployed import APP, DIRECTORY, Server, connect, run_play, servers
from tests.support.inventories import inventory
from tests.support.load.load import HALVES, Load

#: Each server has its own name, by which the ACME server finds it.
NAMED: dict[str, Any] = {"flask_app_server_names": ["{{ inventory_hostname }}.guestbook.test"]}
WORLD = "https://world.test"
#: Nginx keeps serving both ports, so that one load sees each change of mode.
BOTH = {**NAMED, "flask_app_tls_redirect": False}


def name(server: Server) -> str:
    return f"{server.name}.guestbook.test"


def provided(*names: str) -> dict[str, Any]:
    private = key()
    return {
        "flask_app_tls": "provided",
        "flask_app_tls_certificate": certificate(private, *names),
        "flask_app_tls_key": key_pem(private),
    }


def acme(port: int, **more: Any) -> dict[str, Any]:
    return {"flask_app_tls": "acme", "flask_app_acme_directory": f"{WORLD}:{port}/dir", **more}


def bound() -> dict[str, Any]:
    """Return the settings for the ACME server that accepts only accounts bound to an external one."""
    hmac = (DIRECTORY / "eab_key").read_text().strip()
    return acme(14001, flask_app_acme_eab_kid="kid-1", flask_app_acme_eab_hmac_key=hmac)


def all_servers() -> list[Server]:
    return [connect(each) for each in servers()]


def change(modes: dict[str, tuple[str, dict[str, Any]]], https: set[str]) -> None:
    """Deploy each server in its mode under load, with HTTPS requests too for those in ``https``."""
    with ExitStack() as stack:
        loads = []
        for server in all_servers():
            for url in [server.url, *([server.https_url] if server.name in https else [])]:
                loads += [stack.enter_context(Load(url, name(server), 25, mix=half)) for half in HALVES]
        done = run_play(inventory=inventory("modes", modes), **BOTH)
        time.sleep(1)
    assert done.code == 0, done.output
    for load in loads:
        assert load.result.sent > 0
        assert load.result.failed == 0, f"{load.result}\n{done.output}"


def test_no_change_of_tls_mode_loses_a_request() -> None:
    """Go in every direction that users go, with a real ACME server, split between the two servers."""
    none: dict[str, Any] = {"flask_app_tls": "none"}
    assert run_play(**BOTH, **none).code == 0
    everywhere = [name(server) for server in all_servers()]
    variables = {
        "none": none,
        "own": {"flask_app_tls": "self_signed"},
        "theirs": provided(*everywhere),
        "acme": acme(14000),
        "bound": bound(),
        "short": acme(14002),
    }
    ways = {
        "debian12": ["own", "theirs", "own", "acme", "bound", "own", "none"],
        "debian13": ["theirs", "acme", "theirs", "none", "short", "none", "none"],
    }
    before = dict.fromkeys(ways, "none")
    seen: set[str] = set()
    for step in zip(*ways.values(), strict=True):
        now = dict(zip(ways, step, strict=True))
        modes = {server: (server, variables[mode]) for server, mode in now.items()}
        change(modes, {server for server in ways if "none" not in (before[server], now[server])})
        for server in all_servers():
            signer = {"none": "", "own": name(server), "theirs": everywhere[0]}.get(now[server.name], "Pebble")
            if signer:
                assert issuer(served(server, name(server))).startswith(signer)
                assert server.curl("/", site=name(server)).status == 200
            else:
                assert server.curl("/", site=name(server)).status == 0
        before = now
        if not seen.issuperset(step):
            seen.update(step)
            again = run_play(inventory=inventory("modes", modes), **BOTH)
            assert (again.code, again.count("changed")) == (0, 0), again.output


class Visitor(threading.Thread):
    """A browser: it follows redirects, and accepts only a certificate that it can verify."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.done = threading.Event()
        self.statuses: list[str] = []
        site = name(server)
        self.command = ["curl", "--silent", "--location", "--output", "/dev/null", "--write-out", "%{http_code}"]
        self.command += ["--cacert", str(DIRECTORY / "world-roots.pem"), "--max-time", "10", f"http://{site}/"]
        for port, reached in ((80, server.http_port), (443, server.https_port)):
            self.command += ["--connect-to", f"{site}:{port}:127.0.0.1:{reached}"]

    def run(self) -> None:
        while not self.done.wait(0.05):
            self.statuses.append(subprocess.run(self.command, capture_output=True, text=True, check=False).stdout)


def test_the_first_certificate_arrives_without_an_untrusted_moment() -> None:
    """From plain HTTP to HTTPS with the redirect: visitors are not redirected to a placeholder."""
    assert run_play(**NAMED, flask_app_tls="none").code == 0
    visitors = [Visitor(server) for server in all_servers()]
    for visitor in visitors:
        visitor.start()
    done = run_play(**NAMED, **acme(14000))
    time.sleep(1)
    for visitor in visitors:
        visitor.done.set()
        visitor.join()
        assert set(visitor.statuses) == {"200"}, visitor.statuses
        assert len(visitor.statuses) > 20
    assert done.code == 0, done.output
    assert all(server.curl("/", site=name(server), scheme="http").status == 308 for server in all_servers())


def test_keys_are_for_root_only_and_unused_certificates_are_removed(server: Server) -> None:
    assert run_play(**BOTH, **provided(*(name(each) for each in all_servers()))).code == 0
    assert server.root(f"stat -L -c '%a %U' /etc/{APP}/tls/live/privkey.pem") == "600 root"
    assert len(server.root(f"ls -d /etc/{APP}/tls/*").split()) == 2  # the link and its target
    assert server.root("ls /etc/letsencrypt/renewal 2>/dev/null || true") == ""  # missing if certbot is not installed


def renew(server: Server) -> None:
    """Make a renewal due, and run the timer's service."""
    settings = f"/etc/letsencrypt/renewal/{APP}.conf"
    server.root(f"sed -i 's/^renew_before_expiry = .*/renew_before_expiry = 200 hours/' {settings}")
    server.root("systemctl start certbot.service")


@pytest.fixture(scope="module")
def issued() -> None:
    """Get a certificate of six days from the ACME server."""
    done = run_play(**BOTH, **acme(14002))
    assert done.code == 0, done.output


@pytest.mark.usefixtures("issued")
def test_the_timer_renews_in_time_and_nginx_reloads_without_a_lost_request(server: Server) -> None:
    before = served(server, name(server))
    # Days, not months: it renews at half of its lifetime, and the timer runs hourly instead of twice a day.
    assert "renew_before_expiry = 72 hours" in server.root(f"cat /etc/letsencrypt/renewal/{APP}.conf")
    assert server.root("systemctl is-active certbot.timer") == "active"
    assert "hourly" in server.root("systemctl cat certbot.timer")
    server.root("systemctl start certbot.service")
    assert served(server, name(server)).serial_number == before.serial_number  # renewal isn't due yet

    with ExitStack() as stack:
        loads = [stack.enter_context(Load(server.https_url, name(server), 50, mix=half)) for half in HALVES]
        renew(server)
        time.sleep(2)
    for load in loads:
        assert load.result.failed == 0, str(load.result)
    assert served(server, name(server)).serial_number != before.serial_number
    done = run_play(**BOTH, **acme(14002), limit=server.name)
    assert done.code == 0, done.output
    assert "renew_before_expiry = 72 hours" in server.root(f"cat /etc/letsencrypt/renewal/{APP}.conf")


@pytest.mark.usefixtures("issued")
def test_a_renewal_next_to_a_broken_foreign_site_keeps_the_old_certificate(server: Server) -> None:
    before = served(server, name(server))
    server.write("/etc/nginx/conf.d/theirs.conf", "broken;\n", umask="022")
    try:
        renew(server)
        assert served(server, name(server)).serial_number == before.serial_number
        said = server.root("journalctl --identifier=greenlight --priority=err --no-pager --lines=5")
        assert "Nginx serves the old one" in said
        assert "/etc/nginx/conf.d/theirs.conf:1" in said
    finally:
        server.root("rm /etc/nginx/conf.d/theirs.conf")
    done = run_play(**BOTH, **acme(14002), limit=server.name)
    assert done.code == 0, done.output
    assert served(server, name(server)).serial_number != before.serial_number


@pytest.mark.usefixtures("issued")
def test_a_changed_name_gets_a_new_certificate(one_server: Server) -> None:
    names = [name(one_server), "guestbook.test"]
    done = run_play(**{**BOTH, "flask_app_server_names": names}, **acme(14000), limit=one_server.name)
    assert (done.code != 0, done.finds(f"no-certificate:{names[0]}")) == (True, True)  # one doesn't resolve
    assert one_server.curl("/", site=names[0]).status == 200
    assert run_play(**BOTH, **acme(14002), limit=one_server.name).code == 0
