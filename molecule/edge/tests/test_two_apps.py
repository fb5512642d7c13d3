# SPDX-License-Identifier: GPL-3.0-or-later
"""Two apps with HTTPS on one server: whatever happens to one, users of the other notice nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.certificates import issuer, served
from tests.support.deployed import ROOT, SITE, Played, Server, connect, run_play
from tests.support.load.load import HALVES, Load

SECOND = "second.test"
KEY = secrets.token_hex(32)
TLS = {"flask_app_tls": "self_signed"}
#: The second app inside the first one's site.
BELOW = {
    "flask_app_server_names": [SITE],
    "flask_app_url_prefix": "/second",
    "flask_app_nginx_site_of": "guestbook",
    "flask_app_nginx_inside": "location = /second/own {\n    return 204;\n}",
}


@pytest.fixture(scope="module", autouse=True)
def first() -> Iterator[Server]:
    server = connect("debian12")
    assert run_play(limit=server.name, **TLS).code == 0
    yield server
    assert run_play(limit=server.name).code == 0


def second(server: Server, **variables: Any) -> Played:
    return run_play(
        limit=server.name,
        **{
            **TLS,
            "flask_app_name": "second",
            "flask_app_server_names": [SECOND],
            "flask_app_secrets": {
                "SECRET_KEY": KEY,
                "DATABASE_URL": "sqlite:////var/lib/second/second.db",
            },
            **variables,
        },
    )


def test_nginx_accepts_many_names_of_maximum_length_without_a_warning(first: Server) -> None:
    name = "an-app-with-the-longest-name-oh"
    names = ["long.test", ".".join(["a" * 61] * 4) + ".test", *(f"customer-{number}.test" for number in range(700))]
    assert (len(name), len(names[1])) == (31, 252)
    own = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:////var/lib/{name}/x.db"}
    variables = {"flask_app_name": name, "flask_app_server_names": names, "flask_app_secrets": own}
    done = second(first, **variables)
    assert done.code == 0, done.output
    said = first.host.run("nginx -t").stderr
    assert ("test is successful" in said, "[warn]" in said) == (True, False)
    assert {first.curl("/static/style.css", site=site).status for site in (names[0], names[-1])} == {200}
    assert second(first, **variables, flask_app_state="absent").code == 0


def check_below(server: Server) -> None:
    """Check the second app below its path: its pages, files, redirects and cookies, and the first app next to it."""
    assert server.curl("/second/health").json["release"] != server.live == server.curl("/health").json["release"]
    assert "second" in server.curl("/second/").body
    assert "second" not in server.curl("/").body
    assert server.curl("/second/static/style.css").status == 200
    assert server.curl("/second?a=b").headers["location"] == "/second/?a=b"
    signed = server.curl("/second/sign", "--data", "name=x&message=y")
    assert (signed.status, signed.headers["location"]) == (303, "/second/")
    assert "path=/second" in signed.headers["set-cookie"].lower().split("; ")
    assert server.curl("/seconds/health").status == 404
    assert (server.curl("/second/own").status, server.curl("/own").status) == (204, 404)


def test_the_life_of_one_app_loses_no_request_of_the_other(first: Server, tmp_path: Path) -> None:
    good = str(variants.make("good_change", tmp_path / "good", label="second"))
    bad = str(variants.make("import_error", tmp_path / "bad"))
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(first.https_url, SITE, 50, mix=half, max_seconds=280)) for half in HALVES]
        assert second(first).code == 0
        assert (issuer(served(first, SECOND)), issuer(served(first, SITE))) == (SECOND, SITE)
        before = first.curl("/health", site=SECOND).json["release"]
        assert second(first, flask_app_source_directory=good).code == 0
        assert "second" in first.curl("/", site=SECOND).body

        done = second(first, flask_app_source_directory=bad)
        assert (done.code != 0, done.finds("candidate-failed")) == (True, True)
        assert "second" in first.curl("/", site=SECOND).body
        done = second(first, flask_app_source_directory=good, flask_app_nginx_inside="broken;")
        assert (done.code != 0, done.finds("refused-by-nginx:nginx")) == (True, True)
        assert 'unknown directive "broken"' in done.prose

        assert second(first, playbook=ROOT / "playbooks/rollback.yml").code == 0
        assert first.curl("/health", site=SECOND).json["release"] == before
        done = second(first, **BELOW, flask_app_source_directory=good, flask_app_nginx_body_size_mb=1)
        assert done.code == 0, done.output
        check_below(first)
        assert second(first, flask_app_state="absent").code == 0
    for load in loads:
        assert load.result.failed == 0, str(load.result)
        assert load.result.sent > 500
        assert len({seen for seen in load.result.by_release if seen}) == 1
    assert first.curl("/", site=SECOND).status == 0
    assert first.curl("/second/health").status == 404
