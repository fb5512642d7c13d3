# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault is found and named by variable or file, without its value; valid apps get no finding."""

from __future__ import annotations

import base64
import json
import random
import secrets
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import examine
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import (
    Reported,
    accept,
    counts,
    rendered,
    together,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import fingerprints
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import judge as secret_values
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import python

from tests.unit.cases import KEY, LOCK, as_read, for_deploy, named, values, without_git

OTHER_KEY = "q8WnE4tRb6YzU1oPd3SfG7hJk5LxCv9M"
PASSWORD = VaultLib([("x", VaultSecret(b"one"))])
OTHER_PASSWORD = VaultLib([("x", VaultSecret(b"two"))])


NEVER_ACCEPTED = [rule.id for rule in registry.known().values() if not rule.acceptable]
OF_INPUTS = {*NEVER_ACCEPTED} - {"missing-secret", "debug", "environment-by-hand", "unused-acceptance"}


@pytest.fixture(autouse=True)
def _files_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    without_git(monkeypatch)


def opened(text: bytes) -> str:
    return str(PASSWORD.decrypt(text).decode())


def found(given: Mapping[str, Any], inventory: Path | None = None, playbook: Path | None = None) -> list[Reported]:
    return of_the_doctor(Case(given, place=Place(inventory, playbook, opened)))


def of_the_doctor(case: Case) -> list[Reported]:
    """Return the doctor's findings, except those of wrong input, which tests/unit/test_inputs.py covers."""
    return [finding for finding in examine(case).findings if finding.id not in OF_INPUTS]


def one(findings: Sequence[Finding]) -> tuple[str, str, str]:
    """Return id, severity and subject of the only finding."""
    (finding,) = findings
    assert finding.what.endswith(".")
    assert finding.fix
    return finding.id, finding.severity, finding.subject


def names(findings: Sequence[Finding]) -> set[str]:
    return {finding.id for finding in findings}


def with_secret(name: str, value: object) -> dict[str, Any]:
    return values(flask_app_secrets={**values()["flask_app_secrets"], name: value})


@pytest.mark.parametrize("environment", ["development", "staging", "production", "qa"])
def test_correct_settings_have_no_findings(environment: str) -> None:
    assert found(values(environment)) == []


# Secrets


@pytest.mark.parametrize("value", ["", None])
def test_a_required_secret_that_is_missing_is_an_error(value: object) -> None:
    assert one(found(with_secret("DATABASE_URL", value))) == ("missing-secret", ERROR, "DATABASE_URL")


PLACEHOLDERS = [
    "change-me", "changeme", "CHANGE_ME", "ChangeMe!", "changethis", "change-me-in-production", "please change me",
    "changeme123", "prod-change-me", "replace-me", "example", "example-key", "secret", "SECRET", "secret!", "secret123",
    "supersecret", "super secret key", "super-secret-key", "my_secret_key", "mysecretkey", "this is a very secret key",
    "password", "Password1", "p@ssw0rd", "passw0rd", "todo", "TO" "DO", "xxx", "XXXXXXXX", "********", "00000000",
    "your-secret-key", "your-secret-key-here", "YOUR_API_KEY", "your_key_here", "<secret>", "<insert key here>",
    "insert-your-key-here", "${SECRET_KEY}", "__SECRET_KEY__", "dev", "dev-key", "development", "development key",
    "test", "testing", "hard to guess string", "you-will-never-guess", "not-a-secret", "placeholder", "dummy-token",
    "default", "admin", "qwerty", "12345678", "1234567890", "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT", "'changeme'",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", "postgresql://shop:password@db.example.org/shop",
    "postgresql://shop:changeme@db.example.org/shop", "redis://:secret@cache.internal/0",
]  # fmt: skip


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_found_without_its_value(value: str) -> None:
    findings = found(with_secret("API_TOKEN", value))
    assert one(findings) == ("placeholder", ERROR, "API_TOKEN")
    for other in ("change-me", "qwerty"):
        assert found(with_secret("API_TOKEN", other)) == findings


@pytest.mark.parametrize(
    "value",
    [
        KEY, "d41d8cd98f00b204e9800998ecf8427e", "correct horse battery staple", "sk_live_51H8xLzKq0PvT3mYn",
        "Tr0ub4dor&3",
        "postgresql://shop:kX93vvq1ZZ@db.example.org/shop", "postgresql://db.example.com/example", "x7x", "true",
        "mysql+pymysql://secret@db.internal/test", "https://example.org/hooks/4hXq2", "smtp.example.org",
        "Zq7!kvv-secret-9xw",
        "redis://cache.internal:6379/0", "-----BEGIN KEY-----\nabc\n-----END KEY-----", "aaak2Lq9",
        "glpat-Ab3dE6gH9",
        "http://[broken", "testament of 41 youths", "keystone-9-harbour", "development-of-a-9th-symphony",
    ],
)  # fmt: skip
def test_a_real_value_is_not_reported(value: str) -> None:
    assert names(found(with_secret("API_TOKEN", value))) <= {"short-secret"}


def test_a_thousand_random_keys_are_not_reported() -> None:
    makers: list[Callable[[], str]] = [
        lambda: secrets.token_hex(16),
        lambda: secrets.token_hex(32),
        lambda: secrets.token_urlsafe(24),
        lambda: secrets.token_urlsafe(48),
        lambda: "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(40)),
    ]
    for make in makers:
        for key in (make() for _ in range(200)):
            assert not secret_values.is_placeholder(key), key
            assert not secret_values.is_short(key), key
            assert not secret_values.weakness(key), key


def test_a_name_that_is_not_a_credential_may_have_any_value() -> None:
    given = {"MAIL_USERNAME": "test", "DB_NAME": "example", "CLIENT_ID": "default", "DB_HOST": "secret"}
    assert found(values(flask_app_secrets={**values()["flask_app_secrets"], **given})) == []


def test_a_placeholder_in_a_public_setting_counts_if_its_name_is_secret() -> None:
    given = values(flask_app_env={"API_TOKEN": "changeme", "GREETING": "example", "TITLE": "dev"})
    assert one(found(given)) == ("placeholder", ERROR, "API_TOKEN")


def test_a_placeholder_in_development_is_a_warning() -> None:
    given = values("development", flask_app_secrets={"SECRET_KEY": "dev-secret"})
    assert one(found(given)) == ("placeholder", WARNING, "SECRET_KEY")


@pytest.mark.parametrize(
    "key", ["k3vQ9rTx7Lw", "f3a94b1c77e2", "3fa9c1b27de4081f9ac2b3", "blue-horse-nine-lake-tin-cup"]
)
@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET_KEY", "SIGNING"])
def test_a_short_signing_key_is_an_error(name: str, key: str) -> None:
    given = {**with_secret(name, key), "flask_app_secret_key_variable": "SIGNING"}
    findings = found(given)
    assert one(findings) == ("short-key", ERROR, name)
    assert f"{len(key)} characters" in findings[0].what
    assert "openssl rand -hex 32" in findings[0].fix
    assert key not in findings[0].what


def test_a_short_secret_that_does_not_sign_is_not_reported() -> None:
    assert found(with_secret("API_TOKEN", "k3vQ9rTx7Lw")) == []


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("ab" * 20, "different"),
        ("aabbaabbcc" * 4, "different"),
        ("k3vQ9rTx7Lw2" * 4, "repeats"),
        ("d41d8cd98f00b204" * 2, "repeats"),
        ("0123456789abcdefghijklmnopqrstuvwxyz", "in the order"),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", "in the order"),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", "in the order"),
        ("the-shop-secret-key-of-2026-in-cologne", "words"),
        ("ilovemydogandmycatandmyhorseandmyfish", "words"),
        ("thequickbrownfoxjumpsoverthelazydog", "words"),
        ("acme-corp-shop-live-signing-2024-v1", "words"),
        ("ThisIsOurShopsKeyForCookies2023!!!!!", "words"),
        ("acmecorp_2024_webshop_live_cookie_01", "words"),
        ("deadbeefdeadbeefcafebabecafebabe0000", "repeats"),
        ("deadbeef8f3a1c27cafebabe52b1d0e94a7f", "words"),
    ],
)
def test_a_guessable_key_is_an_error(key: str, why: str) -> None:
    findings = found(with_secret("SECRET_KEY", key))
    assert one(findings) == ("weak-key", ERROR, "SECRET_KEY")
    assert why in findings[0].what
    assert key not in findings[0].what


@pytest.mark.parametrize(
    "key", ["our-shop-session-8f3a1c27e0d452b1d0e94a7f66c9b3d2", "q7xk2cookiev9mzr4tj8wp3hgn5bydl0"]
)
def test_a_random_key_that_contains_words_is_not_reported(key: str) -> None:
    assert found(with_secret("SECRET_KEY", key)) == []


_ALPHANUMERIC = string.ascii_letters + string.digits
#: Common generators of keys, from so many random bytes or characters.
GENERATORS: dict[str, Callable[[random.Random], str]] = {
    "token_hex(16)": lambda chance: chance.randbytes(16).hex(),
    "token_hex(32)": lambda chance: chance.randbytes(32).hex(),
    "token_urlsafe(24)": lambda chance: base64.urlsafe_b64encode(chance.randbytes(24)).decode(),
    "token_urlsafe(32)": lambda chance: base64.urlsafe_b64encode(chance.randbytes(32)).decode().rstrip("="),
    "openssl rand -base64 32": lambda chance: base64.b64encode(chance.randbytes(32)).decode(),
    "pwgen -s 32": lambda chance: "".join(chance.choices(_ALPHANUMERIC, k=32)),
    "lower case and digits": lambda chance: "".join(chance.choices(string.ascii_lowercase + string.digits, k=32)),
    "lower case": lambda chance: "".join(chance.choices(string.ascii_lowercase, k=40)),
    "uuid4": lambda chance: str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
}


@pytest.mark.parametrize("generator", GENERATORS)
def test_keys_from_common_generators_are_not_reported(generator: str) -> None:
    """In a measurement with 100,000 of each, none was reported; the seed repeats the same keys each time."""
    chance = random.Random(20261121)
    for key in (GENERATORS[generator](chance) for _ in range(300)):
        assert not secret_values.weakness(key), key
        assert not secret_values.is_placeholder(key), key
        assert not secret_values.is_short(key), key


