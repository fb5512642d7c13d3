# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that Gunicorn would ignore are found, and so are those of the source's own file that the role overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._build.gunicorn_file import assigned, names_in
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import case
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import gunicorn

from tests.unit.cases import for_deploy, values, without_git
from tests.unit.test_doctor import of_the_doctor


@pytest.fixture(autouse=True)
def _files_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    without_git(monkeypatch)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("gunicorn==23.0.0 --hash=sha256:00\n")
    (tmp_path / "wsgi.py").write_text("app = object()\n")
    return tmp_path


def found(app: Path, **more: Any) -> list[Reported]:
    more = {"source_directory": str(app), **more}
    given = values(**{f"flask_app_{name}": value for name, value in more.items()})
    return of_the_doctor(Case(given))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_request", "max_requests"),
        ("Max_Requests", "max_requests"),
        ("max-requests", "max_requests"),
        ("worker_clas", "worker_class"),
        ("graceful_time_out", "graceful_timeout"),
        ("keep_alive", "keepalive"),
        ("preload", "preload_app"),
        ("colour", ""),
    ],
)
def test_a_misspelt_gunicorn_setting_is_an_error_with_a_suggestion(app: Path, name: str, meant: str) -> None:
    [finding] = found(app, gunicorn_settings={name: 1})
    assert (finding.id, finding.severity, finding.subject) == ("gunicorn-setting", ERROR, name)
    assert "Gunicorn 23.0.0" in finding.what
    assert (f"Did you mean {meant}?" in finding.fix) is bool(meant)
    assert f"gunicorn-setting:{name} to flask_app_accepted_findings" in finding.fix


@pytest.mark.parametrize("name", ["max_requests", "forwarder_headers", "logconfig_json"])
def test_a_setting_known_to_the_locked_gunicorn_is_not_reported(app: Path, name: str) -> None:
    assert found(app, gunicorn_settings={name: 1}) == []


@pytest.mark.parametrize("name", ["control_socket", "http2_cleartext", "tolerate_dangerous_framing"])
def test_a_setting_of_another_gunicorn_version_is_an_error(app: Path, name: str) -> None:
    [finding] = found(app, gunicorn_settings={name: 1})
    assert (finding.id, finding.subject) == ("gunicorn-setting", name)


def test_without_a_local_lock_settings_of_any_gunicorn_are_accepted(app: Path) -> None:
    git = {"source_directory": "", "source_git_url": "https://example.org/shop.git"}
    given = {"control_socket": 1, "max_request": 1}
    assert [finding.subject for finding in found(app, gunicorn_settings=given, **git)] == ["max_request"]


@pytest.mark.parametrize("entry", ["gunicorn-setting", "gunicorn-setting:of_the_next_version"])
def test_a_setting_of_a_newer_gunicorn_can_be_accepted(app: Path, entry: str) -> None:
    [finding] = found(app, gunicorn_settings={"of_the_next_version": 1}, accepted_findings=[entry])
    assert finding.accepted


def test_an_acceptance_of_a_finding_by_systemd_is_not_unused(app: Path) -> None:
    assert found(app, accepted_findings=["unit-setting:PrivatePIDs", "unit-setting"]) == []


@pytest.mark.parametrize(
    ("version", "prefix", "refused"),
    [
        ("22.0.0", "/shop", True),
        ("21.2.0", "/shop", False),
        ("22.0.0", "", False),
        ("23.0.0", "/shop", False),
        ("100.1", "/shop", False),
    ],
)
def test_a_gunicorn_without_prefix_support_is_an_error_with_a_prefix(
    app: Path, version: str, prefix: str, refused: bool
) -> None:
    (app / "requirements.txt").write_text(f"gunicorn=={version} --hash=sha256:00\n")
    findings = found(app, url_prefix=prefix)
    assert [(finding.id, finding.severity) for finding in findings] == [("gunicorn-version", ERROR)] * refused
    assert ["flask_app_url_prefix" in each.what and version in each.what for each in findings] == [True] * refused
    given = values(flask_app_source_directory=str(app), flask_app_url_prefix=prefix)
    assert len(for_deploy(given)[0]) == refused


