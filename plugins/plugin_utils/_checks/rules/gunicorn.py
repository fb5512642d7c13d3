# SPDX-License-Identifier: GPL-3.0-or-later
"""Gunicorn's settings, in flask_app_gunicorn_settings and in the source's own gunicorn.conf.py."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._build.gunicorn_file import FILE
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import gunicorn

from ..case import Case
from ..process import all_variables
from ..rule import SOURCE, Example, Found, Rule, finds
from .reading import WRONG_TYPE
from .service import SETTING_OF_THE_ROLE
from .values import MALFORMED_VALUE

_VARIABLE = "flask_app_gunicorn_settings"
_LOCK = f"gunicorn=={{}} --hash=sha256:{'0' * 64}\n"

GUNICORN_HOOK = Rule(
    "gunicorn-hook",
    "A Gunicorn hook is a function, and a variable can't hold a function.",
    fix=f"Put it into the source's {FILE}.",
    bad=Example({_VARIABLE: {"post_fork": "shop.connect"}}),
    good=Example({_VARIABLE: {"max_requests": 1000}}),
)
GUNICORN_SETTING = Rule(
    "gunicorn-setting",
    "The locked Gunicorn doesn't know a setting and would ignore it.",
    acceptable=True,
    bad=Example({_VARIABLE: {"max_request": 1000}}),
    good=Example({_VARIABLE: {"max_requests": 1000}}),
)
GUNICORN_VERSION = Rule(
    "gunicorn-version",
    "The locked Gunicorn is 22.0, which ignores flask_app_url_prefix.",
    fix="Lock Gunicorn 23.0 or later.",
    acceptable=True,
    bad=Example({"flask_app_url_prefix": "/shop"}, source={"requirements.txt": _LOCK.format("22.0.0")}),
    good=Example({"flask_app_url_prefix": "/shop"}, source={"requirements.txt": _LOCK.format("23.0.0")}),
)
GUNICORN_FILE = Rule(
    "gunicorn-file",
    f"The source's {FILE} has settings that the role overrides.",
    severity=WARNING,
    fix="Use the role's variables for these. Hooks and other settings in that file apply.",
    acceptable=True,
    warns_deploys=True,
    needs=(SOURCE,),
    bad=Example(source={FILE: "workers = 9\n"}),
    good=Example(source={FILE: "max_requests = 1000\n"}),
)
GUNICORN_BY_HAND = Rule(
    "gunicorn-by-hand",
    "Outside development, GUNICORN_CMD_ARGS or raw_env in flask_app_gunicorn_settings is set: it overrides the role.",
    acceptable=True,
    bad=Example({"flask_app_env": {"GUNICORN_CMD_ARGS": "--workers 9"}}),
    good=Example({_VARIABLE: {"max_requests": 1000}}),
)
DEVELOPMENT_SERVER = Rule(
    "development-server",
    "Outside development, a variable starts a development server or a reloader.",
    acceptable=True,
    bad=Example({"flask_app_release_command": "flask run --host 0.0.0.0"}),
    good=Example({"flask_app_release_command": "flask db upgrade"}),
)

#: Settings that the role's unit depends on, and what to do instead.
_OF_THE_ROLE = {
    "bind": "Remove it: systemd holds the socket.",
    "chdir": "Use flask_app_source_subdirectory.",
    "check_config": "Remove it.",
    "config": f"Put it into {FILE} of the source.",
    "daemon": "Remove it.",
    "group": "Remove it.",
    "initgroups": "Remove it.",
    "pidfile": "Remove it.",
    "print_config": "Remove it.",
    "user": "Remove it.",
    "wsgi_app": "Use flask_app_wsgi.",
}
_DEVELOPMENT_SERVER = re.compile(r"\bflask\b[^;&|\n]*\brun\b|\bpython[\d.]*\s+-m\s+flask\b[^;&|\n]*\brun\b|--reload\b")


@finds(MALFORMED_VALUE, SETTING_OF_THE_ROLE, GUNICORN_HOOK, WRONG_TYPE, guards=True)
def settings(case: Case) -> Iterator[Found]:
    for name, value in case["gunicorn_settings"].items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            what = f"{_VARIABLE} has the name {name!r}."
            yield MALFORMED_VALUE(_VARIABLE, what, "Use the name of a setting of Gunicorn.")
        elif name in _OF_THE_ROLE:
            what = f"{_VARIABLE} has {name}, which the role's unit depends on."
            yield SETTING_OF_THE_ROLE(_VARIABLE, what, _OF_THE_ROLE[name])
        elif name in gunicorn.OF_A_PREFIX and case["url_prefix"]:
            what = f"{_VARIABLE} has {name}, through which Gunicorn gets flask_app_url_prefix."
            fix = "Remove it: the role sets it."
            yield SETTING_OF_THE_ROLE(_VARIABLE, what, fix, variables=("flask_app_url_prefix",))
        elif name in gunicorn.HOOKS:
            yield GUNICORN_HOOK(_VARIABLE, f"{_VARIABLE} has {name}, which is a function.")
        elif not _is_data(value):
            what = f"{_VARIABLE}: {name} is not a text, number, boolean, list or mapping."
            yield WRONG_TYPE(_VARIABLE, what, "Write a date or a large number in quotes.")


def _is_data(value: Any) -> bool:
    """Return whether Python reads back exactly the value that we write."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_data(key) and _is_data(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_data, value))
    if isinstance(value, str):
        return not any(unicodedata.category(each) == "Cs" for each in value)
    return value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