# Settings


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"flask_app_debug": True}, ("debug", ERROR, "flask_app_debug")),
        ({"flask_app_gunicorn_settings": {"reload": True}},
         ("development-server", ERROR, "flask_app_gunicorn_settings")),
        ({"flask_app_service_settings": {"ExecStart": ["", "/x/flask --app wsgi run --port 80"]}},
         ("development-server", ERROR, "flask_app_service_settings")),
        ({"flask_app_release_command": "python3 -m flask run &"},
         ("development-server", ERROR, "flask_app_release_command")),
        ({"flask_app_env": {"FLASK_ENV": "production"}}, ("flask-env", ERROR, "FLASK_ENV")),
        ({"flask_app_env": {"FLASK_DEBUG": "1"}}, ("flask-debug", ERROR, "FLASK_DEBUG")),
        ({"flask_app_env": {"FLASK_DEBUG": True}}, ("flask-debug", ERROR, "FLASK_DEBUG")),
        ({"flask_app_env": {"FLASK_CONFIG": "production"}}, ("environment-by-hand", ERROR, "FLASK_CONFIG")),
        ({"flask_app_env": {"APP_RELEASE": "1"}}, ("environment-by-hand", ERROR, "APP_RELEASE")),
        ({"flask_app_env": {"APP_SETTINGS": "config.DevelopmentConfig"}}, ("other-environment", ERROR, "APP_SETTINGS")),
        ({"flask_app_env": {"APP_ENV": "staging"}}, ("other-environment", ERROR, "APP_ENV")),
        ({"flask_app_env": {"FLASK_CONFIG": "dev"}, "flask_app_environment_variable": "APP_ENV"},
         ("other-environment", ERROR, "FLASK_CONFIG")),
        ({"flask_app_env": {"ALLOWED_HOSTS": "*"}}, ("wildcard-hosts", ERROR, "ALLOWED_HOSTS")),
        ({"flask_app_env": {"SHOP_TRUSTED_HOSTS": '["*"]'}}, ("wildcard-hosts", ERROR, "SHOP_TRUSTED_HOSTS")),
        ({"flask_app_env": {"TRUSTED_HOSTS": "shop.example.org, *"}}, ("wildcard-hosts", ERROR, "TRUSTED_HOSTS")),
        ({"flask_app_nginx_trusted_proxies": ["10.0.0.0/8", "0.0.0.0/0"]},
         ("wildcard-hosts", ERROR, "flask_app_nginx_trusted_proxies")),
        *(({"flask_app_env": {name: value}}, ("flask-debug", ERROR, name)) for name, value in (
            ("DEBUG", "1"), ("APP_DEBUG", True), ("TESTING", "true"), ("FLASK_TESTING", "on"), ("APP_TESTING", "yes"))),
        ({"flask_app_env": {"GUNICORN_CMD_ARGS": "--env FLASK_CONFIG=development"}},
         ("gunicorn-by-hand", ERROR, "GUNICORN_CMD_ARGS")),
        ({"flask_app_env": {"GUNICORN_CMD_ARGS": "--workers 2 --reload"}},
         ("development-server", ERROR, "GUNICORN_CMD_ARGS")),
        ({"flask_app_gunicorn_settings": {"raw_env": ["COLOUR=red"]}},
         ("gunicorn-by-hand", ERROR, "flask_app_gunicorn_settings")),
        *(({"flask_app_service_settings": {key: value}}, ("environment-by-hand", ERROR, "FLASK_CONFIG"))
          for key, value in (
            ("Environment", "FLASK_CONFIG=development"), ("Environment", "A=b 'FLASK_CONFIG=my own'"),
            ("Environment", ["A=b", "FLASK_CONFIG=x"]), ("PassEnvironment", "HOME FLASK_CONFIG"),
            ("UnsetEnvironment", ["FLASK_CONFIG"]), ("Environment", "A=it's FLASK_CONFIG=x"))),
        ({"flask_app_service_settings": {"Environment": "DEBUG=1"}}, ("flask-debug", ERROR, "DEBUG")),
        ({"flask_app_service_settings": {"PassEnvironment": "GUNICORN_CMD_ARGS"}},
         ("gunicorn-by-hand", ERROR, "GUNICORN_CMD_ARGS")),
        ({"flask_app_tls": "none"}, ("no-tls", WARNING, "flask_app_tls")),
        ({"flask_app_tls": "self_signed"}, ("self-signed", WARNING, "flask_app_tls")),
    ],
)  # fmt: skip
def test_a_development_setting_in_production_is_reported(more: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert one(found(values(**more))) == expected


@pytest.mark.parametrize("variable", ["FLASK_ENV", "FLASK_DEBUG", "TESTING", "GUNICORN_CMD_ARGS"])
def test_a_development_setting_among_the_secrets_counts_too(variable: str) -> None:
    assert one([each for each in found(with_secret(variable, "1")) if each.id != "short-secret"])[2] == variable


def test_development_settings_are_not_reported_in_development() -> None:
    given = values(
        "development",
        flask_app_env={"FLASK_DEBUG": "1", "FLASK_ENV": "development", "ALLOWED_HOSTS": "*", "DEBUG": "1",
                       "GUNICORN_CMD_ARGS": "--reload"},
        flask_app_gunicorn_settings={"reload": True, "raw_env": ["A=b"]},
        flask_app_service_settings={"Environment": "DEBUG=1"},
        flask_app_tls="none",
    )  # fmt: skip
    assert found(given) == []


def test_gunicorn_settings_cannot_override_variables_of_the_role() -> None:
    given = values(flask_app_gunicorn_settings={"raw_env": ["FLASK_CONFIG=development"]})
    assert names(found(given)) == {"gunicorn-by-hand", "environment-by-hand"}
    given = values("development", flask_app_gunicorn_settings={"raw_env": ["FLASK_CONFIG=production"]})
    assert names(found(given)) == {"environment-by-hand"}


def test_settings_that_only_look_wrong_are_not_reported() -> None:
    given = values(
        flask_app_env={
            "FLASK_DEBUG": "0",
            "ALLOWED_HOSTS": "shop.example.org,*.example.org",
            "APP_ENV": "production",
            "APP_SETTINGS": "config.ProductionConfig",
            "STAGE": "eu-1",
            "DEBUG": "False",
            "TESTING": "off",
            "GUNICORN_CMD_ARGS": "",
        },
        flask_app_gunicorn_settings={"reload": False, "max_requests": 1000, "raw_env": []},
        flask_app_release_command="flask --app wsgi db upgrade && echo run",
        flask_app_service_settings={"MemoryDenyWriteExecute": "no", "Environment": ["MALLOC_ARENA_MAX=2", "LANG=C"]},
        flask_app_nginx_trusted_proxies=["10.0.0.0/8", "nonsense"],
        flask_app_tls="none",
    )
    assert found(given) == []


# Source


def app(top: Path, files: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Make a source with a lock; return the variables that name it."""
    for name, text in {"requirements.txt": LOCK, "wsgi.py": "app = None\n", **files}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return values(flask_app_source_directory=str(top), **more)


#: Keys used whatever the variable says, or if a variable isn't set that no inventory sets.
LITERALS = [
    'SECRET_KEY = "dev"',
    'SECRET_KEY: str = "dev"',
    'SECRET_KEY = b"dev"',
    'app.secret_key = "dev"',
    'app.config["SECRET_KEY"] = "dev"',
    'app.config.from_mapping(SECRET_KEY="dev", DATABASE="x")',
    'app.config.update({"SECRET_KEY": "dev"})',
    'class Config:\n    SECRET_KEY = "dev"',
    'def create_app():\n    app.config["SECRET_KEY"] = "dev"',
    'if not app.debug:\n    SECRET_KEY = "dev"',
    'if app.debug:\n    pass\nelse:\n    SECRET_KEY = "dev"',
    'print(SECRET_KEY := "dev")',
    'setattr(config, "SECRET_KEY", "dev")',
    'SECRET_KEY = f"dev"',
    'SECRET_KEY = "dev" + "key"',
    'SECRET_KEY = "dev".encode()',
    'SECRET_KEY = SecretStr("dev")',
    'class Settings(BaseSettings):\n    secret_key: str = Field("dev")',
    'class Settings(BaseSettings):\n    SECRET_KEY: str = Field(default="dev")',
    'class LocaleConfig:\n    SECRET_KEY = "dev"',
    'class Contest:\n    SECRET_KEY = "dev"',
    'def create_latest_app():\n    app.config["SECRET_KEY"] = "dev"',
    'if locale == "de":\n    SECRET_KEY = "dev"',
    'if live_reload:\n    pass\nelse:\n    SECRET_KEY = "dev"',
    'if env == "production":\n    SECRET_KEY = "dev"',
    'if env != "development":\n    SECRET_KEY = "dev"',
    'match env:\n    case "production":\n        SECRET_KEY = "dev"',
    'if env == "production":\n    pass\nelif env == "staging":\n    SECRET_KEY = "dev"',
    'match env:\n    case "production":\n        pass\n    case "staging":\n        SECRET_KEY = "dev"',
    'if debug:\n    raise SystemExit\nSECRET_KEY = "dev"',
    'CONFIGS = {"production": {"SECRET_KEY": "dev"}}',
    'Settings(secret_key="dev")',
    'Settings(SECRET_KEY="a bad one", TITLE="Our shop")',
    'app.config.update({"SECRET_KEY": "a bad one", "TITLE": "Our shop"})',
    'settings = dict(SECRET_KEY="dev")',
    'SECRET_KEY = os.environ["X"] if "X" in os.environ else "dev"',
    'SECRET_KEY = os.environ.get("SHOP_KEY_TEXT", "dev")',
]
#: Keys used only if SECRET_KEY isn't set; but it is.
FALLBACKS = [
    'SECRET_KEY = os.environ.get("SECRET_KEY", "dev")',
    'SECRET_KEY = os.environ.get("SECRET_KEY") or "you-will-never-guess"',
    'key = os.getenv("SECRET_KEY", default="dev")',
    'key = config("SECRET_KEY", default="dev")',
    'key = env.str("SECRET_KEY", "dev")',
    'os.environ.setdefault("SECRET_KEY", "dev")',
    'key = os.environ["SECRET_KEY"] if "SECRET_KEY" in os.environ else "dev"',
    'try:\n    key = os.environ["SECRET_KEY"]\nexcept KeyError:\n    key = "dev"',
    'def key():\n    try:\n        return os.environ["SECRET_KEY"]\n    except KeyError:\n        return "dev"',
    'DEFAULT = "dev"\nkey = os.environ.get("SECRET_KEY", DEFAULT)',
    'DEFAULT = "dev"\nkey = os.environ.get("SECRET_KEY") or DEFAULT',
]
UNASKED = {"flask_app_inspect": False}


def key_in_source(top: Path, line: str, **more: Any) -> tuple[str, str, str]:
    findings = found(app(top, {"shop/config.py": f"import os\n{line}\n"}, **more))
    number = 2 + line.count("\n")
    assert f"shop/config.py:{number}" in findings[0].what
    assert "'dev'" not in findings[0].what
    return one(findings)


@pytest.mark.parametrize("line", [*LITERALS, *FALLBACKS])
def test_a_key_in_the_source_is_a_warning_if_workers_prove_the_given_key(tmp_path: Path, line: str) -> None:
    assert key_in_source(tmp_path, line) == ("fallback-key", WARNING, "shop/config.py")


@pytest.mark.parametrize("line", LITERALS)
def test_a_key_in_the_source_is_an_error_if_the_given_key_is_unproved(tmp_path: Path, line: str) -> None:
    assert key_in_source(tmp_path, line, **UNASKED) == ("fallback-key", ERROR, "shop/config.py")


@pytest.mark.parametrize("line", FALLBACKS)
def test_an_unused_fallback_key_is_never_an_error(tmp_path: Path, line: str) -> None:
    assert key_in_source(tmp_path, line, **UNASKED) == ("fallback-key", WARNING, "shop/config.py")


@pytest.mark.parametrize("line", FALLBACKS)
@pytest.mark.parametrize(
    "more",
    [
        {"flask_app_secrets": {"DATABASE_URL": "sqlite:////x"}, "flask_app_required_secrets": []},
        {"flask_app_secrets_as": "credentials"},
    ],
)
def test_a_fallback_key_in_use_is_an_error(tmp_path: Path, line: str, more: dict[str, Any]) -> None:
    assert key_in_source(tmp_path, line, **UNASKED, **more) == ("fallback-key", ERROR, "shop/config.py")


def test_a_key_that_no_worker_proves_is_an_error(tmp_path: Path) -> None:
    assert key_in_source(tmp_path, 'JWT_SECRET_KEY = "dev"') == ("fallback-key", ERROR, "shop/config.py")
    given = with_secret("JWT_SECRET_KEY", OTHER_KEY)
    line = 'JWT_SECRET_KEY = os.environ.get("JWT_SECRET_KEY", "dev")'
    found_there = key_in_source(tmp_path, line, flask_app_secrets=given["flask_app_secrets"])
    assert found_there == ("fallback-key", WARNING, "shop/config.py")


#: Passwords and tokens as they appear in code.
CREDENTIALS = [
    'MAIL_PASSWORD = "hunter2-9"',
    'MAIL_PASSWORD = "Sommer!"',
    'API_TOKEN = "ghp_" "16C7e42F292c6912E7710c838347Ae178B4a"',
    'DB_PASSWORD = "postgres"',
    'ADMIN_PASSWORD = "admin"',
    'CLIENT_SECRET = "8f14e45fceea167a"',
    'app.config["MAIL_PASSWORD"] = "hunter2-9"',
    'app.config.update(MAIL_PASSWORD="hunter2-9")',
    'CONFIG = {"MAIL_PASSWORD": "hunter2-9"}',
    'class Settings(BaseSettings):\n    MAIL_PASSWORD: str = "hunter2-9"',
    'class Settings(BaseSettings):\n    mail_password: str = "hunter2-9"',
    'MAIL_PASSWORD = os.environ.get("MAIL_PASSWORD", "hunter2-9")',
    'password = os.environ.get("MAIL_PASSWORD") or "hunter2-9"',
    'password = os.getenv("MAIL_PASSWORD", "password")',
    'SQLALCHEMY_DATABASE_URI = os.environ.get("SHOP_URL", "postgresql://shop:hunter2@localhost/shop")',
    'if not os.environ.get("SHOP_URL"):\n    url = "mysql+pymysql://shop:hunter2@db.internal/shop"',
    'engine = create_engine("oracle://shop:hunter2@db.internal/shop")',
    'URI = f"ftp://shop:hunter2@{host}/shop"',
    'CELERY = {"broker_url": "redis://:hunter2@cache.internal/0"}',
    'broker = "amqp://shop:hunter2@" + host',
    'db = psycopg.connect(host="db.internal", password="hunter2-9")',
]


@pytest.mark.parametrize("line", CREDENTIALS)
def test_a_password_or_token_in_the_source_is_found_with_its_line(tmp_path: Path, line: str) -> None:
    findings = found(app(tmp_path, {"shop/config.py": f"import os\n{line}\n"}, **UNASKED))
    assert one(findings) == ("literal-secret", ERROR, "shop/config.py")
    assert f"shop/config.py:{2 + line.count(chr(10))}" in findings[0].what
    assert "hunter2" not in findings[0].what + findings[0].fix
    settings = {
        "flask_app_debug": True,
        "flask_app_gunicorn_settings": {"reload": True},
        "flask_app_environment": "development",
    }
    in_development = found(app(tmp_path, {}, **UNASKED, **settings))
    assert one(in_development) == ("literal-secret", WARNING, "shop/config.py")


@pytest.mark.parametrize(
    "line",
    [
        'MAIL_PASSWORD = os.environ.get("MAIL_PASSWORD", "hunter2-9")',
        'MAIL_PASSWORD = os.environ.get("MAIL_PASSWORD") or "hunter2-9"',
        'try:\n    MAIL_PASSWORD = os.environ["MAIL_PASSWORD"]\nexcept KeyError:\n    MAIL_PASSWORD = "hunter2-9"',
        'url = os.environ.get("MAIL_PASSWORD", "smtp://shop:hunter2@mail.internal")',
    ],
)
def test_a_password_in_the_source_is_a_warning_if_another_is_given(tmp_path: Path, line: str) -> None:
    for more in ({"flask_app_secrets": with_secret("MAIL_PASSWORD", "Tr0ub4dor&3")["flask_app_secrets"]},
                 {"flask_app_env": {"MAIL_PASSWORD": "Tr0ub4dor&3"}}):  # fmt: skip
        findings = found(app(tmp_path, {"shop/config.py": f"import os\n{line}\n"}, **UNASKED, **more))
        assert one(findings) == ("literal-secret", WARNING, "shop/config.py")


def test_a_check_switched_off_by_acceptance_proves_nothing(tmp_path: Path) -> None:
    both = 'SECRET_KEY = "dev"\nSQLALCHEMY_DATABASE_URI = "postgresql://shop:hunter2@db.internal/shop"\n'
    given = app(tmp_path, {"config.py": both}, flask_app_accepted_findings=["other-key", "other-database:DATABASE_URL"])
    severities = {finding.id: finding.severity for finding in found(given)}
    assert severities == {"fallback-key": ERROR, "literal-secret": ERROR}
    key = app(tmp_path / "other", {"config.py": 'SECRET_KEY = "dev"\n'})
    assert one(found(key))[1] == WARNING
    without = {"flask_app_secrets": {"DATABASE_URL": "sqlite:///x"}, "flask_app_required_secrets": []}
    assert one(found({**key, **without}))[:2] == ("fallback-key", ERROR)


def test_a_database_address_is_a_warning_if_workers_prove_the_given_one(tmp_path: Path) -> None:
    given = app(tmp_path, {"config.py": 'SQLALCHEMY_DATABASE_URI = "postgresql://shop:hunter2@db.internal/shop"\n'})
    assert one(found(given)) == ("literal-secret", WARNING, "config.py")
    assert one(found({**given, **UNASKED})) == ("literal-secret", ERROR, "config.py")
    without = {"flask_app_secrets": {"SECRET_KEY": KEY}, "flask_app_required_secrets": ["SECRET_KEY"]}
    assert one(found({**given, **without})) == ("literal-secret", ERROR, "config.py")


@pytest.mark.parametrize(
    "line",
    [
        'MAIL_PASSWORD = os.environ["MAIL_PASSWORD"]',
        'MAIL_PASSWORD = os.environ.get("MAIL_PASSWORD", "")',
        "MAIL_PASSWORD = None",
        'RESET_PASSWORD = "reset_password.html"',
        'RESET_PASSWORD = "auth.reset_password"',
        'RESET_PASSWORD = "/reset"',
        'FORGOT_PASSWORD = "forgot"',
        'CHANGE_PASSWORD = "change-password"',
        'INVALID_TOKEN = "The token is invalid, 2"',
        'INVALID_TOKEN = "invalid_token"',
        'CSRF_TOKEN = "csrf_token"',
        'AUTH_TOKEN = "X-Auth-Token"',
        'ACCESS_TOKEN = "access"',
        'password = "hunter2-9"',
        'token = "hunter2-9"',
        'form = {"password": "hunter2-9"}',
        'SECURITY_PASSWORD_SALT = "email-confirm-2"',
        'CACHE_KEY = "front-2"',
        'form.MAIL_PASSWORD = PasswordField("Password")',
        'token = request.args.get("API_TOKEN", "none-2")',
        'SQLALCHEMY_DATABASE_URI = "sqlite:///shop.db"',
        'SQLALCHEMY_DATABASE_URI = "postgresql://shop@db.internal/shop"',
        'API = "https://api.example.org:8443/v1"',
        '"postgresql://shop:hunter2@db.internal/shop"',
        '"""As postgresql://shop:hunter2@db.internal/shop"""',
        'raise ValueError("write postgresql://shop:hunter2@db.internal/shop")',
        'url = f"postgresql://{user}:{password}@{host}/shop"',
        'url = "postgresql://%s:%s@db.internal/shop" % pair',
        'url = "postgresql://{}:{}@db.internal/shop".format(*pair)',
        'url = "postgresql://shop:<password>@db.internal/shop"',
        'default = "postgresql://user:pass@host/shop"',
        'default = "postgresql://shop:hunter2@db.example.org:5432/shop"',
        'url: str = Field(description="postgresql://shop:hunter2@db.internal/shop")',
        'class DevelopmentConfig:\n    DATABASE = "postgresql://shop:hunter2@localhost/shop"',
        'if app.debug:\n    MAIL_PASSWORD = "hunter2-9"',
        'class Setting(StrEnum):\n    MAIL_PASSWORD = "mail-2"',
        'HELP = {"MAIL_PASSWORD": "of the mail server 2", "API_TOKEN": "of the API 2"}',
        'secret_key = "hunter2-9"',
        'def upload():\n    secret_key = "hunter2-9"\n    return sign(secret_key)',
        's3.secret_key = "hunter2-9"',
        'keys["secret_key"] = "hunter2-9"',
        'class Bucket:\n    access_key = "shop"\n    secret_key = "hunter2-9"',
    ],
)
def test_text_that_only_looks_like_a_password_is_not_reported(tmp_path: Path, line: str) -> None:
    for more in ({}, UNASKED):
        assert found(app(tmp_path, {"shop/config.py": f"import os\n{line}\n"}, **more)) == []


