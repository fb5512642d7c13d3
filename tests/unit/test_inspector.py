# SPDX-License-Identifier: GPL-3.0-or-later
"""The app is found inside whatever wraps it, and reports its configuration, but never its secrets.

Stand-ins replace Flask and Gunicorn, so that no package of an app's venv is needed here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import types
import weakref
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import Seen
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector

FLASK = """
class Flask:
    default_config = {}

    def __init__(self, **config):
        self.config = config
        self.secret_key = config.get("SECRET_KEY")
        self.debug = config.get("DEBUG", False)

    def wsgi_app(self, environ, start_response):
        return []

    def __call__(self, environ, start_response):
        return self.wsgi_app(environ, start_response)
"""
GUNICORN_APP = """
import importlib
import os
import runpy
import shlex
import sys

class WSGIApplication:
    def __init__(self, prog):
        self.given = runpy.run_path(sys.argv[sys.argv.index("--config") + 1])
        words = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
        pairs = [*self.given.get("raw_env", []), *(words[at + 1] for at, word in enumerate(words) if word == "--env")]
        self.cfg = type("Config", (), {"env": dict(pair.split("=", 1) for pair in pairs)})

    def wsgi(self):
        name = self.given["wsgi_app"]
        module, _, attribute = name.partition(":")
        found = getattr(importlib.import_module(module), attribute.removesuffix("()"))
        return found() if name.endswith("()") else found
"""


@pytest.fixture
def flask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Flask class of this test only, so that no other test's apps are found."""
    module = types.ModuleType("flask")
    exec(FLASK, module.__dict__)
    monkeypatch.setitem(sys.modules, "flask", module)
    return module.Flask


class Middleware:
    """Keeps the wrapped app under some name, because each library has its own."""

    def __init__(self, name: str, inner: object) -> None:
        setattr(self, name, inner)

    def handle(self, environ: object, start_response: object) -> list[bytes]:
        return []


