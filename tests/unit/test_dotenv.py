# SPDX-License-Identifier: GPL-3.0-or-later
"""A shipped file such as .env is found, for both kinds of source, with the names it sets and without values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.action.bring_source import ActionModule
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call, bring_source
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported

from tests.unit.test_doctor import app, found, one
from tests.unit.test_source import NO_PYTHON, commit, git, put

SECRET = "hunter2-Zk3vQ9rTx7LwB2mY"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"SECRET_KEY={SECRET}", "SECRET_KEY"),
        (f'export API_TOKEN="{SECRET}"', "API_TOKEN"),
        (f"\ufeffMAIL_PASSWORD = '{SECRET}' # comment", "MAIL_PASSWORD"),
        (f"DATABASE_URL=postgresql://shop:{SECRET}@db/shop", "DATABASE_URL"),
        ("POSTGRES_PASSWORD=postgres", "POSTGRES_PASSWORD"),
        ("FLASK_CONFIG=production", "FLASK_CONFIG"),
        ("FLASK_ENV=development", "FLASK_ENV"),
        ("APP_SETTINGS=config.ProductionConfig", "APP_SETTINGS"),
        ("FLASK_DEBUG=1", "FLASK_DEBUG"),
        ("DEBUG=true", "DEBUG"),
    ],
)
@pytest.mark.parametrize("name", [".env", ".flaskenv", ".env.production", "shop/.env", "prod.env", ".envrc"])
def test_an_env_file_with_a_secret_is_an_error(tmp_path: Path, name: str, text: str, named: str) -> None:
    findings = found(app(tmp_path, {name: f"{text}\n# settings\nTITLE=Shop\n"}))
    assert one(findings) == ("shipped-env-file", ERROR, name)
    assert named in findings[0].what
    assert "TITLE" not in findings[0].what
    for value in (SECRET, "postgres", "production", "development"):
        assert value not in findings[0].what.replace(name, "").replace("POSTGRES", "")
    assert one(found(app(tmp_path, {}, environment="development")))[1] == WARNING


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["TITLE=Shop", "", "FLASK_APP=wsgi", "FLASK_DEBUG=0", "SECRET_KEY=", "API_TOKEN=${API_TOKEN}",
             'SECRET_KEY="encrypted:BDqDBibm4wsYqMpCjTQ6BsDHmMad"', "API_TOKEN=ENC[AES256_GCM,data:x]",
             "STRIPE_PUBLISHABLE_KEY=pk_live_123456", "DB_USER=shop", "# SECRET_KEY=x"],
)  # fmt: skip
def test_an_env_file_without_secrets_is_a_warning(tmp_path: Path, text: str) -> None:
    assert one(found(app(tmp_path, {".env": text}))) == ("shipped-env-file", WARNING, ".env")
    assert found(app(tmp_path / "other", {"prod.env": text})) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "tests/.env"]
)
@pytest.mark.parametrize(
    "text",
    ["SECRET_KEY=change-me", "SECRET_KEY=", "DATABASE_URL=postgresql://user:pass@localhost/shop", "FLASK_DEBUG=1",
     "FLASK_CONFIG=development", "API_TOKEN=<your token>", "SECRET_KEY=your-secret-key-0123456789",
     "DB_PASSWORD=redis"],
)  # fmt: skip
def test_an_example_env_file_with_placeholders_is_not_reported(tmp_path: Path, name: str, text: str) -> None:
    assert found(app(tmp_path, {name: text})) == []


@pytest.mark.parametrize("line", [f"SECRET_KEY={SECRET}", f"DATABASE_URL=postgresql://shop:{SECRET}@db/shop"])
def test_an_example_env_file_with_a_real_secret_is_an_error(tmp_path: Path, line: str) -> None:
    assert one(found(app(tmp_path, {".env.example": line}))) == ("shipped-env-file", ERROR, ".env.example")


@pytest.mark.parametrize("name", [".environment.py", "env.py", "environment", ".env.md"])
def test_files_with_similar_names_are_not_env_files(tmp_path: Path, name: str) -> None:
    assert found(app(tmp_path, {name: f"MAIL_PASSWORD={SECRET}\n"})) == []


def test_a_git_ignored_env_file_is_not_reported(tmp_path: Path) -> None:
    given = app(tmp_path, {".gitignore": ".env\n", ".env": f"SECRET_KEY={SECRET}\n"})
    assert found(given) == []
    assert one(found({**given, "flask_app_source_include": [".env"]}))[0] == "shipped-env-file"


def test_an_env_file_that_links_outside_is_not_read(tmp_path: Path) -> None:
    given = app(tmp_path / "app", {})
    (tmp_path / "outside.env").write_text(f"SECRET_KEY={SECRET}\n")
    (tmp_path / "app/.env").symlink_to("../outside.env")
    assert found(given) == []  # the check of inputs refuses the link itself


# From git, as the host and the action do it


@pytest.fixture
def shipped(tmp_path: Path) -> dict[str, Any]:
    """Make a git source with such a file; return the options of the step, and the host."""
    directory = tmp_path / "repository"
    put(directory, "wsgi.py", "shop/static/style.css")
    (directory / ".env").write_text(f"SECRET_KEY={SECRET}\nTITLE=Shop\n")
    (directory / ".env.example").write_text("SECRET_KEY=change-me\n")
    git(directory, "init", "--quiet")
    return {
        "layout": Layout("shop", tmp_path / "host"),
        "git_url": str(directory),
        "git_ref": "main",
        "git_key_file": "",
        "subdirectory": "",
        "static": [],
        "python": NO_PYTHON,
        "commit": commit(directory),
    }


def fetched(given: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
    return bring_source.run(Call(given["layout"], given, dry=check_mode))


def checked(outcome: Mapping[str, Any], environment: str = "staging", accepted: tuple[str, ...] = ()) -> dict[str, Any]:
    about = {
        "flask_app_environment": environment,
        "flask_app_environment_variable": "FLASK_CONFIG",
        "flask_app_gunicorn_settings": ["keepalive"],
        "flask_app_url_prefix": "",
        "flask_app_accepted_findings": list(accepted),
    }
    return ActionModule.__new__(ActionModule)._judged(dict(outcome), about)


def test_a_git_source_is_fetched_once_and_checked_on_each_run(shipped: dict[str, Any]) -> None:
    for changed in (True, False):
        outcome = fetched(shipped)
        assert (outcome["changed"], outcome["revision"]) == (changed, shipped["commit"])
        assert SECRET not in str(outcome)
        done = checked(outcome)
        assert done["failed"]
        assert "SECRET_KEY" in done["msg"]
        assert "shipped-env-file:.env" in done["msg"]
        assert ".env.example" not in done["msg"]
        assert "environment_files" not in done


@pytest.mark.parametrize(
    ("environment", "accepted"),
    [("development", ()), ("staging", ("shipped-env-file",)), ("staging", ("shipped-env-file:.env",))],
)
def test_an_env_file_from_git_can_be_accepted(
    shipped: dict[str, Any], environment: str, accepted: tuple[str, ...]
) -> None:
    assert not checked(fetched(shipped), environment, accepted).get("failed")


@pytest.mark.parametrize("text", ["workers = 5\nkeepalive = 1\nmax_requests = 9\n", "max_requests = 9\n", "x = = 1\n"])
def test_overridden_gunicorn_settings_from_git_are_a_warning_on_each_run(shipped: dict[str, Any], text: str) -> None:
    directory = Path(shipped["git_url"])
    (directory / ".env").unlink()
    (directory / "gunicorn.conf.py").write_text(text)
    commit(directory)
    for _ in range(2):
        outcome = {**fetched(shipped), "warnings": ["another"]}
        done = checked(outcome)
        assert not done.get("failed")
        assert "gunicorn_file" not in done
        assert done["warnings"][0] == "another"
        assert [re.findall(r"sets (.*?):|\((gunicorn-file:\S+)\)", each) for each in done["warnings"][1:]] == (
            [[("workers, keepalive", ""), ("", "gunicorn-file:gunicorn.conf.py")]] if "workers" in text else []
        )
        assert checked(outcome, accepted=("gunicorn-file",))["warnings"] == ["another"]


@pytest.mark.parametrize("entry", ["shipped-env-file:.env", "gunicorn-file"])
def test_an_acceptance_for_a_git_source_is_not_unused(tmp_path: Path, entry: str) -> None:
    from_git = {"flask_app_source_directory": "", "flask_app_source_git_url": "git@example.org:shop.git"}
    given = {**app(tmp_path, {}), "flask_app_accepted_findings": [entry]}
    vain: list[Reported] = found(given)
    assert one(vain)[0] == "unused-acceptance"
    assert found({**given, **from_git}) == []


def test_check_mode_fetches_nothing(shipped: dict[str, Any], tmp_path: Path) -> None:
    outcome = fetched(shipped, check_mode=True)
    assert (outcome["changed"], outcome["revision"]) == (True, shipped["commit"])
    assert not (tmp_path / "host").exists()


def test_check_mode_without_git_reports_no_revision(shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    outcome = fetched(shipped, check_mode=True)
    assert (outcome["changed"], set(str(outcome["revision"]))) == (True, {"0"})


@pytest.mark.parametrize("static", ["absent", "wsgi.py", "shop/absent", "../../../etc"])
def test_a_static_directory_missing_from_the_commit_is_refused_on_each_run(
    shipped: dict[str, Any], static: str
) -> None:
    assert fetched({**shipped, "static": ["shop/static"]})["changed"]
    for _ in range(2):
        with pytest.raises(GreenlightError, match="flask_app_nginx_static"):
            fetched({**shipped, "static": ["shop/static", static]})


@pytest.mark.parametrize(
    ("name", "value"), [("git_url", "--upload-pack=touch x"), ("git_url", "ext::x"), ("git_ref", "--upload-pack=x")]
)
def test_the_module_refuses_values_that_git_would_read_as_options(
    shipped: dict[str, Any], name: str, value: str
) -> None:
    with pytest.raises(GreenlightError, match=f"flask_app_source_{name}"):
        fetched({**shipped, name: value})