@pytest.mark.parametrize(
    "line",
    [
        'secret_key = "dev"\napp.secret_key = secret_key',
        'def create_app():\n    secret_key = "dev"\n    app.secret_key = secret_key',
        'shop = Flask(__name__)\nshop.secret_key = "dev"',
        'shop = create_app()\nshop.secret_key = "dev"',
        'self.app.secret_key = "dev"',
        'class Settings(BaseSettings):\n    secret_key: str = "dev"',
    ],
)
def test_a_flask_key_is_found_under_any_name(tmp_path: Path, line: str) -> None:
    assert key_in_source(tmp_path, line, **UNASKED) == ("fallback-key", ERROR, "shop/config.py")


@pytest.mark.parametrize(
    "line",
    [
        'SECRET_KEY = os.environ["SECRET_KEY"]',
        'SECRET_KEY = os.environ.get("SECRET_KEY")',
        'SECRET_KEY = os.environ.get("SECRET_KEY", "")',
        'SECRET_KEY = os.environ.get("SECRET_KEY", None)',
        'SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_hex()',
        '# SECRET_KEY = "dev"',
        '"""Set SECRET_KEY = "dev" for a try."""',
        'SECRET_KEY = "SECRET_KEY"',
        'SECRET_KEY = "APP_SECRET_KEY"',
        'missing = [key for key in ("SECRET_KEY", "DATABASE_URL") if key not in values]',
        'class Development(Config):\n    SECRET_KEY = "dev"',
        'class TestConfig:\n    SECRET_KEY = "test"',
        'if app.debug:\n    SECRET_KEY = "dev"',
        'if os.environ["FLASK_CONFIG"] == "development":\n    SECRET_KEY = "dev"',
        'create_app({"TESTING": True, "SECRET_KEY": "test"})',
        'if __name__ == "__main__":\n    app.secret_key = "dev"',
        'raise RuntimeError("SECRET_KEY must be set")',
        'log.info("SECRET_KEY", "is set")',
        'SECRET_KEY_FALLBACKS = ["x"]',
        'CONFIGS = {"development": {"SECRET_KEY": "dev"}, "production": {"SECRET_KEY": os.environ["SECRET_KEY"]}}',
        'CONFIGS = dict(development=dict(SECRET_KEY="dev"))',
        'CONFIGS["development"] = {"SECRET_KEY": "dev"}',
        'match env:\n    case "development" | "testing":\n        SECRET_KEY = "dev"',
        'match env:\n    case "production":\n        pass\n    case _:\n        SECRET_KEY = "dev"',
        'if env != "production":\n    SECRET_KEY = "dev"',
        'if env not in ("staging", "production"):\n    SECRET_KEY = "dev"',
        'if env in ("development", "testing"):\n    SECRET_KEY = "dev"',
        'if env == "production":\n    pass\nelse:\n    SECRET_KEY = "dev"',
        'if not is_production():\n    SECRET_KEY = "dev"',
        'if os.getenv("FLASK_DEBUG") == "1":\n    SECRET_KEY = "dev"',
        'if app.debug or app.testing:\n    SECRET_KEY = "dev"',
        'if key is None and env == "development":\n    SECRET_KEY = "dev"',
        'def key():\n    if env == "production":\n        raise KeyError\n    app.secret_key = "dev"',
        'SECRET_KEY = "dev" if app.debug else os.environ["SECRET_KEY"]',
        'class UnitTestSettings:\n    SECRET_KEY = "dev"',
        'class Setting(StrEnum):\n    SECRET_KEY = "secret_key"',
        'class Setting(enum.Enum):\n    SECRET_KEY = "where"',
        'HELP = {"SECRET_KEY": "signs the cookies", "DATABASE_URL": "where the data is"}',
        'describe(SECRET_KEY="signs the cookies", DATABASE_URL="where the data is")',
        'NAMES = {"SECRET_KEY": "secret_key"}',
        'Minio("s3.example.org", access_key="shop", secret_key="hunter2")',
        'store = S3Config(secret_key="hunter2")',
        'store = {"access_key": "shop", "secret_key": "hunter2"}',
        'said = "set" if "SECRET_KEY" in os.environ else "missing"',
        'SECRET_KEY = env.str("SHOP_KEY_TEXT")',
        'SECRET_KEY = parser.get("flask", "key")',
        'SECRET_KEY = Path("/run/key").read_text().strip()',
        'class Settings(BaseSettings):\n    secret_key: str = Field(alias="APP_SECRET", min_length=32)',
    ],
)
def test_a_source_that_only_mentions_the_key_is_not_reported(tmp_path: Path, line: str) -> None:
    assert found(app(tmp_path, {"shop/config.py": f"import os\n{line}\n"})) == []


