# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Gunicorn, in flask_app_gunicorn_settings and in the source's own gunicorn.conf.py."""

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
    "A hook of Gunicorn is a function, which no variable can hold.",
    fix=f"Put it into the source's {FILE}.",
    bad=Example({_VARIABLE: {"post_fork": "shop.connect"}}),
    good=Example({_VARIABLE: {"max_requests": 1000}}),
)
GUNICORN_SETTING = Rule(
    "gunicorn-setting",
    "The locked Gunicorn doesn't know a setting, and would ignore it.",
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
    f"The source's {FILE} has settings that give way to the role's.",
    severity=WARNING,
    fix="Use the role's variables for these; hooks and other settings of that file count.",
    acceptable=True,
    told=True,
    needs=(SOURCE,),
    bad=Example(source={FILE: "workers = 9\n"}),
    good=Example(source={FILE: "max_requests = 1000\n"}),
)
GUNICORN_BY_HAND = Rule(
    "gunicorn-by-hand",
    "GUNICORN_CMD_ARGS, or raw_env in flask_app_gunicorn_settings, is set outside development: it outranks the role.",
    acceptable=True,
    bad=Example({"flask_app_env": {"GUNICORN_CMD_ARGS": "--workers 9"}}),
    good=Example({_VARIABLE: {"max_requests": 1000}}),
)
DEVELOPMENT_SERVER = Rule(
    "development-server",
    "A server for development, or a reloader, is started outside development.",
    acceptable=True,
    bad=Example({"flask_app_release_command": "flask run --host 0.0.0.0"}),
    good=Example({"flask_app_release_command": "flask db upgrade"}),
)

#: Settings that the role's own unit rests on, and what to do instead.
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
            what = f"{_VARIABLE} has {name}, on which the role's own unit rests."
            yield SETTING_OF_THE_ROLE(_VARIABLE, what, _OF_THE_ROLE[name])
        elif name in gunicorn.OF_A_PREFIX and case["url_prefix"]:
            what = f"{_VARIABLE} has {name}, by which Gunicorn learns of flask_app_url_prefix."
            fix = "Remove it: the role sets it."
            yield SETTING_OF_THE_ROLE(_VARIABLE, what, fix, variables=("flask_app_url_prefix",))
        elif name in gunicorn.HOOKS:
            yield GUNICORN_HOOK(_VARIABLE, f"{_VARIABLE} has {name}, which is a function.")
        elif not _is_data(value):
            what = f"{_VARIABLE}: {name} has a value that can't be written as text, number, yes or no, list or mapping."
            yield WRONG_TYPE(_VARIABLE, what, "Write a date or a large number in quotes.")


def _is_data(value: Any) -> bool:
    """Say whether Python reads what we write of a value as the same value."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_data(key) and _is_data(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_data, value))
    if isinstance(value, str):
        return not any(unicodedata.category(each) == "Cs" for each in value)
    return value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


@finds(GUNICORN_VERSION, GUNICORN_SETTING)
def ignored(case: Case) -> Iterator[Found]:
    """What the locked Gunicorn ignores, where the lock is here."""
    version = case.gunicorn_version
    if case["url_prefix"] and not gunicorn.takes_prefix(version):
        yield GUNICORN_VERSION(
            "gunicorn", f"flask_app_url_prefix is set, and the locked Gunicorn {version} would ignore it."
        )
    for name in case["gunicorn_settings"]:
        if gunicorn.unknown(name, version):
            near = gunicorn.meant(name)
            what = f"{_VARIABLE} has {name}, which Gunicorn {version} doesn't know and would ignore."
            fix = f"Did you mean {near}?" if near and near != name else "Remove it, or lock a Gunicorn that knows it."
            accept = f"Where yours does, put gunicorn-setting:{name} into flask_app_accepted_findings."
            yield GUNICORN_SETTING(name, what.replace("  ", " "), f"{fix} {accept}")


@finds(GUNICORN_FILE)
def own_file(case: Case) -> Iterator[Found]:
    """Settings in the source's own file that give way to the role's."""
    both = gunicorn.giving_way(case.shipped.gunicorn_names, case["gunicorn_settings"], case["url_prefix"])
    if both:
        yield GUNICORN_FILE(FILE, f"{FILE} in the source sets {', '.join(both)}: the role's own settings win.")


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
            what = f"{variable} starts a server for development {where}."
            yield DEVELOPMENT_SERVER(variable, what, "Leave it out: Gunicorn is the server.")
    for variable, values in all_variables(case).items():
        if text := str(values.get("GUNICORN_CMD_ARGS", "")).strip():
            rule = DEVELOPMENT_SERVER if "--reload" in text else GUNICORN_BY_HAND
            what = f"{variable} sets GUNICORN_CMD_ARGS {where}: it outranks the settings of the role."
            yield rule("GUNICORN_CMD_ARGS", what, "Move what it sets to flask_app_gunicorn_settings.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
