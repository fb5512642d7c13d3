# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and values of the variables in a process's environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import environment_text
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError

from ..case import Case
from ..process import old_keys, reserved_names
from ..rule import Example, Found, Rule, finds

VARIABLE_TWICE = Rule(
    "variable-twice",
    "Two of the role's variables set the same variable of the process.",
    fix="Keep one of them.",
    bad=Example({"flask_app_env": {"SECRET_KEY": "x"}}),
    good=Example({"flask_app_env": {"GREETING": "x"}}),
)
UNFIT_VARIABLE = Rule(
    "unfit-variable",
    "A name or a value is not allowed in a process's environment.",
    bad=Example({"flask_app_env": {"MAIL-HOST": "mail.example.org"}}),
    good=Example({"flask_app_env": {"MAIL_HOST": "mail.example.org"}}),
)
#: The role's variables that name variables of the process.
_NAMING = ("environment", "revision", "release", "secret_key")


@finds(VARIABLE_TWICE, UNFIT_VARIABLE)
def of_the_app(case: Case) -> Iterator[Found]:
    given = {**case.app_variables, "flask_app_secret_key_fallbacks": old_keys(case)}
    yield from _faults(given, taken=reserved_names(case))


@finds(UNFIT_VARIABLE)
def of_the_build(case: Case) -> Iterator[Found]:
    """Check the build's variables; the app may have the same names, because the build is another process."""
    yield from _faults({"flask_app_build_environment": case.values.get("flask_app_build_environment") or {}})


def _faults(variables: Mapping[str, Mapping[str, Any]], taken: list[str] | None = None) -> Iterator[Found]:
    owners: dict[str, str] = {}
    for owner, values in variables.items():
        for name, value in values.items():
            if name in owners and name not in (taken or ()):
                what = f"{name} is in both {owners[name]} and {owner}."
                yield VARIABLE_TWICE(owner, what, variables=(owners[name],))
            owners[name] = owner
            try:
                environment_text(name, value)
            except GreenlightError as error:
                yield UNFIT_VARIABLE(owner, f"{owner}: {error}")


@finds(UNFIT_VARIABLE, guards=True)
def names(case: Case) -> Iterator[Found]:
    for name in (f"flask_app_{part}_variable" for part in _NAMING):
        try:
            environment_text(case.values[name], "")
        except GreenlightError as error:
            yield UNFIT_VARIABLE(name, f"{name}: {error}")
    try:
        environment_text("flask_app_revision", case.values.get("flask_app_revision") or "")
    except GreenlightError as error:
        yield UNFIT_VARIABLE("flask_app_revision", str(error))