@pytest.mark.parametrize(
    "name", ["tests/test_app.py", "shop/tests/settings.py", "conftest.py", "config_dev.py", "docs/conf.py", "notes.txt"]
)
def test_a_key_in_a_file_not_used_in_production_is_not_reported(tmp_path: Path, name: str) -> None:
    assert found(app(tmp_path, {name: 'SECRET_KEY = "dev"\n'})) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("settings.toml", '[default]\nSECRET_KEY = "dev"\n', 2),
        ("shop/config.json", '{\n  "DEBUG": false,\n  "SECRET_KEY": "dev"\n}\n', 3),
        ("app_config.ini", "[flask]\nSECRET_KEY = dev\n", 2),
    ],
)
def test_a_key_in_a_settings_file_is_reported(tmp_path: Path, name: str, text: str, line: int) -> None:
    findings = found(app(tmp_path, {name: text}, **UNASKED))
    assert one(findings) == ("fallback-key", ERROR, name)
    assert f"({name}:{line})" in findings[0].what
    assert one(found(app(tmp_path, {}))) == ("fallback-key", WARNING, name)
    other = text.replace("SECRET_KEY", "MAIL_PASSWORD").replace("dev", "hunter2-9")
    assert one(found(app(tmp_path, {name: other}))) == ("literal-secret", ERROR, name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.toml", '[development]\nSECRET_KEY = "dev"\n'),
        ("settings.toml", '[default]\nSECRET_KEY = "@format {env[SECRET_KEY]}"\n# SECRET_KEY = "dev"\n'),
        ("config.json", '{\n  "development": {\n    "SECRET_KEY": "dev"\n  }\n}\n'),
        ("config.json", '{\n  "SECRET_KEY": null,\n  "SECRET_KEY": ""\n}\n'),
        ("config.ini", "[s3]\nsecret_key = hunter2\n"),
        ("config.ini", "[flask]\nSECRET_KEY = ${SECRET_KEY}\n"),
        ("test_config.json", '{\n  "SECRET_KEY": "dev"\n}\n'),
        ("package.json", '{\n  "SECRET_KEY": "dev"\n}\n'),
        ("config.ini", "[mail]\nMAIL_PASSWORD = ${MAIL_PASSWORD}\nRESET_PASSWORD = /reset\n"),
        ("config.toml", '[development]\nMAIL_PASSWORD = "hunter2-9"\n'),
        ("tests/config.json", '{\n  "SECRET_KEY": "dev"\n}\n'),
    ],
)
def test_a_settings_file_without_a_production_key_is_not_reported(tmp_path: Path, name: str, text: str) -> None:
    assert found(app(tmp_path, {name: text})) == []


@pytest.mark.parametrize("inside", ["examples/shop", "docs/tests/.hidden/shop"])
def test_an_app_below_an_examples_or_tests_directory_is_still_checked(tmp_path: Path, inside: str) -> None:
    given = app(tmp_path / inside, {"config.py": 'SECRET_KEY = "dev"\n', "examples/config.py": 'SECRET_KEY = "dev"\n'})
    assert one(found(given)) == ("fallback-key", WARNING, "config.py")
    whole = {**given, "flask_app_source_directory": str(tmp_path), "flask_app_source_subdirectory": inside}
    assert one(found(whole)) == ("fallback-key", WARNING, "config.py")


def test_a_key_in_a_git_ignored_file_is_not_reported(tmp_path: Path) -> None:
    assert found(app(tmp_path, {"instance/config.py": 'SECRET_KEY = "dev"\n', ".gitignore": "instance/\n"})) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('SECRET_KEY = "dev"', {"fallback-key"}),
        ('app.config["SECRET_KEY"] = "dev"', {"fallback-key"}),
        ('key = os.environ.get("SECRET_KEY", "dev")', {"fallback-key"}),
        ('MAIL_PASSWORD = "hunter2-9"', {"literal-secret"}),
        ('url = "postgresql://shop:hunter2@db.internal/shop"', {"literal-secret"}),
        ('secret_key = "dev"', set()),
        ("SESSION_COOKIE_SECURE = False", {"insecure-cookie"}),
        ('# SECRET_KEY = "dev"', set()),
        ('SECRET_KEY = os.environ["SECRET_KEY"]', set()),
    ],
)
def test_a_file_for_a_newer_python_is_checked_line_by_line(tmp_path: Path, line: str, expected: set[str]) -> None:
    assert names(found(app(tmp_path, {"config.py": f"{line}\nthis is: no ( python\n"}))) == expected


def test_a_key_in_the_source_is_a_warning_in_development(tmp_path: Path) -> None:
    app(tmp_path, {"config.py": 'SECRET_KEY = "dev"\n'})
    given = values("development", flask_app_source_directory=str(tmp_path))
    assert one(found(given)) == ("fallback-key", WARNING, "config.py")


@pytest.mark.parametrize("flag", python.COOKIE_FLAGS)
def test_a_false_cookie_flag_is_a_warning_outside_development(tmp_path: Path, flag: str) -> None:
    given = app(tmp_path, {"config.py": f"class Config:\n    {flag} = False\n"})
    assert one(found(given)) == ("insecure-cookie", WARNING, "config.py")
    assert found({**given, **{name: values("development")[name] for name in (
        "flask_app_environment", "flask_app_debug")}}) == []  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "SESSION_COOKIE_SECURE = True\n",
        "class Development:\n    SESSION_COOKIE_SECURE = False\n",
        "class A:\n    SESSION_COOKIE_SECURE = False\nclass Production(A):\n    SESSION_COOKIE_SECURE = True\n",
        'SESSION_COOKIE_SECURE = os.environ["FLASK_CONFIG"] != "development"\n',
        "class A:\n    SESSION_COOKIE_SECURE = False\nclass Production(A):\n    SESSION_COOKIE_SECURE = not DEBUG\n",
    ],
)
def test_a_cookie_flag_set_for_production_is_not_reported(tmp_path: Path, text: str) -> None:
    assert found(app(tmp_path, {"config.py": text})) == []


UV_LOCK = """
version = 1
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "gunicorn" }, { name = "tools", extra = ["web"] }]
[package.dev-dependencies]
dev = [{ name = "DEV" }]
[[package]]
name = "gunicorn"
[[package]]
name = "tools"
[package.optional-dependencies]
web = [{ name = "WEB" }]
[[package]]
name = "flask-debugtoolbar"
"""


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        ("requirements.txt", LOCK + f"Flask_DebugToolbar==0.16.0 \\\n    --hash=sha256:{'0' * 64}\n"),
        ("uv.lock", UV_LOCK.replace("WEB", "flask-debugtoolbar")),
    ],
)
def test_a_debug_toolbar_among_the_packages_is_an_error_outside_development(
    tmp_path: Path, lock: str, text: str
) -> None:
    given = app(tmp_path, {lock: text}, flask_app_requirements=lock)
    assert one(found(given)) == ("debug-toolbar", ERROR, "flask-debugtoolbar")
    assert found({**given, **{name: values("development")[name] for name in (
        "flask_app_environment", "flask_app_debug")}}) == []  # fmt: skip


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        ("requirements.txt", LOCK + "    # via flask-debugtoolbar\nflask==3.1.0\n"),
        ("uv.lock", UV_LOCK.replace("DEV", "flask-debugtoolbar")),
        ("uv.lock", "no toml ["),
    ],
)
def test_a_debug_toolbar_that_is_not_installed_is_not_reported(tmp_path: Path, lock: str, text: str) -> None:
    assert found(app(tmp_path, {lock: text}, flask_app_requirements=lock)) == []


