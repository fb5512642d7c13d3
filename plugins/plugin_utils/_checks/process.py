# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the app's process that are set outside flask_app_env and flask_app_secrets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.credentials import SUFFIX

from .case import Case


def reserved_names(case: Case) -> list[str]:
    """Return the variables of the process that the role itself sets."""
    names = [case[f"{name}_variable"] for name in ("environment", "revision", "release")]
    if case["secrets_as"] == "credentials":
        # Old keys too: a rotation adds them.
        names += [f"{name}{SUFFIX}" for name in (*case.app_variables["flask_app_secrets"], _old_keys(case))]
    return names


def _old_keys(case: Case) -> str:
    return f"{case['secret_key_variable']}_FALLBACKS"


def old_keys(case: Case) -> dict[str, str]:
    """Return the variable that holds the old keys during a rotation, without its value; empty if there is none."""
    return {_old_keys(case): ""} if case["secret_key_fallbacks"] else {}


def all_variables(case: Case) -> dict[str, Mapping[str, Any]]:
    """Return the process's variables by the role's variable that sets them."""
    return {**case.app_variables, **_by_setting(case)}


def _by_setting(case: Case) -> dict[str, dict[str, str]]:
    """Return the process's variables from settings of systemd and Gunicorn, by the role's variable.

    ``PassEnvironment`` and ``UnsetEnvironment`` hold names only: the value is unknown, or there is none.
    """
    service, gunicorn = case["service_settings"], case["gunicorn_settings"]
    found = {}
    for setting in ("Environment", "PassEnvironment", "UnsetEnvironment"):
        for word in _words(service.get(setting)):
            name, _, value = word.partition("=")
            found[name] = {"Environment": value, "PassEnvironment": setting}.get(setting, "")
    raw = gunicorn.get("raw_env") or []
    pairs = [str(pair).partition("=") for pair in (raw if isinstance(raw, (list, tuple)) else [raw])]
    return {
        "flask_app_service_settings": found,
        "flask_app_gunicorn_settings": {name.strip(): value for name, _, value in pairs},
    }


def _words(value: Any) -> list[str]:
    """Split the lines of a setting as systemd does (systemd.syntax(7), quoting)."""
    lines = [str(line) for line in (value if isinstance(value, (list, tuple)) else [value or ""])]
    try:
        return [word for line in lines for word in shlex.split(line)]
    except ValueError:
        return [word.strip("\"'") for line in lines for word in line.split()]
