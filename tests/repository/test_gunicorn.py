# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's assumptions about Gunicorn match the example's locked version."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._build.gunicorn_file import assigned
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import HOOKS, program
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import gunicorn
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.files import versions

from tests.repository import repository
from tests.repository.test_docs import FLASK
from tests.templates.test_templates import text_of

ROOT = repository.ROOT
#: Prints how Gunicorn itself reads a settings file: of a hook, its name and where it was defined.
LOADED = """
import json, sys
from gunicorn.app.wsgiapp import WSGIApplication
path, names = sys.argv[1], sys.argv[2:]
sys.argv = ["gunicorn", "--config", path]
settings = WSGIApplication().cfg.settings
values = {name: settings[name].get() for name in names}
print(json.dumps({name: getattr(value, "mark", str(value)) for name, value in values.items()}))
"""
NAMES = """
import json
from gunicorn.config import KNOWN_SETTINGS
hooks = [setting.name for setting in KNOWN_SETTINGS if setting.section.endswith("Hooks")]
print(json.dumps([[setting.name for setting in KNOWN_SETTINGS], hooks]))
"""


def said(program: str, *words: object, directory: Path = ROOT) -> Any:
    assert FLASK.exists(), "script/test fast makes what this needs"
    done = subprocess.run(
        [FLASK, "-c", program, *map(str, words)], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_known_names_match_the_locked_gunicorn() -> None:
    version = versions(ROOT / "examples/guestbook", "requirements.txt")["gunicorn"]
    names, hooks = said(NAMES)
    assert {name for name in gunicorn.SETTINGS if not gunicorn.unknown(name, version)} == set(names)
    assert set(hooks) == gunicorn.HOOKS


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Make a release directory with the role's own file, and a source with a settings file of its own."""
    (tmp_path / "source").mkdir()
    (tmp_path / HOOKS).write_text(program())
    (tmp_path / "gunicorn.conf.py").write_text(text_of("gunicorn", flask_app_gunicorn_settings={"keepalive": 7}))
    return tmp_path


SOURCE = """
from dataclasses import dataclass
import helper

workers = 99
bind = "0.0.0.0:8000"
reload = True
keepalive = 99
max_requests = 1000
daemon = True
chdir = "/"
raw_env = ["A=b"]


@dataclass
class Mark:
    name: "str"


def post_fork(server, worker):
    pass


def child_exit(server, worker):
    pass


post_fork.mark = Mark("of the source").name
child_exit.mark = helper.MARK
"""


def test_settings_of_the_source_apply_and_those_of_the_role_win(release: Path) -> None:
    (release / "source/gunicorn.conf.py").write_text(SOURCE)
    (release / "source/helper.py").write_text("MARK = 'of the source, too'\n")
    names = ("workers", "bind", "reload", "keepalive", "max_requests", "daemon", "raw_env", "post_fork")
    assert said(LOADED, release / "gunicorn.conf.py", *names, directory=release / "source") == {
        "workers": "2",
        "bind": "['unix:/nonexistent/started-without-its-socket-unit']",
        "reload": "False",
        "keepalive": "7",
        "max_requests": "1000",
        "daemon": "False",
        "raw_env": "[]",
        "post_fork": "of the source",
    }


def test_a_source_without_a_gunicorn_file_changes_nothing(release: Path) -> None:
    assert said(LOADED, release / "gunicorn.conf.py", "workers", "max_requests", directory=release / "source") == {
        "workers": "2",
        "max_requests": "0",
    }


#: Calls the hooks that both the role and the source define.
CALLED = """
import sys, types
from gunicorn.app.wsgiapp import WSGIApplication
sys.argv = ["gunicorn", "--config", sys.argv[1]]
cfg = WSGIApplication().cfg
log = types.SimpleNamespace(warning=lambda *words: None)
worker = types.SimpleNamespace(pid=7, wsgi=None, log=log, said=[])
cfg.post_worker_init(worker)
cfg.child_exit(None, worker)
print(__import__("json").dumps(worker.said))
"""
BOTH = """
def post_worker_init(worker):
    worker.said.append("init")

def child_exit(server, worker):
    worker.said.append("exit")
"""


def test_hooks_of_the_source_run_after_those_of_the_role(release: Path) -> None:
    (release / "source/gunicorn.conf.py").write_text(BOTH)
    assert said(CALLED, release / "gunicorn.conf.py", directory=release / "source") == ["init", "exit"]


@pytest.mark.parametrize(("prefix", "more"), [("", frozenset()), ("/shop", gunicorn.OF_A_PREFIX)])
def test_the_check_knows_every_setting_of_the_role(prefix: str, more: frozenset[str]) -> None:
    found = assigned(text_of("gunicorn", flask_app_url_prefix=prefix))
    assert {*found} & gunicorn.SETTINGS.keys() - gunicorn.HOOKS == gunicorn.OF_THE_ROLE | more


#: Reports the app's idea of its address, and the headers that it got.
BELOW = """
from flask import Flask, request, url_for
app = Flask(__name__)

@app.get("/x")
def x():
    return {"url": url_for("x"), "got": sorted(name for name in request.environ if "HTTP_" in name)}
"""


def test_links_below_a_path_are_right_whatever_the_source_sets(release: Path) -> None:
    source = release / "source"
    (source / "wsgi.py").write_text(BELOW)
    (source / "gunicorn.conf.py").write_text("forwarder_headers = 'REMOTE_USER'\nheader_map = 'refuse'\n")
    settings = {"flask_app_url_prefix": "/shop", "flask_app_gunicorn_workers": 1, "flask_app_inspect": False}
    (release / "gunicorn.conf.py").write_text(text_of("gunicorn", **settings))
    bound = ["--bind", f"unix:{release}/socket"]
    server = subprocess.Popen(
        [FLASK, "-m", "gunicorn", "--config", release / "gunicorn.conf.py", *bound], cwd=source, stderr=subprocess.PIPE
    )
    try:
        assert server.stderr
        lines = iter(server.stderr.readline, b"")
        assert any(b"Listening at" in line for line in lines)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(f"{release}/socket")
            headers = b"SCRIPT_NAME: /shop\r\nX_OTHER: y\r\nHost: h"
            connection.sendall(b"GET /shop/x HTTP/1.0\r\n" + headers + b"\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"url": "/shop/x", "got": ["HTTP_HOST", "HTTP_SCRIPT_NAME"]}