# How it starts


MAIN_GUARD = 'if __name__ == "__main__":\n    '


def at_start(top: Path, text: str, wsgi: str = "wsgi:app", **files: str) -> list[Reported]:
    """Return the findings for an app whose wsgi.py ends with ``text``."""
    begin = "import os\nfrom flask import Flask\napp = Flask(__name__)\n"
    others = {f"{name}.py": content for name, content in files.items()}
    return found(app(top, {"wsgi.py": begin + text + "\n", **others}, flask_app_wsgi=wsgi))


@pytest.mark.parametrize(
    "text",
    [
        "app.run()",
        "app.run(debug=True)",
        "if True:\n    app.run(host='0.0.0.0')",
        "try:\n    app.run()\nfinally:\n    pass",
        MAIN_GUARD + "pass\nelse:\n    app.run()",
        "def main():\n    app.run()\nmain()",
        "shop = create_app()\nshop.run()",
        "create_app().run()",
        "socketio.run(app)",
        "from waitress import serve\nserve(app, port=80)",
        "werkzeug.serving.run_simple('localhost', 80, app)",
        "gevent.pywsgi.WSGIServer(('', 80), app).serve_forever()",
    ],
)
def test_a_server_that_starts_at_import_is_an_error(tmp_path: Path, text: str) -> None:
    findings = at_start(tmp_path, text)
    assert one(findings) == ("server-at-import", ERROR, "wsgi.py")
    assert "flask --app wsgi:app run --debug" in findings[0].fix


def test_a_server_that_an_imported_module_starts_is_an_error(tmp_path: Path) -> None:
    shop = {
        "shop/__init__": "from .views import pages",
        "shop/views": "from shop import site",
        "shop/site": "app.run()",
    }
    assert one(at_start(tmp_path, "from shop import app as _", **shop)) == ("server-at-import", ERROR, "shop/site.py")
    assert at_start(tmp_path, "", run="from wsgi import app\napp.run()") == []


@pytest.mark.parametrize(
    "text",
    [
        MAIN_GUARD + "app.run()",
        MAIN_GUARD + "app.run(debug=False)",
        MAIN_GUARD + "app.run(debug=os.environ.get('DEBUG'))",
        "def main():\n    app.run()",
        "if app.debug:\n    app.run()",
        "loop.run()",
        "subprocess.run(['ls'])",
        "cli.run()",
    ],
)
def test_a_server_not_started_at_import_is_not_reported(tmp_path: Path, text: str) -> None:
    assert at_start(tmp_path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        MAIN_GUARD + "app.run(debug=True)",
        MAIN_GUARD + "socketio.run(app, debug=True)",
        "def main():\n    app.run(debug=True)\n" + MAIN_GUARD + "main()",
    ],
)
def test_a_manually_started_debug_server_is_a_warning(tmp_path: Path, text: str) -> None:
    findings = at_start(tmp_path, text)
    assert one(findings) == ("debug-server", WARNING, "wsgi.py")
    assert "flask --app wsgi:app run --debug" in findings[0].fix
    assert one(at_start(tmp_path, "", run="from wsgi import app\napp.run(debug=True)"))[0] == "debug-server"


def test_a_manually_started_server_is_fine_in_development(tmp_path: Path) -> None:
    at_start(tmp_path, MAIN_GUARD + "app.run(debug=True)")
    assert found(values("development", flask_app_source_directory=str(tmp_path))) == []


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({"app.py": "from flask import Flask\napp = Flask(__name__)\n"}, "flask_app_wsgi: app:app"),
        ({"shop/__init__.py": "def create_app(test_config=None):\n    pass\n"},
         'flask_app_wsgi: "shop:create_app()"'),
        ({"app/__init__.py": "def create_app():\n    pass\n", "blog.py": "import app\napp = app.create_app()\n"},
         "flask_app_wsgi: blog:app"),
        ({"notes.txt": "app"}, "flask_app_wsgi"),
    ],
)  # fmt: skip
def test_a_missing_wsgi_module_is_an_error_that_suggests_the_existing_one(
    tmp_path: Path, files: dict[str, str], fix: str
) -> None:
    given = app(tmp_path, files)
    (tmp_path / "wsgi.py").unlink()
    findings = found(given)
    assert one(findings) == ("wsgi-app", ERROR, "flask_app_wsgi")
    assert fix in findings[0].fix


def test_a_missing_wsgi_object_is_an_error_that_suggests_the_existing_one(tmp_path: Path) -> None:
    findings = found(app(tmp_path, {"wsgi.py": "import shop\napplication = shop.create_app()\n", "shop.py": ""}))
    assert one(findings) == ("wsgi-app", ERROR, "flask_app_wsgi")
    assert "flask_app_wsgi: wsgi:application" in findings[0].fix


@pytest.mark.parametrize(
    ("wsgi", "files", "more"),
    [
        ("wsgi:app", {"wsgi.py": "from shop import app\n"}, {}),
        ("wsgi:app", {"wsgi.py": "from shop import *\n"}, {}),
        ("wsgi:app", {"wsgi.py": "if True:\n    import shop as app\n"}, {}),
        ("wsgi:app", {"wsgi.py": "for app in ():\n    pass\n"}, {}),
        ("wsgi:app", {"wsgi.py": "def f():\n    global app\n    app = 1\nf()\n"}, {}),
        ("wsgi:app", {"wsgi.py": "globals()['app'] = 1\n"}, {}),
        ("wsgi:app", {"wsgi.py": "not python (\n"}, {}),
        ("wsgi:create_app()", {"wsgi.py": "def create_app():\n    pass\n"}, {}),
        ("wsgi", {"wsgi.py": "application = 1\n"}, {}),
        ("shop.web:app", {"src/shop/web.py": "app = 1\n"}, {}),
        ("shop.web:app", {"shop/web/__init__.py": "app = 1\n"}, {}),
        ("elsewhere:app", {}, {"flask_app_gunicorn_settings": {"pythonpath": "lib"}}),
        ("elsewhere:app", {}, {"flask_app_gunicorn_settings": {"wsgi_app": "wsgi:app"}}),
    ],
)
def test_an_existing_or_possible_wsgi_object_is_not_reported(
    tmp_path: Path, wsgi: str, files: dict[str, str], more: dict[str, Any]
) -> None:
    assert found(app(tmp_path, files, flask_app_wsgi=wsgi, **more)) == []


def test_an_instance_folder_in_the_source_is_a_warning(tmp_path: Path) -> None:
    given = app(tmp_path, {"instance/.gitkeep": "", "instance/shop.sqlite": "x"})
    assert one(found(given)) == ("shipped-instance", WARNING, "instance")
    (tmp_path / ".gitignore").write_text("instance/\n")
    assert found(given) == []
    assert found(app(tmp_path, {"shop/instance/x.py": "", "instances/x": ""})) == []


# Addresses of services


@pytest.mark.parametrize(
    "text",
    [
        "def ip():\n    return request.remote_addr",
        "def ip():\n    return flask.request.remote_addr",
        "def ip(request):\n    return request.environ['REMOTE_ADDR']",
        "def ip(environ):\n    return environ.get('REMOTE_ADDR')",
        "from flask_limiter.util import get_remote_address\nlimiter = Limiter(get_remote_address, app=app)",
        "import flask_limiter.util\nkey = flask_limiter.util.get_remote_address",
    ],
)
def test_using_the_client_address_without_proxyfix_is_a_warning(tmp_path: Path, text: str) -> None:
    findings = at_start(tmp_path, "import views", views=text)
    assert one(findings) == ("client-address", WARNING, "views.py")
    assert "ProxyFix" in findings[0].fix
    fixed = "from werkzeug.middleware.proxy_fix import ProxyFix\napp.wsgi_app = ProxyFix(app.wsgi_app)"
    assert at_start(tmp_path, fixed, views=text) == []


@pytest.mark.parametrize(
    "text",
    [
        "def ip():\n    return request.access_route[0]",
        "def ip():\n    return request.headers.get('X-Forwarded-For', request.remote_addr)",
        "def fix(environ):\n    environ['REMOTE_ADDR'] = environ['HTTP_X_FORWARDED_FOR']",
        "class Visit(db.Model):\n    remote_addr = db.Column(db.String)",
        "def last(visit):\n    return visit.remote_addr",
        "# request.remote_addr",
    ],
)
def test_correct_use_of_the_client_address_is_not_reported(tmp_path: Path, text: str) -> None:
    assert at_start(tmp_path, "import views", views=text) == []


def test_a_source_that_is_not_here_is_not_reported() -> None:
    assert found(values(flask_app_source_directory="", flask_app_source_git_url="https://example.org/x.git")) == []
    assert found(values(flask_app_source_directory="/nowhere/at/all")) == []


# Inventories


MAIN: dict[str, Any] = {
    "flask_app_secrets": {
        "SECRET_KEY": "{{ vault_flask_app_secret_key }}",
        "DATABASE_URL": "{{ vault_flask_app_database_url }}",
    }
}
SQLITE = "sqlite:////var/lib/shop/shop.db"


def vault(content: Mapping[str, Any], lib: VaultLib = PASSWORD) -> str:
    return str(lib.encrypt(yaml.safe_dump(dict(content))).decode())


def inventory(top: Path, environment: str, key: str = OTHER_KEY, database: str = SQLITE, **more: Any) -> Path:
    """Make an inventory like the repository's."""
    place = top / "inventories" / environment
    group = place / "group_vars/flask_app"
    group.mkdir(parents=True)
    (place / "hosts.yml").write_text("flask_app:\n  hosts:\n    app1.example.org:\n")
    (group / "main.yml").write_text(yaml.safe_dump({"flask_app_environment": environment, **MAIN, **more}))
    held = {"vault_flask_app_secret_key": key, "vault_flask_app_database_url": database}
    (group / "vault.yml").write_text(vault(held))
    return place


def production(top: Path, database: str = SQLITE) -> tuple[dict[str, Any], Path]:
    place = inventory(top, "production", KEY, database)
    return values(flask_app_secrets={"SECRET_KEY": KEY, "DATABASE_URL": database}), place


