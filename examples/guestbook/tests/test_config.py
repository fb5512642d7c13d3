# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment is chosen by name, and is refused rather than guessed."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from guestbook import config, create_app


def test_missing_flask_config_is_refused_by_name() -> None:
    with pytest.raises(config.ConfigError, match=r"FLASK_CONFIG is not set; .*development, production, staging"):
        create_app()


@pytest.mark.parametrize("name", ["prod", "Production", "base"])
def test_an_unknown_environment_is_refused_with_the_known_names(environ: pytest.MonkeyPatch, name: str) -> None:
    environ.setenv("FLASK_CONFIG", name)
    with pytest.raises(config.ConfigError, match=f"'{name}'.*development, production, staging"):
        create_app()


@pytest.mark.parametrize("name", ["staging", "production"])
@pytest.mark.parametrize("key", ["SECRET_KEY", "DATABASE_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_secret_is_refused_by_name(
    environ: pytest.MonkeyPatch, name: str, key: str, value: str | None
) -> None:
    environ.delenv(key)
    if value is not None:
        environ.setenv(key, value)
    with pytest.raises(config.ConfigError, match=f"^{key} must be set in the environment of {name}$"):
        create_app(name)


def test_development_has_a_default_database_but_no_default_secret_key(
    environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance = tmp_path / "instance"
    settings = config.load("development", {"SECRET_KEY": "dev"}, instance)
    assert f"sqlite:///{instance}/guestbook.db" == settings.DATABASE_URL
    assert instance.is_dir()
    environ.delenv("SECRET_KEY")
    with pytest.raises(config.ConfigError, match=r"^SECRET_KEY must be set"):
        create_app("development")


@pytest.mark.parametrize(
    ("value", "keys"),
    [(None, []), ("", []), ("[]", []), ('["old"]', ["old"]), ('["older", "old"]', ["older", "old"])],
)
def test_fallback_keys_are_read_from_a_json_list(
    environ: pytest.MonkeyPatch, value: str | None, keys: list[str]
) -> None:
    if value is not None:
        environ.setenv("SECRET_KEY_FALLBACKS", value)
    assert create_app("production").config["SECRET_KEY_FALLBACKS"] == keys


@pytest.mark.parametrize(
    "value",
    [
        "never-shown",
        '"never-shown"',
        '["never-shown"',
        "['never-shown']",
        '{"never-shown": "never-shown"}',
        '["never-shown", 7]',
        '["never-shown", null]',
        '[["never-shown"]]',
        '["never-shown", ""]',
        "null",
        "false",
        "0",
    ],
)
def test_malformed_fallback_keys_are_refused_and_not_shown(environ: pytest.MonkeyPatch, value: str) -> None:
    environ.setenv("SECRET_KEY_FALLBACKS", value)
    with pytest.raises(config.ConfigError, match=r"^SECRET_KEY_FALLBACKS must be a JSON list of strings") as refusal:
        create_app("production")
    assert "never-shown" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    ("name", "debug", "secure"),
    [("development", True, False), ("staging", False, True), ("production", False, True)],
)
def test_debug_and_cookies_follow_the_environment(name: str, debug: bool, secure: bool) -> None:
    app = create_app(name)
    assert (app.debug, app.testing, app.config["SESSION_COOKIE_SECURE"]) == (debug, False, secure)
    assert app.config["SESSION_COOKIE_HTTPONLY"]
    assert app.config["SESSION_COOKIE_SAMESITE"] == "Lax"


@pytest.mark.parametrize("name", sorted(config.CONFIGS))
def test_startup_logs_one_line_with_the_environment_and_without_secrets(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    environ: pytest.MonkeyPatch,
    name: str,
) -> None:
    environ.setenv("SECRET_KEY", "never-in-a-log-1")
    environ.setenv("DATABASE_URL", "sqlite:////nowhere/never-in-a-log-2.db")
    environ.setenv("SECRET_KEY_FALLBACKS", '["never-in-a-log-3"]')
    with caplog.at_level(logging.DEBUG):
        app = create_app(name)
    (line,) = caplog.messages
    assert line.startswith(f"guestbook starts: environment={name} debug={app.debug} ")
    assert line.endswith(" revision=abc1234 release=20261121T100000Z-abc1234")
    assert "never-in-a-log" not in caplog.text + "".join(capfd.readouterr())


def test_secrets_may_be_in_files(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in config.SECRETS:
        environ.delenv(name, raising=False)
        environ.setenv(f"{name}_FILE", str(tmp_path / name))
    (tmp_path / "SECRET_KEY").write_text("of the file \n")
    (tmp_path / "SECRET_KEY_FALLBACKS").write_text('["old"]')
    (tmp_path / "DATABASE_URL").write_text(f"sqlite:///{tmp_path}/guestbook.db")
    settings = create_app("production").config
    assert (settings["SECRET_KEY"], settings["SECRET_KEY_FALLBACKS"]) == ("of the file \n", ["old"])
    assert settings["DATABASE_URL"] == f"sqlite:///{tmp_path}/guestbook.db"


def test_a_variable_takes_precedence_over_its_file(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.setenv("SECRET_KEY", "of the variable")
    environ.setenv("SECRET_KEY_FILE", str(tmp_path / "absent"))
    assert create_app("production").config["SECRET_KEY"] == "of the variable"


def test_a_missing_secret_file_is_reported_by_its_variable(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.delenv("SECRET_KEY")
    environ.setenv("SECRET_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(config.ConfigError, match=r"^SECRET_KEY_FILE names a file that can't be read: No such file"):
        create_app("production")
