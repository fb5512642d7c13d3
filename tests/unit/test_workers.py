# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers' reports: written by a real Gunicorn's hooks, and read from a directory that the app can fill at will."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._proof import workers
from ansible_collections.greenlight.flask.plugins.module_utils._proof.workers import (
    MAXIMUM_BYTES,
    Reports,
    reports,
    wait,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector

from tests.unit.fakes import report

RELEASE = "20261121T094420Z-a1a1a1a1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


@pytest.fixture
def directory(layout: Layout) -> Path:
    path = layout.runtime(RELEASE) / inspector.DIRECTORY
    path.mkdir(parents=True)
    return path


# Reading


def test_without_a_directory_there_are_no_reports(layout: Layout) -> None:
    assert reports(layout, RELEASE) == Reports([], 0)
    layout.runtime(RELEASE).mkdir(parents=True)
    assert reports(layout, RELEASE) == Reports([], 0)


def test_reports_are_complete_with_one_for_each_worker(layout: Layout, directory: Path) -> None:
    (directory / "7.json").write_text(json.dumps(report(workers=2)))
    (directory / "8.unfinished").write_text("{")
    assert not reports(layout, RELEASE).complete
    (directory / "8.json").write_text(json.dumps(report(workers=2)))
    found = reports(layout, RELEASE)
    assert (len(found.by_worker), found.complete) == (2, True)


@pytest.mark.parametrize("place", ["file", "directory", "runtime"])
def test_no_link_is_followed(layout: Layout, directory: Path, tmp_path: Path, place: str) -> None:
    """The directory belongs to the app's account, and root reads it."""
    elsewhere = tmp_path / "elsewhere"
    if place == "file":
        elsewhere.write_text(json.dumps(report()))
        (directory / "7.json").symlink_to(elsewhere)
    else:
        moved = directory if place == "directory" else directory.parent
        (directory / "7.json").write_text(json.dumps(report()))
        moved.rename(elsewhere)
        moved.symlink_to(elsewhere)
    assert reports(layout, RELEASE).by_worker == []


LONG = '{"workers": "' + "x" * MAXIMUM_BYTES + '"}'


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", "[" * 50_000, "\udcff", LONG])
def test_invalid_reports_are_skipped(layout: Layout, directory: Path, content: str) -> None:
    (directory / "7.json").write_bytes(content.encode(errors="surrogateescape"))
    assert reports(layout, RELEASE).by_worker == []


def test_a_pipe_among_the_reports_does_not_block(layout: Layout, directory: Path) -> None:
    os.mkfifo(directory / "7.json")
    (directory / "8.json").mkdir()
    assert reports(layout, RELEASE).by_worker == []


def test_reports_are_awaited_while_the_release_runs(
    layout: Layout, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        (directory / f"{len(naps)}.json").write_text(json.dumps(report(workers=3)))

    monkeypatch.setattr(time, "sleep", sleep)
    assert wait(layout, RELEASE, 60, lambda: True).complete
    assert len(naps) == 3
    (directory / "1.json").unlink()
    assert len(wait(layout, RELEASE, 60, lambda: len(naps) < 3).by_worker) == 2
    assert len(wait(layout, RELEASE, 0, lambda: True).by_worker) == 2


def test_the_wait_for_the_first_report_is_shorter(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FIRST_SECONDS", 0.01)
    began = time.monotonic()
    assert wait(layout, RELEASE, 60, lambda: True).by_worker == []
    assert time.monotonic() - began < 5


# Writing, by a real Gunicorn

WSGI = """
import os, sys
class Config(dict):
    pass
class Flask:
    debug = False
    secret_key = "the key"
    default_config = {}
    config = Config(ENVIRONMENT="staging")
    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
    wsgi_app = __call__
sys.modules["flask"] = type(sys)("flask")
sys.modules["flask"].Flask = Flask
with open("imports", "a") as counted:
    counted.write(f"{os.getpid()}\\n")
app = Flask()
"""
CONFIG = """
wsgi_app = "wsgi:app"
chdir = {place!r}
bind = "unix:" + chdir + "/socket"
workers = 2
control_socket_disable = True
import runpy
_hooks = runpy.run_path({program!r})
_hooks["keep_signals_inside"]()
def post_worker_init(worker):
    _hooks["write"](worker, ["ENVIRONMENT"])
def child_exit(server, worker):
    _hooks["forget"](worker.pid)
"""


@contextlib.contextmanager
def gunicorn(place: Path, layout: Layout, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    (place / "wsgi.py").write_text(WSGI)
    program = str(inspector.__file__)
    (place / "gunicorn.conf.py").write_text(CONFIG.format(place=str(place), program=program))
    layout.runtime(RELEASE).mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", str(place / "gunicorn.conf.py"), *options],
        env={**os.environ, "RUNTIME_DIRECTORY": f"{layout.runtime(RELEASE)}:/nonexistent"},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def until(done: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--preload",), ("--worker-class", "gthread")])
def test_each_worker_imports_its_app_once_and_reports_it(
    tmp_path: Path, layout: Layout, options: tuple[str, ...]
) -> None:
    with gunicorn(tmp_path, layout, *options):
        until(lambda: reports(layout, RELEASE).complete)
        told = reports(layout, RELEASE).by_worker
        pids = {each["pid"] for each in told}
        assert [each["environment"] for each in told] == ["staging", "staging"]
        assert told[0]["secret_key"] == told[1]["secret_key"] != ""
        imports = (tmp_path / "imports").read_text().split()
        assert len(imports) == (1 if "--preload" in options else 2)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "socket"))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.settimeout(10)
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
        assert int(answer.rsplit(b"\r\n", 1)[1]) in pids
        killed = min(pids)
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in {each["pid"] for each in reports(layout, RELEASE).by_worker})
        until(lambda: reports(layout, RELEASE).complete)


def test_signals_stay_within_the_release_if_the_kernel_supports_it() -> None:
    """It can't reach another process of the same account outside, but Gunicorn's own."""
    code = f"""if True:
        import os, runpy, signal, subprocess, sys
        hooks = runpy.run_path({str(inspector.__file__)!r})
        kept = hooks["keep_signals_inside"]()
        child = subprocess.Popen(["sleep", "60"])
        child.kill()
        assert child.wait() == -signal.SIGKILL
        try:
            os.kill(os.getppid(), 0)
            print(kept, "reached")
        except PermissionError:
            print(kept, "refused")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() in ("True refused", "False reached"), done.stderr
    release = tuple(int(number) for number in os.uname().release.split(".")[:2])
    if release >= (6, 12):
        assert done.stdout.strip() == "True refused"


def test_a_failed_report_never_prevents_the_app_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    warned: list[object] = []
    worker = SimpleNamespace(pid=7, wsgi=object(), log=SimpleNamespace(warning=lambda *words: warned.append(words)))
    inspector.write(worker, ["ENVIRONMENT"])
    assert len(warned) == 1
    inspector.forget(7)