@finds(GUNICORN_VERSION, GUNICORN_SETTING)
def ignored(case: Case) -> Iterator[Found]:
    """Find what the locked Gunicorn ignores, if the lock is on the controller."""
    version = case.gunicorn_version
    if case["url_prefix"] and not gunicorn.takes_prefix(version):
        yield GUNICORN_VERSION(
            "gunicorn", f"flask_app_url_prefix is set, but the locked Gunicorn {version} would ignore it."
        )
    for name in case["gunicorn_settings"]:
        if gunicorn.unknown(name, version):
            near = gunicorn.meant(name)
            what = f"{_VARIABLE} has {name}, which Gunicorn {version} doesn't know and would ignore."
            fix = f"Did you mean {near}?" if near and near != name else "Remove it, or lock a Gunicorn that knows it."
            accept = f"If yours does, add gunicorn-setting:{name} to flask_app_accepted_findings."
            yield GUNICORN_SETTING(name, what.replace("  ", " "), f"{fix} {accept}")


@finds(GUNICORN_FILE)
def own_file(case: Case) -> Iterator[Found]:
    """Find settings in the source's own file that the role overrides."""
    both = gunicorn.overridden_settings(case.shipped.gunicorn_names, case["gunicorn_settings"], case["url_prefix"])
    if both:
        yield GUNICORN_FILE(FILE, f"{FILE} in the source sets {', '.join(both)}: the role overrides these.")


@finds(DEVELOPMENT_SERVER, GUNICORN_BY_HAND)
def by_hand(case: Case) -> Iterator[Found]:
    if not case.outside_development:
        return
    where = f"in {case['environment']}"
    given = case["gunicorn_settings"]
    for name in ("reload", "reload_engine", "reload_extra_files"):
        if given.get(name) and str(given[name]).lower() != "false":
            yield DEVELOPMENT_SERVER(_VARIABLE, f"{_VARIABLE} has {name} {where}.", "Remove it.")
            break
    if given.get("raw_env"):
        fix = "Move its variables to flask_app_env or flask_app_secrets."
        yield GUNICORN_BY_HAND(_VARIABLE, f"{_VARIABLE} has raw_env {where}.", fix)
    texts = {
        "flask_app_service_settings": " \n ".join(map(str, _leaves(case["service_settings"]))),
        "flask_app_release_command": case["release_command"],
    }
    for variable, text in texts.items():
        if _DEVELOPMENT_SERVER.search(text):
            what = f"{variable} starts a development server {where}."
            yield DEVELOPMENT_SERVER(variable, what, "Remove it: Gunicorn is the server.")
    for variable, values in all_variables(case).items():
        if text := str(values.get("GUNICORN_CMD_ARGS", "")).strip():
            rule = DEVELOPMENT_SERVER if "--reload" in text else GUNICORN_BY_HAND
            what = f"{variable} sets GUNICORN_CMD_ARGS {where}: it overrides the role's settings."
            yield rule("GUNICORN_CMD_ARGS", what, "Move its settings to flask_app_gunicorn_settings.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