def test_environments_with_their_own_secrets_are_not_reported(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging")
    inventory(tmp_path, "development", key="dev")
    assert found(given, place) == []


def test_a_secret_shared_with_another_environment_is_an_error(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", key=KEY)
    findings = found(given, place)
    assert one(findings) == ("shared-secret", ERROR, "SECRET_KEY")
    assert "inventories/staging" in findings[0].what
    assert KEY not in str(findings)


def test_a_shared_secret_under_another_name_is_an_error(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", flask_app_env={"JWT_KEY": KEY})
    findings = found(given, place)
    assert one(findings) == ("shared-secret", ERROR, "SECRET_KEY")
    assert "as JWT_KEY" in findings[0].what


def test_a_shared_database_password_is_an_error(tmp_path: Path) -> None:
    given, place = production(tmp_path, "postgresql://shop:hunter22@db1.internal/shop")
    inventory(tmp_path, "staging", database="postgresql://shop:hunter22@db2.internal/shop")
    findings = found(given, place)
    assert one(findings) == ("shared-secret", ERROR, "DATABASE_URL")
    assert "hunter22" not in str(findings)


SAME = [
    ("postgresql://a:pw1@db.internal/shop", "postgresql://b:pw2@db.internal/shop"),
    ("postgresql://a:pw1@db.internal/shop", "postgresql+psycopg://b:pw2@DB.internal:5432/shop?sslmode=require"),
    ("postgres://db.internal/shop", "host=db.internal dbname=shop user=x"),
    ("mysql+pymysql://a@db.internal/shop", "mariadb://db.internal:3306/shop"),
    ("redis://cache.internal", "rediss://cache.internal:6379/0"),
    ("mongodb://m1.internal,m2.internal/shop", "mongodb+srv://m2.internal,m1.internal/shop"),
    ("amqp://broker.internal/", "amqp://broker.internal:5672//"),
    ("postgresql:///shop?host=db.internal", "postgresql://db.internal/shop"),
    ("postgresql://db.internal/shop?options=-csearch_path%3Dlive", "postgresql://db.internal/shop?schema=live"),
    ("postgresql://db.internal/shop?options=-c%20search_path=live,public",
     "host=db.internal dbname=shop options='-c search_path=live'"),
    ("postgresql://db.internal/shop?currentSchema=live", "postgresql://db.internal/shop?options=--search_path%3Dlive"),
    ("postgresql://db.internal/shop", "postgresql://db.internal/shop?options=-csearch_path%3Dpublic"),
    ("postgresql://db.internal/shop", 'postgresql://db.internal/shop?options=-csearch_path%3D"$user",public'),
    ("postgresql://db.internal/shop?options=-cstatement_timeout%3D5000", "postgresql://db.internal/shop"),
]  # fmt: skip
DIFFERENT = [
    *(
        (f"postgresql://db.internal/shop?{live}", f"postgresql://db.internal/shop?{test}")
        for live, test in (
            ("options=-csearch_path%3Dlive", "options=-csearch_path%3Dtest"),
            ("options=-c%20search_path%3Dlive", "options=-c%20search_path%3Dtest,live"),
            ("schema=live", "schema=test"),
            ("currentSchema=live", "currentSchema=test"),
            ("search_path=live", "search_path=test"),
            ("options=--search_path%3Dlive", ""),
        )
    ),
    (
        "host=db.internal dbname=shop options='-c search_path=live'",
        "host=db.internal dbname=shop options='-c search_path=test'",
    ),
    ("postgresql://db.internal/shop", "postgresql://db.internal/shop_staging"),
    ("postgresql://db1.internal/shop", "postgresql://db2.internal/shop"),
    ("postgresql://db.internal:5432/shop", "postgresql://db.internal:5433/shop"),
    ("postgresql://localhost/shop", "postgresql://localhost/shop"),
    ("postgresql://127.0.0.1:5432/shop", "postgresql://127.0.0.1:5432/shop"),
    ("postgresql://[::1]:5432/shop", "postgresql://[::1]:5432/shop"),
    ("postgresql:///shop", "postgresql:///shop"),
    ("postgresql:///shop?host=/run/postgresql", "postgresql:///shop?host=/run/postgresql"),
    (SQLITE, SQLITE),
    ("sqlite:///shop.db", "sqlite:///shop.db"),
    ("redis://cache.internal/0", "redis://cache.internal/1"),
    ("https://api.example.org/v1", "https://api.example.org/v1"),
]


@pytest.mark.parametrize(("mine", "other"), SAME)
def test_a_database_shared_with_another_environment_is_an_error(tmp_path: Path, mine: str, other: str) -> None:
    given, place = production(tmp_path, mine)
    inventory(tmp_path, "staging", database=other)
    findings = found(given, place)
    assert one(findings) == ("shared-database", ERROR, "DATABASE_URL")
    assert "internal" not in findings[0].what


@pytest.mark.parametrize(("mine", "other"), DIFFERENT)
def test_a_different_database_is_not_reported(tmp_path: Path, mine: str, other: str) -> None:
    given, place = production(tmp_path, mine)
    inventory(tmp_path, "staging", database=other)
    assert found(given, place) == []


def test_a_database_described_in_parts_is_found(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    parts = {"DB_HOST": "db.internal", "DB_NAME": "shop", "DB_USER": "shop"}
    inventory(tmp_path, "staging", flask_app_env=parts)
    assert one(found({**given, "flask_app_env": parts}, place)) == ("shared-database", ERROR, "DB_HOST")
    assert found({**given, "flask_app_env": {**parts, "DB_NAME": "other"}}, place) == []


@pytest.mark.parametrize(
    ("name", "mine", "other"),
    [
        ("DATABASE_SCHEMA", "live", "test"),
        ("DB_SCHEMA", "live", "public"),
        ("SHOP_DATABASE_SEARCH_PATH", "live,public", "test,public"),
        ("PGOPTIONS", "-c search_path=live", "-c search_path=test"),
    ],
)
def test_a_different_schema_makes_a_different_database(tmp_path: Path, name: str, mine: str, other: str) -> None:
    for parts in ({}, {"DB_HOST": "db.internal", "DB_NAME": "shop"}):
        address = SQLITE if parts else "postgresql://db.internal/shop"
        top = tmp_path / ("parts" if parts else "address")
        given, place = production(top, address)
        inventory(top, "staging", database=address, flask_app_env={**parts, name: other})
        assert found({**given, "flask_app_env": {**parts, name: mine}}, place) == []
        assert names(found({**given, "flask_app_env": {**parts, name: other}}, place)) == {"shared-database"}


def test_values_that_environments_may_share_are_not_reported(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    shared = {
        "SENTRY_DSN": "https://abcdef0123456789@o1.ingest.sentry.io/2",
        "MAIL_USERNAME": "apikey-of-all",
        "MAIL_SERVER": "smtp.example.org",
        "MAIL_DEFAULT_SENDER": "shop@example.org",
        "UPLOADS": "/var/lib/shop/uploads",
        "PIN": "4711",
        "REDIS_URL": "redis://localhost:6379/0",
    }
    inventory(tmp_path, "staging", flask_app_secrets={**MAIN["flask_app_secrets"], **shared})
    given["flask_app_secrets"].update(shared)
    assert names(found(given, place)) == {"short-secret"}


def test_another_inventory_of_the_same_environment_may_share_everything(tmp_path: Path) -> None:
    given, place = production(tmp_path, "postgresql://shop:hunter22@db.internal/shop")
    held = {
        "vault_flask_app_secret_key": KEY,
        "vault_flask_app_database_url": given["flask_app_secrets"]["DATABASE_URL"],
    }
    other = inventory(tmp_path, "production-us", flask_app_environment="production")
    (other / "group_vars/flask_app/vault.yml").write_text(vault(held))
    assert found(given, place) == []


def test_a_secret_of_a_single_host_elsewhere_is_found(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    (other / "host_vars").mkdir()
    (other / "host_vars/app1.yml").write_text(vault({"vault_flask_app_secret_key": KEY}))
    assert one(found(given, place)) == ("shared-secret", ERROR, "SECRET_KEY")


def test_secrets_mapped_next_to_the_playbooks_are_compared(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging", key=KEY)
    (other / "group_vars/flask_app/main.yml").write_text("flask_app_environment: staging\n")
    assert found(given, place, tmp_path / "playbooks") == []
    (tmp_path / "playbooks/group_vars/all").mkdir(parents=True)
    (tmp_path / "playbooks/group_vars/all/main.yml").write_text(yaml.safe_dump(MAIN))
    assert one(found(given, place, tmp_path / "playbooks")) == ("shared-secret", ERROR, "SECRET_KEY")


@pytest.mark.parametrize("template", ["{{ vault_a }}", "{{ vault_a | trim }}", "{{vault_b}}", "{{ vault_c }}"])
def test_templates_and_single_encrypted_values_are_resolved(tmp_path: Path, template: str) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging", flask_app_secrets={"SECRET_KEY": template}, vault_b="{{ vault_a }}")
    inline = PASSWORD.encrypt(KEY).decode().replace("\n", "\n  ")
    (other / "group_vars/flask_app/inline.yml").write_text(
        f"vault_a: !vault |\n  {inline}\nvault_c: '{{{{ vault_b }}}}'\n"
    )
    assert names(found(given, place)) == {"shared-secret"}


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("{{ lookup('ansible.builtin.password', '/tmp/never') }}", "elsewhere"),
        ("{{ nowhere }}", "nowhere"),
        ("{{ vault_flask_app_secret_key | b64decode }}", "resolved"),
        ("{{ loop_a }}", "itself"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_value_that_cannot_be_resolved_here_is_reported(tmp_path: Path, secret: str, said: str) -> None:
    given, place = production(tmp_path)
    loop = {"loop_a": "{{ loop_b }}", "loop_b": "{{ loop_a }}"}
    inventory(tmp_path, "staging", flask_app_secrets={"SECRET_KEY": secret}, **loop)
    findings = found(given, place)
    assert one(findings) == ("unreadable-inventory", WARNING, "inventories/staging")
    assert said in findings[0].what


@pytest.mark.parametrize(
    "whole",
    [
        "{{ base }}",
        "{{ base | combine({'API_TOKEN': 'of-this-one'}) }}",
        "{{ {'A': 'x'} | combine(more | default({}), base) }}",
    ],
)
def test_secrets_from_a_single_template_are_compared(tmp_path: Path, whole: str) -> None:
    given, place = production(tmp_path)
    base = {"SECRET_KEY": "{{ vault_flask_app_secret_key }}"}
    inventory(tmp_path, "staging", key=KEY, flask_app_secrets=whole, base=base)
    assert names(found(given, place)) == {"shared-secret"}


@pytest.mark.parametrize(
    "whole", ["{{ base | dict2items }}", "{{ nowhere }}", "{{ base | combine(base, recursive=true) }}"]
)
def test_secrets_from_a_template_that_needs_ansible_are_reported(tmp_path: Path, whole: str) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", key=KEY, flask_app_secrets=whole, base={"SECRET_KEY": KEY})
    assert "unreadable-inventory" in names(found(given, place))


def test_an_inventory_without_its_password_is_reported_and_others_compared(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    (other / "group_vars/flask_app/vault.yml").write_text(vault({"vault_flask_app_secret_key": KEY}, OTHER_PASSWORD))
    inventory(tmp_path, "development", key=KEY)
    findings = {finding.id: finding for finding in found(given, place)}
    assert findings.keys() == {"locked-inventory", "shared-secret"}
    assert findings["locked-inventory"].subject == "inventories/staging"
    assert "vault.yml" in findings["locked-inventory"].what
    assert "inventories/development" in findings["shared-secret"].what


def test_an_invalid_yaml_file_is_reported_without_its_content(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    (other / "group_vars/flask_app/more.yml").write_text("hunter2: [\n")
    findings = found(given, place)
    assert one(findings)[0] == "unreadable-inventory"
    assert "hunter2" not in str(findings)


def test_other_directories_next_to_inventories_are_ignored(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    (tmp_path / "inventories/notes/group_vars").mkdir(parents=True)
    (tmp_path / "inventories/notes/group_vars/all.yml").write_text("a: [\n")
    (tmp_path / "inventories/README").write_text("x")
    assert found(given, place) == []


def test_an_inventory_that_is_not_a_directory_is_not_reported() -> None:
    assert found(values(), None) == []
    assert found(values(), Path("/nowhere/at/all")) == []


def test_fingerprints_reveal_nothing_and_depend_on_the_key() -> None:
    both = [fingerprints.fingerprints({}, {"SECRET_KEY": KEY}, fingerprints.new_key()) for _ in range(2)]
    assert fingerprints.in_common(*both) == ([], [])
    assert KEY not in str(both)


# Plain text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("group_vars/flask_app/vault.yml", {"vault_flask_app_secret_key": KEY}),
        ("group_vars/flask_app/vault.yml", {"anything": "in plain text"}),
        ("group_vars/flask_app/more.yml", {"vault_api": {"token": "x"}}),
        ("group_vars/all.yml", {"vault_number": 42}),
        ("host_vars/app1.yml", {"vault_list": ["{{ x }}", "plain"]}),
    ],
)
def test_a_vault_in_plain_text_is_an_error(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    given, place = production(tmp_path)
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(yaml.safe_dump(content))
    findings = found(given, place)
    assert one(findings) == ("plain-text-vault", ERROR, f"inventories/production/{name}")
    assert next(iter(content)) in findings[0].what
    assert f"ansible-vault encrypt inventories/production/{name}" in findings[0].fix
    assert KEY not in str(findings)


@pytest.mark.parametrize(
    "content",
    [
        {"vault_a": "{{ lookup('community.sops.sops', 'x') }}"},
        {"vault_flask_app_secret_key_fallbacks": [], "vault_none": None, "vault_empty": "", "vault_flag": True},
        {"vault_sops": "ENC[AES256_GCM,data:abc]", "sops": {"version": "3"}},
        {"not_a_vault": "plain"},
    ],
)
def test_a_file_without_plain_text_vault_values_is_not_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    given, place = production(tmp_path)
    (place / "group_vars/flask_app/more.yml").write_text(yaml.safe_dump(content))
    assert found(given, place) == []


def test_a_vault_of_single_encrypted_values_is_not_reported(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inline = PASSWORD.encrypt(KEY).decode().replace("\n", "\n  ")
    (place / "group_vars/flask_app/vault.yml").write_text(f"vault_flask_app_secret_key: !vault |\n  {inline}\n")
    assert found(given, place) == []


def test_a_plain_vault_is_a_warning_elsewhere_and_an_error_here(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    (other / "group_vars/flask_app/vault.yml").write_text("vault_x: y\n")
    (tmp_path / "playbooks/group_vars/all").mkdir(parents=True)
    (tmp_path / "playbooks/group_vars/all/vault.yml").write_text("vault_x: y\n")
    plain = [finding for finding in found(given, place, tmp_path / "playbooks") if finding.id == "plain-text-vault"]
    assert {(finding.severity, finding.subject) for finding in plain} == {
        (ERROR, "playbooks/group_vars/all/vault.yml"),
        (WARNING, "inventories/staging/group_vars/flask_app/vault.yml"),
    }


def test_a_plain_text_secret_outside_the_vault_is_a_warning(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    kept = {**MAIN["flask_app_secrets"], "SMTP_PASSWORD": "hunter22", "CACHE": "redis://localhost/0"}
    (place / "group_vars/flask_app/main.yml").write_text(yaml.safe_dump({"flask_app_secrets": kept}))
    findings = found(given, place)
    assert one(findings)[:2] == ("plain-text-secret", WARNING)
    assert "SMTP_PASSWORD" in findings[0].what
    assert "CACHE" not in findings[0].what
    assert "hunter22" not in str(findings)


# Accepting and reporting


FINDING = Reported("no-tls", WARNING, "flask_app_tls", "It is none.", "Set it.")


@pytest.mark.parametrize("entry", ["no-tls", "no-tls:flask_app_tls"])
def test_an_accepted_finding_is_listed_as_accepted(entry: str) -> None:
    assert accept([FINDING], [entry]) == [replace(FINDING, accepted=True)]


@pytest.mark.parametrize("entry", ["no-tls:other", "self-signed", "no"])
def test_an_unused_acceptance_is_a_warning(entry: str) -> None:
    kept, vain = accept([FINDING], [entry])
    assert not kept.accepted
    assert (vain.id, vain.severity, vain.subject) == ("unused-acceptance", WARNING, entry)


def test_an_acceptance_is_not_unused_if_the_comparison_was_impossible() -> None:
    unreadable = Reported("unreadable-inventory", WARNING, "inventories/staging", "x.", "y.")
    assert accept([unreadable], ["shared-secret:SECRET_KEY"]) == [unreadable]
    assert len(accept([FINDING], ["shared-secret:SECRET_KEY"])) == 2


@pytest.mark.parametrize("name", NEVER_ACCEPTED)
def test_findings_that_a_deploy_always_refuses_cannot_be_accepted(name: str) -> None:
    kept, vain = accept([Finding(name, ERROR, "x", "s.", "c.")], [name], NEVER_ACCEPTED)
    assert not kept.accepted
    assert named(vain) == ("unused-acceptance", name)
    assert vain.what != accept([], [name])[0].what  # which only reports that nothing was found


def test_a_deploy_reports_unaccepted_errors_once() -> None:
    given = values(
        flask_app_debug=True,
        flask_app_tls="none",
        flask_app_secrets={"SECRET_KEY": "changeme"},
        flask_app_env={"FLASK_ENV": "x", "FLASK_CONFIG": "x", "FLASK_DEBUG": "1"},
        flask_app_accepted_findings=["flask-debug", "self-signed"],
    )
    problems, warnings = for_deploy(given, Place(None, None, opened))
    assert warnings == []
    found = [(problem.id, problem.subject) for problem in problems]
    assert len(found) == len(set(found))
    accepting = [problem.fix.rpartition("flask_app_accepted_findings: ")[2] for problem in problems]
    assert {*accepting} >= {'["placeholder:SECRET_KEY"]', '["flask-env:FLASK_ENV"]'}
    assert {kind for kind, _ in found} - {"placeholder", "flask-env"} == {
        "debug",
        "missing-secret",
        "environment-by-hand",
    }


def test_each_acceptable_error_names_the_entry_to_accept_it(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", key=KEY)
    given |= app(tmp_path / "app", {"config.py": 'API_TOKEN = "hunter2-9"\n'})
    given["flask_app_secrets"] = {"SECRET_KEY": KEY, "DATABASE_URL": SQLITE, "DOOR_PIN": "4711", "API_KEY": "changeme"}
    given["flask_app_env"] = {"FLASK_ENV": "x", "ALLOWED_HOSTS": "*"}
    where = Place(place, None, opened)
    problems, _ = for_deploy(given, where)
    entries = [json.loads(problem.fix.rpartition("flask_app_accepted_findings: ")[2])[0] for problem in problems]
    assert len(problems) >= 6
    assert for_deploy({**given, "flask_app_accepted_findings": entries}, where) == ([], [])


# Too short to mask


@pytest.mark.parametrize("value", ["4711", 4711, "Zq7!k", "91\n2647\n835", "a\n\n  b\n"])
def test_a_secret_too_short_to_mask_is_an_error_unless_accepted(value: object) -> None:
    given = with_secret("DOOR_PIN", value)
    findings = found(given)
    assert one(findings) == ("short-secret", ERROR, "DOOR_PIN")
    assert "flask_app_env" in findings[0].fix
    assert not any(line in findings[0].what.split("DOOR_PIN", 1)[1] for line in str(value).split() if len(line) > 1)
    (accepted,) = found({**given, "flask_app_accepted_findings": ["short-secret:DOOR_PIN"]})
    assert accepted.accepted


@pytest.mark.parametrize(
    "value", ["", None, "471147", "Zq7!kk", "ab\nTr0ub4dor&3\ncd", "-----BEGIN KEY-----\nMIIB\nZg==\n-----END KEY-----"]
)
def test_a_secret_with_a_maskable_line_is_not_reported(value: object) -> None:
    assert found(with_secret("DOOR_PIN", value)) == []


def test_a_name_or_a_number_among_the_secrets_may_be_short() -> None:
    assert found(values(flask_app_secrets={**values()["flask_app_secrets"], "DB_USER": "app", "SMTP_PORT": 25})) == []


def test_a_key_gets_at_most_one_finding() -> None:
    assert one(found(with_secret("SECRET_KEY", "k3v"))) == ("short-key", ERROR, "SECRET_KEY")
    assert one(found(with_secret("DOOR_PIN", "0000"))) == ("placeholder", ERROR, "DOOR_PIN")
    given = values("development", flask_app_secrets={"SECRET_KEY": KEY, "DOOR_PIN": "4711"})
    assert one(found(given)) == ("short-secret", WARNING, "DOOR_PIN")


def test_the_same_finding_on_several_hosts_is_reported_once() -> None:
    error = Reported("placeholder", ERROR, "API_TOKEN", "It is one.", "Fix it.")
    vain = accept([], ["no-tls"])
    merged = together({"a": accept([FINDING], ["no-tls"]), "b": [error, *vain]})
    assert [(finding.id, finding.accepted, finding.hosts) for finding in merged] == [
        ("placeholder", False, ("b",)),
        ("no-tls", True, ("a",)),
    ]
    assert counts(merged) == {"errors": 1, "warnings": 0, "accepted": 1}
    text = rendered(merged, "shop", ["production"], ["a", "b"], [])
    heading, *lines = text.splitlines()
    assert [fact for fact in ("shop", "production", "1 error", "1 accepted") if fact not in heading] == []
    assert lines[:-1] == [
        *replace(error, what="It is one. On b.").lines(),
        *FINDING.lines("accepted warning")[:1],
        *[f"  {FINDING.what} On a.", f"  Fix: {FINDING.fix}"],
    ]
    assert [Reported.of(finding.as_dict()) for finding in merged] == merged


def test_an_acceptance_unused_on_every_host_is_reported_once() -> None:
    merged = together({"a": accept([], ["no-tls"]), "b": accept([], ["no-tls"])})
    assert [(finding.id, finding.hosts) for finding in merged] == [("unused-acceptance", ("a", "b"))]


def test_an_acceptance_for_an_unreadable_variable_is_not_unused() -> None:
    seen = as_read({**values(), "flask_app_tls": "{{ nope }}", "flask_app_accepted_findings": ["no-tls"]})
    assert names(examine(seen).findings) == {"unreadable-variable"}


def test_secrets_in_one_file_are_a_single_finding_in_development(tmp_path: Path) -> None:
    text = 'MAIL_PASSWORD = "hunter2-9"\nAPI_TOKEN = "hunter2-8"\n'
    given = app(tmp_path, {"config.py": text}) | values("development", flask_app_env={"MAIL_PASSWORD": "x"})
    given["flask_app_source_directory"], given["flask_app_source_git_url"] = str(tmp_path), ""
    assert one(found(given)) == ("literal-secret", WARNING, "config.py")


def test_having_no_findings_is_reported_too() -> None:
    heading, _ = rendered([], "shop", ["staging"], ["a"], []).splitlines()
    assert [fact for fact in ("shop", "staging") if fact not in heading] == []


# Valid apps

FACTORY = """
import os
from flask import Flask


def create_app(config=None):
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config.update(SESSION_COOKIE_SECURE=os.environ["FLASK_CONFIG"] != "development")
    return app
"""
CLASSES = """
import os


class Config:
    SECRET_KEY = os.environ.get("SECRET_KEY")
    SESSION_COOKIE_SECURE = True
    SQLALCHEMY_DATABASE_URI = os.environ.get("DATABASE_URL")


class DevelopmentConfig(Config):
    DEBUG = True
    SECRET_KEY = "dev"
    SESSION_COOKIE_SECURE = False


class TestingConfig(Config):
    TESTING = True
    SECRET_KEY = "test"


class ProductionConfig(Config):
    PREFERRED_URL_SCHEME = "https"
"""
PYDANTIC = """
from pydantic import SecretStr
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    secret_key: SecretStr
    database_url: str
    allowed_hosts: list[str] = []
"""
PREFIXED = """
from flask import Flask

app = Flask(__name__)
app.config.from_prefixed_env()
if not app.config.get("SECRET_KEY"):
    raise RuntimeError("SECRET_KEY is missing")
if __name__ == "__main__":
    app.run()
"""
DECOUPLE = """
from decouple import Csv, config

SECRET_KEY = config("SECRET_KEY")
DEBUG = config("DEBUG", default=False, cast=bool)
TRUSTED_HOSTS = config("TRUSTED_HOSTS", default="", cast=Csv())
"""

NESTED = """
import os
from typing import Annotated, Literal

from pydantic import Field, SecretStr, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Storage(BaseSettings):
    access_key: str = "shop"
    endpoint: str = "s3.internal"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="", secrets_dir="/run/secrets", extra="ignore")
    SECRET_KEY: Annotated[SecretStr, Field(min_length=32, description="signs the cookies")]
    environment: Literal["development", "staging", "production"] = Field(alias="FLASK_CONFIG")

    @computed_field
    def SESSION_COOKIE_SECURE(self) -> bool:
        return self.environment != "development"


class DevelopmentSettings(Settings):
    SECRET_KEY: SecretStr = SecretStr("dev")


def settings() -> Settings:
    match os.environ["FLASK_CONFIG"]:
        case "development":
            return DevelopmentSettings(SECRET_KEY="dev")
        case _:
            return Settings()
"""
BY_ENVIRONMENT = """
import os
from enum import StrEnum


class Setting(StrEnum):
    SECRET_KEY = "secret_key"
    SESSION_COOKIE_SECURE = "session_cookie_secure"


HELP = {"SECRET_KEY": "signs the cookies of visitors", "DATABASE_URL": "where the data is"}
COMMON = {"SESSION_COOKIE_SECURE": False}
CONFIGS = {
    "development": {**COMMON, "SECRET_KEY": "dev", "DEBUG": True},
    "testing": dict(COMMON, SECRET_KEY="test"),
    "staging": {**COMMON, "SECRET_KEY": os.environ.get("SECRET_KEY"), "SESSION_COOKIE_SECURE": True},
    "production": {**COMMON, "SECRET_KEY": os.environ.get("SECRET_KEY"), "SESSION_COOKIE_SECURE": True},
}


def configure(app):
    environment = os.environ["FLASK_CONFIG"]
    app.config.from_mapping(CONFIGS[environment])
    if environment != "production":
        app.config.setdefault("SECRET_KEY", "not-for-production")
"""
DYNACONF = """
[default]
SECRET_KEY = "@format {env[SECRET_KEY]}"
SESSION_COOKIE_SECURE = true

[development]
SECRET_KEY = "dev"
"""


def database(environment: str, host: str = "db.internal") -> str:
    return f"postgresql+psycopg://shop:{secrets.token_urlsafe(18)}@{host}/shop_{environment}"


#: Kind of app -> files of its source, further variables, secrets by environment.
APPS: dict[str, tuple[dict[str, str], dict[str, Any], Callable[[str], dict[str, Any]]]] = {
    "a factory with PostgreSQL": (
        {"shop/__init__.py": FACTORY, "tests/conftest.py": 'SECRET_KEY = "test"\n'},
        {},
        lambda environment: {"DATABASE_URL": database(environment)},
    ),
    "classes for each environment": (
        {"config.py": CLASSES},
        {"flask_app_env": {"FLASK_DEBUG": "0", "LOG_LEVEL": "info"}},
        lambda environment: {"DATABASE_URL": database(environment, f"{environment}-db.example.com")},
    ),
    "settings of pydantic": (
        {"shop/settings.py": PYDANTIC},
        {"flask_app_env": {"ALLOWED_HOSTS": '["shop.example.org", "www.example.org"]'}},
        lambda environment: {"DATABASE_URL": database(environment)},
    ),
    "Flask's own environment variables": (
        {"app.py": PREFIXED},
        {"flask_app_wsgi": "app:app", "flask_app_secret_key_variable": "FLASK_SECRET_KEY"},
        lambda environment: {
            "FLASK_SECRET_KEY": secrets.token_urlsafe(48),
            "DATABASE_URL": "postgresql:///shop?host=/run/postgresql",
        },
    ),
    "decouple, with SQLite": (
        {"settings.py": DECOUPLE},
        {"flask_app_env": {"TRUSTED_HOSTS": "shop.example.org,.example.net"}},
        lambda environment: {"DATABASE_URL": SQLITE},
    ),
    "Celery with Redis": (
        {"shop/__init__.py": FACTORY, "shop/worker.py": "import os\nbroker = os.environ['REDIS_URL']\n"},
        {},
        lambda environment: {
            "DATABASE_URL": database(environment),
            "REDIS_URL": f"redis://:{secrets.token_hex(16)}@cache.internal:6379/{len(environment)}",
        },
    ),
    "others' services": (
        {"shop/__init__.py": FACTORY},
        {"flask_app_env": {"SENTRY_ENVIRONMENT": "x", "OAUTH_CLIENT_ID": "shop-example"}},
        lambda environment: {
            "DATABASE_URL": database(environment),
            "SENTRY_DSN": "https://0123456789abcdef@o1.ingest.sentry.io/1",
            "MAIL_USERNAME": "apikey",
            "MAIL_PASSWORD": secrets.token_urlsafe(30),
            "STRIPE_SECRET_KEY": f"sk_{environment}_{secrets.token_hex(12)}",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        },
    ),
    "behind a balancer": (
        {"shop/__init__.py": FACTORY},
        {"flask_app_tls": "none", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"]},
        lambda environment: {"DATABASE_URL": f"mysql+pymysql://shop:{secrets.token_hex(12)}@{environment}.db.internal/shop"},
    ),
    "migrations, and a toolbar for developers": (
        {
            "shop/__init__.py": FACTORY,
            "requirements-dev.txt": "flask-debugtoolbar==0.16.0\n",
            "migrations/env.py": "from flask import current_app\nconfig = current_app.config\n",
            "config_dev.py": 'SECRET_KEY = "dev"\nSESSION_COOKIE_SECURE = False\n',
        },
        {"flask_app_release_command": "flask --app wsgi db upgrade"},
        lambda environment: {"DATABASE_URL": database(environment), "SECURITY_PASSWORD_SALT": secrets.token_hex(16)},
    ),
    "nested settings of pydantic, and storage": (
        {
            "shop/settings.py": NESTED,
            "shop/storage.py": "import minio\n\nminio.Minio('s3', access_key='shop', secret_key='read-only')\n",
        },
        {"flask_app_env": {"DEBUG": "false"}, "flask_app_service_settings": {"Environment": "MALLOC_ARENA_MAX=2"}},
        lambda environment: {"DATABASE_URL": database(environment), "S3_SECRET_KEY": secrets.token_urlsafe(30)},
    ),
    "a dict for each environment, and dynaconf": (
        {"shop/config.py": BY_ENVIRONMENT, "settings.toml": DYNACONF},
        {"flask_app_env": {"APP_DEBUG": "0"}},
        lambda environment: {"DATABASE_URL": database(environment)},
    ),
    "uv, with MongoDB": (
        {"shop/__init__.py": FACTORY, "uv.lock": UV_LOCK.replace("DEV", "flask-debugtoolbar").replace("WEB", "flask")},
        {"flask_app_requirements": "uv.lock", "flask_app_gunicorn_settings": {"max_requests": 1000}},
        lambda environment: {
            "DATABASE_URL": f"mongodb://shop:{secrets.token_hex(12)}@m1.internal,m2.internal/shop-{environment}"
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", APPS)
def test_a_correct_app_has_no_findings_in_any_environment(kind: str, tmp_path: Path) -> None:
    files, settings, held = APPS[kind]
    given: dict[str, dict[str, Any]] = {}
    for environment in ("development", "staging", "production"):
        secret = {"SECRET_KEY": secrets.token_hex(), **held(environment)}
        place = inventory(tmp_path, environment, **settings)
        mapped = {name: f"{{{{ vault_{name.lower()} }}}}" for name in secret}
        main = {"flask_app_environment": environment, "flask_app_secrets": mapped, **settings}
        (place / "group_vars/flask_app/main.yml").write_text(yaml.safe_dump(main))
        (place / "group_vars/flask_app/vault.yml").write_text(
            vault({f"vault_{name.lower()}": value for name, value in secret.items()})
        )
        given[environment] = secret
    app(tmp_path / "app", files)
    for environment, secret in given.items():
        more = {**settings, "flask_app_secrets": secret, "flask_app_source_directory": str(tmp_path / "app")}
        assert found(values(environment, **more), tmp_path / "inventories" / environment) == [], environment
