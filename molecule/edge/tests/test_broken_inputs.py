# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken input for the edge: each message names it, and the site stays as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.certificates import certificate, key, key_pem
from tests.support.deployed import SITE, Server, connect, run_play, servers
from tests.support.refusals import Refusals, refusals

KEY = key()
OTHER = key()
GOOD: dict[str, Any] = {
    "flask_app_tls": "provided",
    "flask_app_tls_certificate": certificate(KEY, SITE),
    "flask_app_tls_key": key_pem(KEY),
}
HERE = "{{ inventory_hostname }}.guestbook.test"


def provided(**more: Any) -> dict[str, Any]:
    return {**GOOD, **more}


def acme(directory: str = "https://world.test:14000/dir", name: str = HERE, **more: Any) -> dict[str, Any]:
    return {
        "flask_app_server_names": [name],
        "flask_app_tls": "acme",
        "flask_app_tls_redirect": False,
        "flask_app_acme_directory": directory,
        **more,
    }


CERTIFICATE = "flask_app_tls_certificate"
#: Fault -> the variables, the finding expected, and facts that the message must have. The preflight finds these.
INPUTS: dict[str, tuple[dict[str, Any], tuple[str, str], list[str]]] = {
    "bad PEM": (
        provided(flask_app_tls_certificate="-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----"),
        ("unreadable-certificate", CERTIFICATE),
        [],
    ),
    "no key": (provided(flask_app_tls_key=""), ("missing-value", "flask_app_tls_key"), []),
    "key with a passphrase": (
        provided(flask_app_tls_key=key_pem(KEY, "secret-phrase")),
        ("encrypted-key", "flask_app_tls_key"),
        ["openssl pkey"],
    ),
    "key of another certificate": (
        provided(flask_app_tls_key=key_pem(OTHER)),
        ("mismatched-key", "flask_app_tls_key"),
        [],
    ),
    "expired certificate": (
        provided(flask_app_tls_certificate=certificate(KEY, SITE, begins_days=-30, ends_days=-2)),
        ("expired-certificate", CERTIFICATE),
        [],
    ),
    "certificate of tomorrow": (
        provided(flask_app_tls_certificate=certificate(KEY, SITE, begins_days=1)),
        ("future-certificate", CERTIFICATE),
        [],
    ),
    "certificate for another name": (
        provided(flask_app_tls_certificate=certificate(KEY, "other.example")),
        ("uncovered-name", CERTIFICATE),
        [SITE, "other.example"],
    ),
    "mode that does not exist": (
        {"flask_app_tls": "letsencrypt"},
        ("wrong-type", "flask_app_tls"),
        ["acme", "letsencrypt"],
    ),
    "ACME server that is not a URL": (
        acme("letsencrypt"),
        ("malformed-value", "flask_app_acme_directory"),
        ["'letsencrypt'", "https://"],
    ),
    "incomplete external account": (
        acme(flask_app_acme_eab_kid="kid-1"),
        ("incomplete-account", "flask_app_acme_eab_kid"),
        ["flask_app_acme_eab_hmac_key"],
    ),
    "body size as text": (
        {"flask_app_nginx_body_size_mb": "large"},
        ("wrong-type", "flask_app_nginx_body_size_mb"),
        ["large", "int"],
    ),
    "duplicate name": (
        {"flask_app_server_names": [SITE, SITE]},
        ("named-twice", "flask_app_server_names"),
        [SITE],
    ),
    "invalid network": (
        {"flask_app_nginx_trusted_proxies": ["10.0.0.0/33"]},
        ("malformed-value", "flask_app_nginx_trusted_proxies"),
        ["'10.0.0.0/33'"],
    ),
    "header with a line break": (
        {"flask_app_nginx_headers": {"X-Bad": "one\r\nSet-Cookie: x=y"}},
        ("malformed-value", "flask_app_nginx_headers"),
        ["X-Bad"],
    ),
    "header that has a variable": (
        {"flask_app_nginx_headers": {"Strict-Transport-Security": "max-age=1"}},
        ("header-of-the-role", "flask_app_nginx_headers"),
        ["flask_app_nginx_hsts_seconds"],
    ),
    "static files from outside the source": (
        {"flask_app_nginx_static": {"/static/": "../../etc"}},
        ("malformed-value", "flask_app_nginx_static"),
        ["'../../etc'"],
    ),
    "preload without subdomains": (
        {"flask_app_nginx_hsts_preload": True},
        ("hsts-preload", "flask_app_nginx_hsts_preload"),
        ["flask_app_nginx_hsts_subdomains: true"],
    ),
}
NGINX_REFUSES = ("refused-by-nginx", "nginx")
#: Each host has a name of this form.
NO_CERTIFICATE = ("no-certificate", "{server}.guestbook.test")
#: These only show when the site is published.
LATER: dict[str, tuple[dict[str, Any], tuple[str, str], list[str]]] = {
    "URL without an ACME server": (
        acme("https://world.test:14000/nothing"),
        NO_CERTIFICATE,
        ["https://world.test:14000/nothing"],
    ),
    "ACME server that does not answer": (
        acme("https://world.test:1/dir"),
        NO_CERTIFICATE,
        ["https://world.test:1/dir", "onnection refused"],
    ),
    "name that does not resolve": (
        acme(name="{{ inventory_hostname }}.nowhere.test"),
        ("no-certificate", "{server}.nowhere.test"),
        ["flask_app_server_names"],
    ),
    "ACME server that wants an account": (
        acme("https://world.test:14001/dir"),
        NO_CERTIFICATE,
        ["external account binding"],
    ),
    "snippet with a syntax error": (
        {"flask_app_nginx_inside": "location = /x { retrun 200; }"},
        NGINX_REFUSES,
        ['unknown directive "retrun"', "/etc/nginx/sites-enabled/guestbook.conf:"],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[None]:
    for server in map(connect, servers()):  # an earlier test may have bound an account
        server.root("rm -rf /etc/letsencrypt/accounts")
    done = run_play(**GOOD, flask_app_tls_redirect=False)
    assert done.code == 0, done.output
    yield
    assert run_play().code == 0


def is_served(server: Server) -> bool:
    return (server.ask("/health").json["status"], server.curl("/").status) == ("ok", 200)


@pytest.fixture(scope="module")
def play_of_refusals() -> Refusals:
    """Try everything that the preflight finds in one play."""
    server = connect("debian13")
    before = server.state()
    done = refusals(server.name, {case: variables for case, (variables, *_) in INPUTS.items()})
    assert server.state() == before
    assert is_served(server)
    assert "Traceback" not in done.output
    assert "PRIVATE KEY" not in done.output
    return done


@pytest.mark.parametrize("case", INPUTS)
def test_a_broken_input_is_named_and_nothing_changes(case: str, play_of_refusals: Refusals) -> None:
    done, (_, finding, facts) = play_of_refusals.of[case], INPUTS[case]
    assert (done.code, done.findings) == (1, {finding}), done.output
    assert [fact for fact in facts if fact not in done.prose] == [], done.output


def refused(server: Server, finding: tuple[str, str], facts: list[str], **variables: Any) -> None:
    """Assert that a deploy fails with this finding and these facts, no traceback, no secret, and the same site."""
    done = run_play(limit=server.name, **variables)
    assert done.code != 0, done.output
    kind, subject = finding
    assert done.findings == {(kind, subject.format(server=server.name))}, done.output
    assert [fact for fact in facts if fact not in done.prose] == [], done.output
    assert "Traceback" not in done.output
    assert "PRIVATE KEY" not in done.output
    assert is_served(server)


@pytest.mark.parametrize("case", LATER)
def test_a_broken_site_is_named_and_the_old_one_stays_served(case: str, in_turns: Server) -> None:
    variables, finding, facts = LATER[case]
    refused(in_turns, finding, facts, **variables)


# Faults on the server

PORT = 18443


def listener(server: Server) -> Callable[[], None]:
    """Let another program listen on a port; return a function that stops it."""
    server.root(f"systemd-run --quiet --unit=squatter python3 -m http.server {PORT}")
    return lambda: server.host.run("systemctl stop squatter")


def test_a_port_in_use_is_named_with_its_owner(one_server: Server) -> None:
    end = listener(one_server)
    try:
        finding = ("port-in-use", "flask_app_https_port")
        refused(one_server, finding, [str(PORT), "python3"], **GOOD, flask_app_https_port=PORT)
    finally:
        end()


@pytest.mark.parametrize(
    ("theirs", "finding", "facts"),
    [
        (
            "server { lisen 81; }",
            NGINX_REFUSES,
            ['unknown directive "lisen"', "/etc/nginx/conf.d/theirs.conf:1"],
        ),
        (
            f"server {{ listen 80; server_name {SITE}; }}",
            ("name-taken", "flask_app_server_names"),
            [SITE],
        ),
        ("server { listen 80 default_server; }", NGINX_REFUSES, ["flask_app_nginx_default_server: false"]),
    ],
    ids=["broken", "same name", "default server"],
)
def test_a_conflicting_foreign_site_is_named(
    theirs: str, finding: tuple[str, str], facts: list[str], in_turns: Server
) -> None:
    try:
        in_turns.write("/etc/nginx/conf.d/theirs.conf", f"{theirs}\n", umask="022")
        refused(in_turns, finding, facts, **GOOD, flask_app_tls_redirect=False, flask_app_nginx_body_size_mb=20)
    finally:
        in_turns.root("rm /etc/nginx/conf.d/theirs.conf")