class Proxy:
    """Claims to be of another class, like Werkzeug's LocalProxy."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._thing)


def hidden(app: Callable[..., list[bytes]]) -> Callable[..., list[bytes]]:
    """Wrap in a closure, in which no attribute leads to the app."""

    def middleware(environ: object, start_response: object) -> list[bytes]:
        return app(environ, start_response)

    return middleware


# Find


@pytest.mark.parametrize("name", ["app", "wsgi_app", "application", "wrapped", "_app", "__wrapped__"])
def test_an_app_is_found_inside_middleware(flask: Any, name: str) -> None:
    app, _other = flask(), flask()
    assert inspector.find(Middleware(name, app)) is app
    assert inspector.find(Middleware(name, app.wsgi_app)) is app
    assert inspector.find(Middleware("app", Middleware(name, Middleware("wrapped", app)))) is app
    assert inspector.find(Middleware(name, app).handle) is app


def test_a_plain_app_is_found(flask: Any) -> None:
    app, _other = flask(), flask()
    assert inspector.find(app) is app
    assert inspector.find(app.wsgi_app) is app
    app.wsgi_app = Middleware("app", app.wsgi_app)
    assert inspector.find(app) is app


def test_an_app_of_a_flask_subclass_is_found(flask: Any) -> None:
    app, _other = type("Shop", (flask,), {})(), flask()
    assert inspector.find(Middleware("app", app)) is app


def test_the_root_app_behind_a_dispatcher_counts(flask: Any) -> None:
    dispatcher = Middleware("app", flask())
    dispatcher.mounts = {"/admin": flask()}  # type: ignore[attr-defined]
    assert inspector.find(dispatcher) is dispatcher.app  # type: ignore[attr-defined]


def test_an_app_hidden_by_middleware_is_found_if_it_is_the_only_one(flask: Any) -> None:
    app = type("Shop", (flask,), {})()
    assert inspector.find(hidden(app)) is app


def test_none_of_two_apps_hidden_by_middleware_is_guessed(flask: Any) -> None:
    app, _other = flask(), flask()
    assert inspector.find(hidden(app)) is None


def test_a_proxy_for_the_app_does_not_count_as_a_second_app(flask: Any) -> None:
    app = flask()
    current_app = Proxy(app)
    assert isinstance(current_app, flask)
    assert inspector.find(hidden(app)) is app


def test_an_unrelated_dead_proxy_is_ignored(flask: Any) -> None:
    app, passing = flask(), Middleware("app", None)
    dead = weakref.proxy(passing)
    del passing
    with pytest.raises(ReferenceError):
        isinstance(dead, flask)
    assert inspector.find(hidden(app)) is app


def test_circular_middleware_does_not_loop_forever(flask: Any) -> None:
    one = Middleware("app", None)
    one.app = Middleware("app", one)  # type: ignore[attr-defined]
    assert inspector.find(one) is None
    app = flask()
    assert inspector.find(one) is app


def test_an_object_that_is_not_a_flask_app_is_not_found(flask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspector.find(Middleware("app", hidden(list))) is None
    app = flask()
    monkeypatch.delitem(sys.modules, "flask")
    assert inspector.find(app) is None


# Describe


URL = types.SimpleNamespace(drivername="postgresql+psycopg", password="hunter2")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("sqlite:////var/lib/shop/shop.db", "sqlite"),
        ("postgresql+psycopg://shop:hunter2@db/shop", "postgresql"),
        ("PostgreSQL://shop:hunter2@db/shop", "postgresql"),
        ("db2+ibm_db://shop:hunter2@db/shop", "db2"),
        ("mongodb+srv://shop:hunter2@db/shop", "mongodb"),
        (URL, "postgresql"),
        ({"default": "mysql://db/shop", "other": "sqlite://"}, "mysql"),
        ({"default": {"url": "sqlite://", "echo": True}}, "sqlite"),
        ({"default": {"url": URL}}, "postgresql"),
        ({"default": {}}, ""),
        ({"other": "sqlite://"}, ""),
        ("/var/lib/shop/shop.db", ""),
        ("shop:hunter2@db?next=https://example.org", ""),
        ("host=db password=hunter2 next=https://example.org", ""),
        ("hunter2 ://", ""),
        ("://", ""),
        ("", ""),
        (None, ""),
        (5432, ""),
        (b"sqlite://", ""),
    ],
)
def test_only_the_kind_of_a_database_address_is_reported(value: object, kind: str) -> None:
    assert inspector.engine(value) == kind


def said(flask: Any, *keys: str, **config: object) -> dict[str, Any]:
    return inspector.describe(flask(**config), list(keys))


def test_the_first_existing_key_names_the_environment(flask: Any) -> None:
    config = {"ENVIRONMENT": "", "STAGE": 3, "APP_ENV": "production", "CONFIG_NAME": "staging"}
    told = said(flask, "NONE", "ENVIRONMENT", "STAGE", "APP_ENV", "CONFIG_NAME", **config)
    assert (told["environment"], told["environment_key"]) == ("production", "APP_ENV")


@pytest.mark.parametrize("keys", [(), ("APP_ENV",)])
def test_an_environment_named_by_no_key_is_empty(flask: Any, keys: tuple[str, ...]) -> None:
    told = said(flask, *keys, ENVIRONMENT="production")
    assert (told["environment"], told["environment_key"]) == ("", "")


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"DEBUG": True}, "debug", True),
        ({"DEBUG": False}, "debug", False),
        ({"TESTING": True}, "testing", True),
        ({}, "testing", False),
        ({"SESSION_COOKIE_SECURE": True}, "session_cookie_secure", True),
        ({"SESSION_COOKIE_SECURE": False}, "session_cookie_secure", False),
        ({"PREFERRED_URL_SCHEME": "https"}, "preferred_url_scheme", "https"),
        ({"PREFERRED_URL_SCHEME": "http"}, "preferred_url_scheme", "http"),
        ({}, "secret_key", ""),
        ({"SECRET_KEY": ""}, "secret_key", ""),
        ({"SECRET_KEY": "key"}, "secret_key", inspector.digest(inspector.SALT, b"key")),
        ({"SECRET_KEY": b"key"}, "secret_key", inspector.digest(inspector.SALT, b"key")),
    ],
)
def test_each_setting_is_reported(flask: Any, config: dict[str, object], field: str, value: object) -> None:
    assert said(flask, **config)[field] == value


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"SQLALCHEMY_DATABASE_URI": "sqlite://"}, [("SQLALCHEMY_DATABASE_URI", "sqlite")]),
        ({"DATABASE": "shop", "MONGO_URI": "mongodb://db/shop"}, [("MONGO_URI", "mongodb")]),
        ({"DATABASE": "/var/lib/shop/flaskr.sqlite"}, [("DATABASE", "file")]),
        ({"DATABASE": Path("/var/lib/shop/flaskr.sqlite")}, [("DATABASE", "file")]),
        (
            {"DATABASE": "/shop", "DATABASE_URL": "mysql://db/shop"},
            [("DATABASE_URL", "mysql"), ("DATABASE", "file")],
        ),
        ({"DATABASE": "/shop", "SQLALCHEMY_DATABASE_URI": "mysql://db/x"}, [("SQLALCHEMY_DATABASE_URI", "mysql")]),
        ({"MONGODB_HOST": "eu.mongo.db"}, []),
        ({}, []),
    ],
)
def test_the_databases_in_use_are_reported(flask: Any, config: dict[str, object], found: list[tuple[str, str]]) -> None:
    assert [(each["setting"], each["kind"]) for each in said(flask, **config)["databases"]] == found


def test_env_of_an_old_flask_counts_only_if_it_was_set(flask: Any) -> None:
    """Before Flask 2.3, app.config has ENV by default: production, whatever is intended."""
    assert said(flask, "ENV", ENV="production")["environment"] == "production"
    flask.default_config = {"ENV": None}
    assert said(flask, "ENV", ENV="production")["environment"] == ""
    assert said(flask, "ENV", ENV="staging")["environment"] == "staging"


@pytest.mark.parametrize(
    ("config", "good"), [({"REMEMBER_COOKIE_SECURE": True}, True), ({"REMEMBER_COOKIE_SECURE": False}, False)]
)
def test_the_remember_cookie_counts_only_with_flask_login(
    flask: Any, monkeypatch: pytest.MonkeyPatch, config: dict[str, object], good: bool
) -> None:
    assert said(flask, **config)["remember_cookie_secure"] is True
    monkeypatch.setitem(sys.modules, "flask_login", types.ModuleType("flask_login"))
    assert said(flask, **config)["remember_cookie_secure"] is good


@pytest.mark.parametrize("name", inspector.DEBUGGERS)
def test_an_imported_debugger_is_reported(flask: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert said(flask)["debuggers"] == []
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert said(flask)["debuggers"] == [name]


# The program


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Make the directory of an app whose venv has the stand-ins."""
    packages = {"flask.py": FLASK, "gunicorn/__init__.py": "", "gunicorn/app/__init__.py": ""}
    packages["gunicorn/app/wsgiapp.py"] = GUNICORN_APP
    for name, text in packages.items():
        (tmp_path / "venv" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "venv" / name).write_text(text)
    (tmp_path / "source").mkdir()
    return tmp_path


