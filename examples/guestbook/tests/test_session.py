# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed cookie remembers a visitor's name, and a new key need not lose it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from guestbook import create_app

ENTRY = {"name": "Ada", "message": "Greetings"}
REFUSED = {"name": "Ada", "message": ""}
REMEMBERED = '<input name="name" value="Ada"'
UNKNOWN = '<input name="name" value=""'


def visitor(environ: pytest.MonkeyPatch, key: str, *fallbacks: str, cookie: str | None = None) -> FlaskClient:
    """Make the browser of a visitor to an app with these keys."""
    environ.setenv("SECRET_KEY", key)
    environ.setenv("SECRET_KEY_FALLBACKS", json.dumps(fallbacks))
    client = create_app("production").test_client()
    if cookie is not None:
        client.set_cookie("session", cookie)
    return client


def signed(client: FlaskClient) -> str:
    """Sign the guestbook, and return the session's cookie."""
    assert client.post("/sign", data=ENTRY).status_code == 303
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value


def test_the_form_remembers_only_the_visitor_who_signed(app: Flask) -> None:
    ada, bob = app.test_client(), app.test_client()
    assert UNKNOWN in ada.get("/").text
    signed(ada)
    assert REMEMBERED in ada.get("/").text
    assert UNKNOWN in bob.get("/").text


def test_a_name_cannot_break_out_of_its_field(client: FlaskClient) -> None:
    client.post("/sign", data=ENTRY | {"name": '"><script>'})
    assert '<input name="name" value="&#34;&gt;&lt;script&gt;"' in client.get("/").text


@pytest.mark.parametrize("cookie", ["none", "valid", "stale"])
@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/", {}, 200),
        ("/health", {}, 200),
        ("/slow?seconds=0", {}, 200),
        ("/static/style.css", {}, 200),
        ("/no-such-page", {}, 404),
        ("/upload", {"method": "POST", "data": b"x"}, 200),
        ("/sign", {"method": "POST", "data": REFUSED}, 400),
        ("/sign", {"method": "POST", "data": ENTRY, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ],
)
def test_only_signing_sets_a_cookie(
    environ: pytest.MonkeyPatch, path: str, sent: dict[str, Any], status: int, cookie: str
) -> None:
    cookies = {"none": None, "valid": signed(visitor(environ, "key")), "stale": signed(visitor(environ, "lost key"))}
    answer = visitor(environ, "key", cookie=cookies[cookie]).open(path, **sent)
    assert answer.status_code == status
    assert "Set-Cookie" not in answer.headers


def test_a_cookie_signed_with_a_fallback_key_is_still_accepted(environ: pytest.MonkeyPatch) -> None:
    cookie = signed(visitor(environ, "old"))
    assert REMEMBERED in visitor(environ, "new", "old", cookie=cookie).get("/").text
    assert REMEMBERED in visitor(environ, "newer", "old", "new", cookie=cookie).get("/").text
    assert UNKNOWN in visitor(environ, "newer", "new", cookie=cookie).get("/").text


def test_a_new_cookie_is_signed_with_the_new_key(environ: pytest.MonkeyPatch) -> None:
    old = signed(visitor(environ, "old"))
    new = signed(visitor(environ, "new", "old", cookie=old))
    assert REMEMBERED in visitor(environ, "new", cookie=new).get("/").text
    assert UNKNOWN in visitor(environ, "old", cookie=new).get("/").text
