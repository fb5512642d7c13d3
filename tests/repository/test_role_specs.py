# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's variables are in two files, for users and for the preflight; the two must agree."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from tests.repository import repository

ROLES = ["flask_app", "throwaway_servers"]
#: Options that the spec doesn't require although they have no default, with the reason.
NEITHER_REQUIRED_NOR_DEFAULT = {
    "flask_app_secrets": "an app may have none, and without a vault file the preflight says which command makes it",
}


@cache
def options(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of the main entry point."""
    spec = repository.load_yaml(f"roles/{role}/meta/argument_specs.yml")
    found: dict[str, dict[str, Any]] = spec["argument_specs"]["main"]["options"]
    return found


@cache
def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = repository.load_yaml(f"roles/{role}/defaults/main.yml")
    return found


def commented_out(role: str) -> set[str]:
    """Return the names in defaults/main.yml without a default there."""
    return set(re.findall(rf"^# ({role}\w*):", repository.text(f"roles/{role}/defaults/main.yml"), re.MULTILINE))


def is_expression(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_spec_name_the_same_variables(role: str) -> None:
    assert defaults(role).keys() | commented_out(role) == options(role).keys()


@pytest.mark.parametrize("role", ROLES)
def test_no_variable_has_both_a_default_and_a_commented_default(role: str) -> None:
    assert not defaults(role).keys() & commented_out(role)


@pytest.mark.parametrize("role", ROLES)
def test_literal_defaults_match_the_spec(role: str) -> None:
    literal = {name: value for name, value in defaults(role).items() if not is_expression(value)}
    assert {name: options(role)[name].get("default") for name in literal} == literal


@pytest.mark.parametrize("role", ROLES)
def test_literal_defaults_of_the_spec_match_the_role(role: str) -> None:
    specified = {
        name: option["default"]
        for name, option in options(role).items()
        if "default" in option and not is_expression(option["default"])
    }
    assert {name: defaults(role).get(name) for name in specified} == specified


@pytest.mark.parametrize("role", ROLES)
def test_literal_defaults_have_the_type_of_the_spec(role: str) -> None:
    types = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict, "float": float}
    for name, value in defaults(role).items():
        if not is_expression(value):
            assert type(value) is types[options(role)[name]["type"]], name


@pytest.mark.parametrize("role", ROLES)
def test_a_variable_is_required_exactly_if_it_has_no_default(role: str) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    excused = {name for name in NEITHER_REQUIRED_NOR_DEFAULT if name.startswith(role)}
    assert required | excused == commented_out(role)
    assert not required & excused


@pytest.mark.parametrize("role", ROLES)
def test_each_variable_is_described_and_has_the_prefix_of_its_role(role: str) -> None:
    for name, option in options(role).items():
        assert re.fullmatch(rf"{role}(_[a-z0-9_]+)?", name)
        assert str(option.get("description", "")).endswith("."), name