def test_without_a_local_lock_no_gunicorn_is_too_old(app: Path) -> None:
    git = {"source_directory": "", "source_git_url": "https://example.org/shop.git"}
    assert found(app, url_prefix="/shop", **git) == []


# The source's own file

SOURCE = """\
import os as timeout
from multiprocessing import cpu_count

workers, threads = cpu_count() * 2 + 1, 4
max_requests: int = 1000
helper = 5
if os.environ.get("X"):
    bind = "0.0.0.0:8000"
else:
    with open("x") as keepalive:
        pass
try:
    loglevel = "debug"
except Exception:
    preload_app = True
for accesslog in ["-"]:
    pass


def post_fork(server, worker):
    umask = 5


class Logger:
    spew = True
"""


def test_settings_in_a_gunicorn_file_are_read_without_running_it() -> None:
    assert [name for name in assigned(SOURCE) if name in gunicorn.SETTINGS] == [
        "timeout", "workers", "threads", "max_requests", "bind", "keepalive", "loglevel", "preload_app", "accesslog",
        "post_fork",
    ]  # fmt: skip


def test_overridden_settings_in_a_gunicorn_file_are_a_warning(app: Path) -> None:
    (app / "gunicorn.conf.py").write_text("workers = 5\nmax_requests = 9\nkeepalive = 1\ndaemon = True\n")
    given = {"gunicorn_settings": {"keepalive": 2}}
    [finding] = found(app, **given)
    assert (finding.id, finding.severity, finding.subject) == ("gunicorn-file", WARNING, "gunicorn.conf.py")
    assert " workers, keepalive, daemon:" in finding.what
    place = Place()
    wanted = values(flask_app_source_directory=str(app), flask_app_gunicorn_settings={"keepalive": 2})
    assert for_deploy(wanted, place) == ([], [finding.warning()])
    assert for_deploy({**wanted, "flask_app_accepted_findings": ["gunicorn-file"]}, place) == ([], [])


def test_a_gunicorn_file_may_be_a_link_only_within_the_source(app: Path, tmp_path: Path) -> None:
    (app / "conf").mkdir()
    (app / "conf/gunicorn.py").write_text("workers = 5\n")
    (app / "gunicorn.conf.py").symlink_to("conf/gunicorn.py")
    assert [finding.id for finding in found(app)] == ["gunicorn-file"]
    (app / "conf/gunicorn.py").rename(app.parent / "gunicorn.py")
    (app / "gunicorn.conf.py").unlink()
    (app / "gunicorn.conf.py").symlink_to("../gunicorn.py")
    assert names_in(app) == []


@pytest.mark.parametrize(("prefix", "named"), [("", 0), ("/shop", 1)])
def test_with_a_url_prefix_the_role_overrides_the_prefix_settings(app: Path, prefix: str, named: int) -> None:
    (app / "gunicorn.conf.py").write_text("forwarder_headers = 'X'\nheader_map = 'refuse'\n")
    findings = found(app, url_prefix=prefix)
    assert ["forwarder_headers, header_map" in each.what for each in findings] == [True] * named


@pytest.mark.parametrize(
    "text", ["max_requests = 9\n\n\ndef child_exit(server, worker):\n    pass\n", "", "workers = = 5\n", "x = 1\n"]
)
def test_hooks_and_settings_only_gunicorn_can_check_are_not_reported(app: Path, text: str) -> None:
    (app / "gunicorn.conf.py").write_text(text)
    assert found(app) == []


def test_a_gunicorn_file_outside_the_source_is_ignored(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (app / "gunicorn.conf.py").write_text("workers = 5\n")
    monkeypatch.setattr(case, "list_files", lambda *_: ["requirements.txt", "wsgi.py"])
    assert found(app) == []
