# SPDX-License-Identifier: GPL-3.0-or-later
"""What a visitor gets."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.support.deployed import APP, Server


def test_health_reports_the_environment_of_the_inventory(server: Server) -> None:
    health = server.ask("/health").json
    assert (health["env"], health["debug"]) == ("staging", False)


def test_health_reports_the_live_release_and_revision(server: Server) -> None:
    manifest = json.loads(server.root(f"cat /srv/{APP}/live/release.json"))
    health = server.ask("/health").json
    assert (health["release"], health["revision"]) == (manifest["release"], manifest["revision"]) != ("", "")
    assert manifest["release"] == server.live


def test_the_page_shows_the_inventorys_public_setting(server: Server) -> None:
    assert "Hello from the tests" in server.ask("/").body


def test_static_files_are_served(server: Server) -> None:
    answer = server.ask("/static/style.css")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/css")


def test_a_visitors_entry_is_kept(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    body = "name=Ada&message=Written+by+a+test"
    headers = {"Host": "guestbook.test", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/sign", body, headers)
    assert connection.getresponse().status in (302, 303)
    assert "Written by a test" in server.ask("/").body


def test_an_unknown_host_name_gets_no_response(server: Server) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        server.ask("/", site="someone-else.test")


def test_a_body_above_the_limit_is_refused_by_nginx(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.putrequest("POST", "/upload", skip_host=True)
    connection.putheader("Host", "guestbook.test")
    connection.putheader("Content-Length", str(17 * 2**20))
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, "nginx" in response.getheader("Server", "")) == (413, True)