def asked(
    app: Path, wsgi: str, *keys: str, name: str = "wsgi:app", settings: str = ""
) -> subprocess.CompletedProcess[str]:
    """Inspect an app with this wsgi.py, as on the host."""
    text = "import atexit, os, subprocess, sys, threading, time\nfrom flask import Flask\n" + textwrap.dedent(wsgi)
    (app / "source/wsgi.py").write_text(text)
    (app / "gunicorn.conf.py").write_text(f"workers = 2\nwsgi_app = {name!r}\n{settings}")
    return subprocess.run(
        [sys.executable, "-", app / "gunicorn.conf.py", *keys],
        env={"PYTHONPATH": f"{app / 'source'}:{app / 'venv'}", "PATH": "/usr/bin:/bin"},
        input=Path(str(inspector.__file__)).read_text(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def answered(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_variable_changed_by_gunicorn_settings_counts(app: Path) -> None:
    wsgi = 'app = Flask(ENVIRONMENT=os.environ["FLASK_CONFIG"])\n'
    done = asked(app, wsgi, "ENVIRONMENT", settings='raw_env = ["FLASK_CONFIG=development"]\n')
    assert answered(done)["environment"] == "development"


GOOD = 'app = Flask(ENVIRONMENT="production", SESSION_COOKIE_SECURE=True, PREFERRED_URL_SCHEME="https")\n'


def test_an_app_reports_its_configuration(app: Path) -> None:
    told = answered(asked(app, GOOD, "APP_ENV", "ENVIRONMENT"))
    assert len(bytes.fromhex(told.pop("salt"))) == len(inspector.SALT)
    assert told == {
        "environment": "production",
        "environment_key": "ENVIRONMENT",
        "debug": False,
        "testing": False,
        "secret_key": "",
        "databases": [],
        "session_cookie_secure": True,
        "remember_cookie_secure": True,
        "preferred_url_scheme": "https",
        "debuggers": [],
    }


def test_the_report_has_the_fields_the_host_reads(app: Path) -> None:
    assert answered(asked(app, GOOD)).keys() == {field.name for field in fields(Seen)}


def test_an_app_from_a_factory_is_inspected(app: Path) -> None:
    factory = "def create_app():\n    return Flask(DEBUG=True)\n"
    assert answered(asked(app, factory, name="wsgi:create_app()"))["debug"] is True


@pytest.mark.parametrize(
    "noise",
    [
        'print("noise")',
        'print("noise", end="", flush=True)',
        'sys.stdout.write("noise\\n")',
        'os.write(1, b"noise")',
        'subprocess.run(["echo", "noise"])',
        'os.fork() or (print("noise"), os._exit(0)); os.wait()',
        'sys.stderr.write("noise\\n")',
    ],
)
def test_output_printed_by_an_app_is_not_part_of_the_report(app: Path, noise: str) -> None:
    done = asked(app, f"{noise}\n{GOOD}", "ENVIRONMENT")
    assert answered(done)["environment"] == "production"
    assert "noise" in done.stderr


@pytest.mark.parametrize(
    "kept", ["threading.Thread(target=time.sleep, args=(60,)).start()", "atexit.register(time.sleep, 60)"]
)
def test_an_app_that_would_block_exit_is_reported_at_once(app: Path, kept: str) -> None:
    done = asked(app, f"{kept}\n{GOOD}", "ENVIRONMENT")
    assert answered(done)["environment"] == "production"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wsgi", "said"),
    [
        ('raise RuntimeError("no key")', "RuntimeError: no key"),
        ("import absent", "No module named 'absent'"),
        ('print("no DATABASE_URL"); sys.exit(1)', "no DATABASE_URL\n"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("application = Flask()", "has no attribute 'app'"),
        ("this is no Python", "SyntaxError"),
        ("app = Flask()\ndel app.config", "has no attribute 'config'"),
    ],
)
def test_an_app_that_cannot_be_inspected_gives_only_a_reason(app: Path, wsgi: str, said: str) -> None:
    done = asked(app, wsgi)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_an_object_without_an_app_is_named_by_its_type(app: Path) -> None:
    assert answered(asked(app, "def app(environ, start_response):\n    return []\n")) == {"no_app": "function"}
    two = "one, two = Flask(), Flask()\napp = lambda environ, start_response: one(environ, start_response)\n"
    assert answered(asked(app, two)) == {"no_app": "function"}


def test_no_secret_of_the_config_is_reported(app: Path) -> None:
    done = asked(
        app,
        """
        app = Flask(
            ENVIRONMENT="production", SECRET_KEY="hunter2-key", DATABASE_URL="postgresql://shop:hunter2@db/shop",
            SQLALCHEMY_DATABASE_URI="postgresql+psycopg://shop:hunter2@db/shop", MAIL_PASSWORD="hunter2",
            DATABASE="host=db password=hunter2 next=https://x", SECRET_KEY_FALLBACKS=["hunter2-old"],
            SQLALCHEMY_ENGINES={"default": "mysql://shop:hunter2@db/shop"}, MONGO_URI="mongodb://shop:hunter2@db/shop",
            SESSION_COOKIE_SECURE="hunter2", TESTING="hunter2", REMEMBER_COOKIE_SECURE="hunter2", DEBUG="hunter2",
        )
        """,
        "ENVIRONMENT",
    )
    assert [each["kind"] for each in answered(done)["databases"]] == ["postgresql", "mysql"]
    assert "hunter2" not in done.stdout + done.stderr
