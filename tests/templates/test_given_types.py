# SPDX-License-Identifier: GPL-3.0-or-later
"""A number, list or boolean given as text, as with -e, has the same effect in each task as the typed value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.reading import AS_GIVEN
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import plain

from tests.support.steps import options_of
from tests.templates.test_templates import (
    DEPLOY,
    HOST,
    MOMENTS,
    ROLE,
    VARIABLE_FILES,
    WAITING,
    resolved,
    tasks_of,
)

pytestmark = pytest.mark.slow

OPTIONS: dict[str, dict[str, Any]] = {
    name: option
    for entry in yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"].values()
    for name, option in entry["options"].items()
}
#: By type: values, and texts that Ansible's check accepts for them, though not every template would.
TEXTS: dict[str, list[tuple[Any, list[str]]]] = {
    "int": [(7, [" 7"])],
    "bool": [(True, ["y"]), (False, ["no"])],
    "list": [(["a.example", "b.example"], ["a.example,b.example"])],
    "dict": [({"one": "x"}, ["one=x"])],
}
CASES = [
    (name, value, text)
    for name, option in OPTIONS.items()
    if name not in AS_GIVEN
    for value, texts in TEXTS.get(option["type"], [])
    for text in texts
]
#: Features that are on in these moments, so that each variable has an effect.
ALWAYS = {
    "flask_app_deployer": "alice",
    "flask_app_notify_url": "https://example.org",
    "flask_app_release_command": "x",
    "flask_app_tls": "self_signed",
    "flask_app_environment": "qa",
    "flask_app_environments": ["qa"],
    "flask_app_nginx_hsts_seconds": 9,
    "flask_app_nginx_rate_limit": 1,
    "flask_app_maintenance": True,
    "__flask_app_inspected": {},
    "__flask_app_doctor": {},
}
BARE = {"run": "0a1b2c3d4e5f", "host": {**HOST, "packages_missing": ["nginx"], "account": False, "claimed": False}}
MORE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "maintenance": (("maintenance",), {"__flask_app_host": HOST}),
    "doctor": (("doctor", "compare"), {}),
    "deploy": (("main",), {**DEPLOY, "__flask_app_opened": BARE, "__flask_app_release": WAITING}),
}


@cache
def names_behind(text: str) -> frozenset[str]:
    """Return the variables that a text depends on, through other variables and templates."""
    found: set[str] = set()
    waiting = [text]
    while waiting:
        part = waiting.pop()
        texts = [str(texts_of_variables()[name]) for name in _names(part) - found if name in texts_of_variables()]
        found |= _names(part)
        paths = re.findall(r"'((?:etc|srv)/[\w./@-]+\.j2)'", part)
        waiting += texts + [(ROLE / "templates" / path).read_text("utf-8") for path in paths if path not in found]
        found |= set(paths)
    return frozenset(found)


def _names(text: str) -> set[str]:
    return set(re.findall(r"\b_*flask_app_\w+", text))


@cache
def texts_of_variables() -> dict[str, Any]:
    return {name: value for path in VARIABLE_FILES for name, value in yaml.safe_load(path.read_text("utf-8")).items()}


def tasks_with(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each task that depends on a variable once, with what is known then."""
    seen = set()
    for files, known in [*MORE.values(), *MOMENTS.values()]:
        for task in tasks_of(*files):
            if task["name"] not in seen and name in names_behind(str(task)):
                seen.add(task["name"])
                yield task, known


def taken(task: dict[str, Any] | None) -> Any:
    """Return a task with the collection's options as the host converts them."""
    found = plain(task)
    for key in found or ():
        if key.startswith("greenlight.flask."):
            validator = ArgumentSpecValidator(options_of(key.rpartition(".")[2]))
            found[key] = plain(validator.validate(found[key] or {}).validated_parameters)
    return found


def ended(task: dict[str, Any], known: dict[str, Any]) -> Any:
    try:
        return taken(resolved(task, **{**ALWAYS, **known}))
    except AnsibleError as error:
        return f"fails: {type(error).__name__}"


def test_each_option_type_has_text_forms() -> None:
    assert {option["type"] for option in OPTIONS.values()} == {"str", *TEXTS}


@pytest.mark.parametrize(("name", "value", "text"), CASES, ids=[f"{name}={text}" for name, _, text in CASES])
def test_a_text_value_acts_like_the_typed_value(name: str, value: Any, text: str) -> None:
    for task, known in tasks_with(name):
        assert ended(task, {**known, name: text}) == ended(task, {**known, name: value}), task["name"]
