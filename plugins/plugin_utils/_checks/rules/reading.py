# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that can't be read, have the wrong type, or don't belong to the role."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..case import Case, Reading
from ..rule import Example, Found, Rule, finds

PREFIX = "flask_app_"
#: Mappings and lists that may hold secrets. A text in their place is refused, even if Ansible could convert it.
AS_GIVEN = ("flask_app_secrets", "flask_app_env", "flask_app_build_environment", "flask_app_secret_key_fallbacks")

UNKNOWN_VARIABLE = Rule(
    "unknown-variable",
    "The role has no variable of this name, so nothing would read it.",
    bad=Example({"flask_app_server_name": "shop.example.org"}),
    good=Example({"flask_app_server_names": ["shop.example.org"]}),
)
MISSING_VALUE = Rule(
    "missing-value",
    "A required variable is not set, or is empty.",
    bad=Example({"flask_app_server_names": []}),
    good=Example({"flask_app_server_names": ["shop.example.org"]}),
)
UNREADABLE_VARIABLE = Rule(
    "unreadable-variable",
    "A variable's template fails, usually because it names an undefined variable.",
    fix="Define it, or correct the template.",
    bad=Example({"flask_app_release_command": "{{ migrate }}"}),
    good=Example({"migrate": "flask db upgrade", "flask_app_release_command": "{{ migrate }}"}),
)
WRONG_TYPE = Rule(
    "wrong-type",
    "A value has the wrong type for its variable.",
    fix="Correct the value.",
    bad=Example({"flask_app_http_port": "eighty"}),
    good=Example({"flask_app_http_port": 80}),
)
UNQUOTED_NUMBER = Rule(
    "unquoted-number",
    "A version is written as a number, and YAML drops its trailing zeros: 3.10 becomes 3.1.",
    fix="Write it in quotes.",
    bad=Example({"flask_app_python_minimum": 3.10}),
    good=Example({"flask_app_python_minimum": "3.10"}),
)


def misspelt(names: Iterable[str], known: Collection[str]) -> Iterator[Found]:
    """Find variables that start with the role's prefix but don't belong to it."""
    for name in sorted(set(names)):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            fix = f"Did you mean {near[0]}?" if near else "Remove it; roles/flask_app/defaults/main.yml lists them all."
            yield UNKNOWN_VARIABLE(name, f"{name} is not a variable of this role.", fix)


@finds(UNKNOWN_VARIABLE)
def unknown(case: Case) -> Iterator[Found]:
    yield from misspelt(case.reading.names, case.reading.known)


@finds(UNREADABLE_VARIABLE)
def unreadable(case: Case) -> Iterator[Found]:
    for name, reason in case.reading.unreadable.items():
        if reason and name != "flask_app_secrets":
            yield UNREADABLE_VARIABLE(name, f"{name} can't be read: {reason}.")
    secrets = case.reading.unreadable.get("flask_app_secrets") or "; ".join(
        f"{name}, {reason}" for name, reason in case.reading.secrets.items()
    )
    if secrets:
        environment = str(case.reading.given.get("flask_app_environment", "<environment>"))
        fix = (
            f"Make new secrets with script/secrets {environment}, or add what is missing with:"
            f" ansible-vault edit inventories/{environment}/group_vars/flask_app/vault.yml. If the app doesn't need the"
            " secret, remove its name from flask_app_secrets and flask_app_required_secrets."
        )
        yield UNREADABLE_VARIABLE("flask_app_secrets", f"flask_app_secrets can't be read: {secrets}.", fix)


@finds(WRONG_TYPE, UNQUOTED_NUMBER, MISSING_VALUE)
def types(case: Case) -> Iterator[Found]:
    ambiguous = list(_ambiguous_values(case.reading))
    yield from ambiguous
    given, faults = case.reading.given, case.reading.faults
    missing = sorted(name for name, texts in faults.items() if texts and name not in given)
    if missing:
        what = f"not set: {', '.join(missing)}."
        fix = "Set it in inventories/<environment>/group_vars/flask_app/main.yml."
        yield MISSING_VALUE(missing[0], what, fix, variables=tuple(missing[1:]))
    reported = {found.subject for found in ambiguous if found.rule is WRONG_TYPE}
    for name, texts in faults.items():
        for fault in texts if name in given and name not in reported else ():
            yield WRONG_TYPE(name, f"{fault}.")


def _ambiguous_values(reading: Reading) -> Iterator[Found]:
    """Find values that pass Ansible's own check but mean something other than what was written."""
    for name, value in reading.given.items():
        option: Mapping[str, Any] = reading.known.get(name, {})
        if name in AS_GIVEN and isinstance(value, str):
            kind = "list" if option["type"] == "list" else "mapping"
            yield WRONG_TYPE(name, f"{name} is a text.", f"Write it as a {kind} in YAML.")
        elif option.get("type") == "str" and isinstance(value, float):
            yield UNQUOTED_NUMBER(name, f"{name} is the number {value}, and YAML drops trailing zeros.")
