# SPDX-License-Identifier: GPL-3.0-or-later
"""Each test gets its own environment, independent of the developer's shell and database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from guestbook import create_app


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set what a deploy sets; return the means to change it."""
    for name in ("FLASK_CONFIG", "FLASK_DEBUG", "GREETING", "SECRET_KEY_FALLBACKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRET_KEY", "a key for tests only")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/guestbook.db")
    monkeypatch.setenv("APP_REVISION", "abc1234")
    monkeypatch.setenv("APP_RELEASE", "20261121T100000Z-abc1234")
    return monkeypatch


@pytest.fixture
def app() -> Iterator[Flask]:
    app = create_app("staging")
    yield app
    app.extensions["guestbook"].engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
