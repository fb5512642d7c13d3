# SPDX-License-Identifier: GPL-3.0-or-later
"""What visitors, load tests and a deploy's health check get."""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from guestbook import create_app, views
from guestbook.store import Store
from sqlalchemy.schema import CreateTable

ENTRY = {"name": "Ada", "message": "<b>Greetings</b>"}


@pytest.mark.parametrize(("name", "debug"), [("development", True), ("staging", False), ("production", False)])
def test_health_reports_the_running_release(environ: pytest.MonkeyPatch, name: str, debug: bool) -> None:
    environ.setenv("FLASK_CONFIG", name)
    answer = create_app().test_client().get("/health")
    assert (answer.status_code, answer.json) == (
        200,
        {
            "status": "ok",
            "env": name,
            "debug": debug,
            "revision": "abc1234",
            "release": "20261121T100000Z-abc1234",
        },
    )
    assert answer.headers["Cache-Control"] == "no-store"


def test_health_reports_unknown_without_a_release(environ: pytest.MonkeyPatch) -> None:
    environ.delenv("APP_REVISION")
    environ.delenv("APP_RELEASE")
    answer = create_app("production").test_client().get("/health")
    assert answer.json is not None
    assert (answer.json["revision"], answer.json["release"]) == ("unknown", "unknown")


def test_health_is_unavailable_without_a_database_and_shows_no_secret(
    environ: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environ.setenv("DATABASE_URL", "sqlite:////nowhere/never-in-a-log.db")
    with caplog.at_level(logging.DEBUG):
        answer = create_app("production").test_client().get("/health")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"], answer.json["env"]) == (
        503,
        "unavailable",
        "production",
    )
    assert "the database does not answer: OperationalError" in caplog.text
    assert "never-in-a-log" not in caplog.text + answer.text


def test_health_does_not_wait_for_a_database_that_hangs(client: FlaskClient, environ: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    environ.setattr(Store, "ping", lambda self: over.wait(10))
    environ.setattr(views, "HEALTH_SECONDS", 0.1)
    began = time.monotonic()
    try:
        answer = client.get("/health")
    finally:
        over.set()
    assert answer.status_code == 503
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/", "/health", "/static/style.css", "/no-such-page"])
def test_every_response_names_its_release(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert (headers["X-Revision"], headers["X-Release"]) == ("abc1234", "20261121T100000Z-abc1234")


def test_the_page_shows_greeting_environment_and_stylesheet(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("GREETING", "Grüß Gott & welcome")
    client = create_app("production").test_client()
    page = client.get("/").text
    assert "<h1>Grüß Gott &amp; welcome</h1>" in page
    assert "environment <b>production</b> · revision <b>abc1234</b>" in page
    stylesheet = re.search(r'rel="stylesheet" href="([^"]+)"', page)
    assert stylesheet is not None
    assert client.get(stylesheet[1]).status_code == 200


def test_a_signed_entry_is_shown(client: FlaskClient) -> None:
    assert "Nobody has signed yet" in client.get("/").text
    answer = client.post("/sign", data=ENTRY)
    assert (answer.status_code, answer.location) == (303, "/")
    page = client.get("/").text
    assert "<small>Ada, " in page
    assert "&lt;b&gt;Greetings&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://guests.example"}, 403),
        ({"Origin": "http://guests.example"}, 303),
        ({"Origin": "http://guests.example.evil.example"}, 403),
        ({"Origin": "http://guests.example:8080"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_form_from_another_site_is_refused(client: FlaskClient, headers: dict[str, str], status: int) -> None:
    forwarded = {"X-Forwarded-Host": "guests.example", "X-Forwarded-Proto": "http"}
    assert client.post("/sign", data=ENTRY, headers=forwarded | headers).status_code == status
    assert ("Greetings" in client.get("/").text) == (status == 303)


@pytest.mark.parametrize("change", [{"name": " "}, {"message": ""}, {"name": "x" * 81}, {"message": "x" * 501}])
def test_an_invalid_entry_is_refused(client: FlaskClient, change: dict[str, str]) -> None:
    answer = client.post("/sign", data=ENTRY | change)
    assert answer.status_code == 400
    assert "Please give a name and a message" in answer.text
    assert "Nobody has signed yet" in answer.text


def test_workers_starting_together_share_one_new_table(tmp_path: Path) -> None:
    stores = [Store(f"sqlite:///{tmp_path}/new.db") for _ in range(8)]
    together = threading.Barrier(len(stores))

    def first_use(store: Store) -> None:
        together.wait(5)
        store.sign("Ada", "Hello")

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(first_use, stores))
    assert len(stores[0].last(100)) == len(stores)


def test_losing_the_race_to_create_the_table_is_not_an_error(tmp_path: Path, environ: pytest.MonkeyPatch) -> None:
    """On other databases, two CREATE TABLE IF NOT EXISTS may collide; SQLite without the clause simulates that."""
    url = f"sqlite:///{tmp_path}/new.db"
    Store(url).prepare()
    environ.setattr("guestbook.store.CreateTable", lambda table, if_not_exists: CreateTable(table))
    Store(url).prepare()


@pytest.mark.parametrize("seconds", ["-1", "5.1", "inf", "nan", "soon", ""])
def test_slow_refuses_a_duration_out_of_range(client: FlaskClient, seconds: str) -> None:
    began = time.monotonic()
    assert client.get("/slow", query_string={"seconds": seconds}).status_code == 400
    assert time.monotonic() - began < 1


def test_slow_takes_the_requested_time(client: FlaskClient) -> None:
    began = time.monotonic()
    assert client.get("/slow?seconds=0.2").text == "That took 0.2 s.\n"
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("content_type", ["application/octet-stream", "multipart/form-data; boundary=x"])
def test_upload_measures_any_kind_of_body(client: FlaskClient, content_type: str) -> None:
    answer = client.post("/upload", data=b"x" * 1_000_000, content_type=content_type)
    assert (answer.status_code, answer.json) == (200, {"length": 1_000_000})


def test_upload_size_is_limited(client: FlaskClient, app: Flask) -> None:
    assert app.config["MAX_CONTENT_LENGTH"] == 16 * 1024 * 1024
    app.config["MAX_CONTENT_LENGTH"] = 10
    assert client.post("/upload", data=b"x" * 10).json == {"length": 10}
    assert client.post("/upload", data=b"x" * 11).status_code == 413
