# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to get the edge wrong: each is named, and the site is served as before."""

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


#: What is wrong -> the variables, and what the message must say. The preflight finds these.
INPUTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "bad PEM": (
        provided(flask_app_tls_certificate="-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----"),
        ["flask_app_tls_certificate holds no certificate in PEM"],
    ),
    "no key": (provided(flask_app_tls_key=""), ["flask_app_tls is provided, and flask_app_tls_key is empty"]),
    "key with a passphrase": (
        provided(flask_app_tls_key=key_pem(KEY, "secret-phrase")),
        ["flask_app_tls_key is protected by a passphrase", "openssl pkey"],
    ),
    "key of another certificate": (
        provided(flask_app_tls_key=key_pem(OTHER)),
        ["flask_app_tls_key is the key of another certificate"],
    ),
    "expired certificate": (
        provided(flask_app_tls_certificate=certificate(KEY, SITE, begins_days=-30, ends_days=-2)),
        ["flask_app_tls_certificate expired on", "Renew it"],
    ),
    "certificate of tomorrow": (
        provided(flask_app_tls_certificate=certificate(KEY, SITE, begins_days=1)),
        ["flask_app_tls_certificate is not valid before"],
    ),
    "certificate for another name": (
        provided(flask_app_tls_certificate=certificate(KEY, "other.example")),
        [f"flask_app_tls_certificate does not hold {SITE}; it holds other.example"],
    ),
    "mode that does not exist": ({"flask_app_tls": "letsencrypt"}, ["flask_app_tls", "acme", "letsencrypt"]),
    "ACME server that is not a URL": (acme("letsencrypt"), ["flask_app_acme_directory is 'letsencrypt'", "https://"]),
    "half an external account": (acme(flask_app_acme_eab_kid="kid-1"), ["only one is set"]),
    "body size as text": (
        {"flask_app_nginx_body_size_mb": "large"},
        ["flask_app_nginx_body_size_mb", "large", "int"],
    ),
    "name twice": ({"flask_app_server_names": [SITE, SITE]}, [f"flask_app_server_names holds '{SITE}' twice"]),
    "network that is none": (
        {"flask_app_nginx_trusted_proxies": ["10.0.0.0/33"]},
        ["flask_app_nginx_trusted_proxies holds '10.0.0.0/33'"],
    ),
    "header with a line break": (
        {"flask_app_nginx_headers": {"X-Bad": "one\r\nSet-Cookie: x=y"}},
        ["flask_app_nginx_headers: the value of X-Bad"],
    ),
    "header that has a variable": (
        {"flask_app_nginx_headers": {"Strict-Transport-Security": "max-age=1"}},
        ["Set flask_app_nginx_hsts_seconds instead"],
    ),
    "static files from outside the source": (
        {"flask_app_nginx_static": {"/static/": "../../etc"}},
        ["'../../etc' is not a directory below the source"],
    ),
    "preload without subdomains": ({"flask_app_nginx_hsts_preload": True}, ["flask_app_nginx_hsts_subdomains: true"]),
}
#: These only show when the site is published.
LATER: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ACME server that is none": (
        acme("https://world.test:14000/nothing"),
        ["https://world.test:14000/nothing issued no certificate", "what was served before is still served"],
    ),
    "ACME server that does not answer": (
        acme("https://world.test:1/dir"),
        ["https://world.test:1/dir issued no certificate", "onnection refused"],
    ),
    "name that does not resolve": (
        acme(name="{{ inventory_hostname }}.nowhere.test"),
        ["issued no certificate for", ".nowhere.test", "Each name must lead to this host"],
    ),
    "ACME server that wants an account": (
        acme("https://world.test:14001/dir"),
        ["issued no certificate", "external account binding"],
    ),
    "snippet with a syntax error": (
        {"flask_app_nginx_inside": "location = /x { retrun 200; }"},
        ['unknown directive "retrun"', "/etc/nginx/sites-enabled/guestbook.conf:", "nothing was changed"],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[None]:
    for server in map(connect, servers()):  # a test before may have bound an account
        server.root("rm -rf /etc/letsencrypt/accounts")
    done = run_play(**GOOD, flask_app_tls_redirect=False)
    assert done.code == 0, done.output
    yield
    assert run_play().code == 0


def is_served(server: Server) -> bool:
    return (server.ask("/health").json["status"], server.curl("/").status) == ("ok", 200)


@pytest.fixture(scope="module")
def play_of_refusals() -> Refusals:
    """All that the preflight finds, in one play."""
    server = connect("debian13")
    before = server.state()
    done = refusals(server.name, {case: variables for case, (variables, _) in INPUTS.items()})
    assert server.state() == before
    assert is_served(server)
    assert "Traceback" not in done.output
    assert "PRIVATE KEY" not in done.output
    return done


@pytest.mark.parametrize("case", INPUTS)
def test_what_is_wrong_is_named_and_nothing_is_touched(case: str, play_of_refusals: Refusals) -> None:
    done = play_of_refusals.of[case]
    assert (done.code, "nothing was changed" in done.prose) == (1, True), done.output
    assert [words for words in INPUTS[case][1] if words not in done.prose] == [], done.output


def refused(server: Server, says: list[str], **variables: Any) -> None:
    """Deploy, which must fail with these words, no traceback and no secret; the site is as before."""
    done = run_play(limit=server.name, **variables)
    assert done.code != 0, done.output
    for words in says:
        assert words in done.prose, f"{words!r} is not in:\n{done.output}"
    assert "Traceback" not in done.output
    assert "PRIVATE KEY" not in done.output
    assert is_served(server)


@pytest.mark.parametrize("case", LATER)
def test_what_is_wrong_with_a_site_is_named_and_the_old_one_is_served(case: str, in_turns: Server) -> None:
    variables, says = LATER[case]
    refused(in_turns, says, **variables)


# What is wrong on the server

PORT = 18443


def listener(server: Server) -> Callable[[], None]:
    """Let another program listen on a port; return what ends it."""
    server.root(f"systemd-run --quiet --unit=squatter python3 -m http.server {PORT}")
    return lambda: server.host.run("systemctl stop squatter")


def test_a_port_in_use_is_named_with_its_owner(one_server: Server) -> None:
    end = listener(one_server)
    try:
        says = [f"flask_app_https_port is {PORT}, where python3 already listens"]
        refused(one_server, says, **GOOD, flask_app_https_port=PORT)
    finally:
        end()


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ("server { lisen 81; }", ['unknown directive "lisen"', "/etc/nginx/conf.d/theirs.conf:1", "not this app's"]),
        (
            f"server {{ listen 80; server_name {SITE}; }}",
            [f"flask_app_server_names holds {SITE}, which another site of this host's Nginx already serves"],
        ),
        ("server { listen 80 default_server; }", ["flask_app_nginx_default_server: false"]),
    ],
    ids=["broken", "same name", "default server"],
)
def test_the_site_of_somebody_else_is_named(theirs: str, says: list[str], in_turns: Server) -> None:
    try:
        in_turns.write("/etc/nginx/conf.d/theirs.conf", f"{theirs}\n", umask="022")
        refused(in_turns, says, **GOOD, flask_app_tls_redirect=False, flask_app_nginx_body_size_mb=20)
    finally:
        in_turns.root("rm /etc/nginx/conf.d/theirs.conf")
