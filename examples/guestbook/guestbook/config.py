# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of each environment, and the variables that it requires.

Secrets come from the process's environment, or from files named there: a fallback in the source would one day sign the
cookies of production.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

SELECTOR = "FLASK_CONFIG"
#: May be in a file instead, named by the variable with the suffix _FILE, as systemd's credentials are.
SECRETS = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL")


class ConfigError(RuntimeError):
    """The app must not run with the configuration that the process was started with."""


def fallback_keys(value: str) -> list[str]:
    """Read the earlier keys whose cookies are still valid, from a JSON list of strings; an empty text means none."""
    try:
        keys = json.loads(value or "[]")
    except ValueError:
        keys = None
    # An empty key would let anybody sign.
    if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
        raise ConfigError("SECRET_KEY_FALLBACKS must be a JSON list of strings, none of them empty")
    return keys


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with a value, including those whose value is in a file."""
    values = {key: value for key, value in environ.items() if value}
    for name in SECRETS:
        path = values.get(f"{name}_FILE")
        if path and name not in values:
            try:
                values[name] = Path(path).read_bytes().decode()
            except OSError as error:
                raise ConfigError(f"{name}_FILE names a file that can't be read: {error.strerror}") from None
    return values


class Base:
    """Settings that all environments share."""

    ENVIRONMENT = ""
    DEBUG = False
    TESTING = False
    MAX_CONTENT_LENGTH = 16 * 1024 * 1024
    SESSION_COOKIE_HTTPONLY = True
    SESSION_COOKIE_SAMESITE = "Lax"

    def __init__(self, values: Mapping[str, str], instance_path: Path) -> None:  # noqa: ARG002  # for subclasses
        missing = [key for key in ("SECRET_KEY", "DATABASE_URL") if key not in values]
        if missing:
            raise ConfigError(f"{' and '.join(missing)} must be set in the environment of {self.ENVIRONMENT}")
        self.SECRET_KEY = values["SECRET_KEY"]
        self.SECRET_KEY_FALLBACKS = fallback_keys(values.get("SECRET_KEY_FALLBACKS", ""))
        self.DATABASE_URL = values["DATABASE_URL"]
        self.GREETING = values.get("GREETING", "Hello")
        self.REVISION = values.get("APP_REVISION", "unknown")
        self.RELEASE = values.get("APP_RELEASE", "unknown")


class Development(Base):
    """One person's own machine: debugger on, a database file next to the code."""

    ENVIRONMENT = "development"
    DEBUG = True

    def __init__(self, values: Mapping[str, str], instance_path: Path) -> None:
        if "DATABASE_URL" not in values:
            instance_path.mkdir(exist_ok=True)
            values = {**values, "DATABASE_URL": f"sqlite:///{instance_path / 'guestbook.db'}"}
        super().__init__(values, instance_path)


class Production(Base):
    """Real users: cookies are sent over TLS only, and URLs use https."""

    ENVIRONMENT = "production"
    SESSION_COOKIE_SECURE = True
    PREFERRED_URL_SCHEME = "https"


class Staging(Production):
    """Production in everything but its name and its secrets."""

    ENVIRONMENT = "staging"


CONFIGS: dict[str, type[Base]] = {config.ENVIRONMENT: config for config in (Development, Staging, Production)}


def load(name: str | None, environ: Mapping[str, str], instance_path: Path) -> Base:
    """Create the configuration called ``name``, by default the one in ``FLASK_CONFIG``.

    There is no default: an app that guesses its environment guesses wrong on the day the variable gets lost.
    """
    known = ", ".join(sorted(CONFIGS))
    chosen = name or environ.get(SELECTOR)
    if not chosen:
        raise ConfigError(f"{SELECTOR} is not set; set it to one of: {known}")
    if chosen not in CONFIGS:
        raise ConfigError(f"{SELECTOR} is {chosen!r}, which is not one of: {known}")
    return CONFIGS[chosen](with_files(environ), instance_path)
