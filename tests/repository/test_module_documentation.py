# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-doc describes exactly the options that each module and filter takes."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest
import yaml
from ansible_collections.greenlight.flask.plugins.module_utils._options import REQUIRED_BY

from tests.repository import repository
from tests.support.steps import MODULE, NAMES, STEPS, options_of

MODULES = sorted(NAMES)
FILTERS = [PurePath(name).stem for name in repository.matching("plugins/filter/*.py")]
#: The keys that both a DOCUMENTATION and a SPEC have for an option; the others are text or behaviour.
COMPARED = ("choices", "default", "elements", "required", "type")


def options(described: dict[str, Any], nested: str) -> dict[str, Any]:
    """Convert options to a common form; ``nested`` is the key that holds an option's suboptions."""
    return {
        name: {
            "type": "str",
            "required": False,
            **{key: option[key] for key in COMPARED if key in option},
            "options": options(option.get(nested, {}), nested),
        }
        for name, option in described.items()
    }


def documents(kind: str, stems: list[str]) -> dict[str, Any]:
    """Return what ansible-doc prints for plugins of one kind, including the shared parts."""
    names = [f"greenlight.flask.{name}" for name in stems]
    command = [repository.tool("ansible-doc"), "--type", kind, "--json", *names]
    done = repository.run(*command, directory=repository.ROOT)
    assert done.returncode == 0, done.stderr
    return {name.rpartition(".")[2]: document for name, document in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return documents("module", MODULES)


@pytest.fixture(scope="module")
def shown_filters() -> dict[str, Any]:
    return documents("filter", FILTERS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_documents_its_options(name: str, shown: dict[str, Any]) -> None:
    assert options(shown[name]["doc"]["options"], "suboptions") == options(options_of(name), "options")
    assert shown[name]["doc"]["module"] == name


@pytest.mark.parametrize("name", MODULES)
def test_module_examples_use_real_options_and_the_full_name(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.greenlight.flask.plugins.modules.{name}")
    tasks = [task for task in yaml.safe_load(module.EXAMPLES) if f"greenlight.flask.{name}" in task]
    assert tasks
    takes = options_of(name)
    required = {option for option, spec in takes.items() if spec.get("required")}
    for task in tasks:
        given = set(task[f"greenlight.flask.{name}"])
        if "variables_from" in given:  # the action makes the option from these
            given = given - {"variables_from"} | {"variables"}
        # An action may make an option from others, which the collection documents in prose.
        action = repository.ROOT / f"plugins/action/{name}.py"
        if action.resolve().stem == "opening_step":  # identifies the run that takes the lock
            required |= {*REQUIRED_BY["owner"]}
        has_its_own = action.exists() and action.resolve().stem not in ("step", "opening_step")
        assert has_its_own or required <= given <= {*takes, "by"}, (required - given, given - takes.keys())
        assert list(lacking(task[f"greenlight.flask.{name}"], takes)) == []


def lacking(given: dict[str, Any], takes: dict[str, Any]) -> Iterator[str]:
    """Yield the required options that a group of values in an example lacks."""
    for option, value in given.items():
        inner = takes.get(option, {}).get("options", {}) if isinstance(value, dict) else {}
        yield from (f"{option}.{name}" for name, spec in inner.items() if spec.get("required") and name not in value)
        yield from lacking(value, inner) if inner else ()


def test_every_documented_module_has_exactly_one_action() -> None:
    actions = [path.stem for path in (repository.ROOT / "plugins/action").glob("*.py")]
    assert STEPS < {*actions} == {*(NAMES - {MODULE}), "step", "opening_step"}


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_shows_each_module_completely(name: str, shown: dict[str, Any]) -> None:
    assert shown[name]["doc"]["short_description"]
    assert shown[name]["doc"]["attributes"]["check_mode"]["support"] == "full"
    assert shown[name]["examples"]
    assert shown[name]["return"]


def test_the_collection_has_filters_to_check() -> None:
    assert "environment_file" in FILTERS


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_documents_its_input_and_output(name: str, shown_filters: dict[str, Any]) -> None:
    module = importlib.import_module(f"ansible_collections.greenlight.flask.plugins.filter.{name}")
    filters = module.FilterModule().filters()
    assert list(filters) == [name]
    first, *others = inspect.signature(filters[name]).parameters.values()
    # The value before the bar is called _input, whatever the function calls it.
    takes = {"_input": first, **{parameter.name: parameter for parameter in others}}
    needed = {option: parameter.default is inspect.Parameter.empty for option, parameter in takes.items()}
    document = shown_filters[name]["doc"]
    assert {option: said.get("required", False) for option, said in document["options"].items()} == needed
    assert all(option["description"] and option["type"] for option in document["options"].values())
    assert document["positional"] == "_input"
    assert document["name"] == name
    assert document["short_description"]
    assert list(shown_filters[name]["return"]) == ["_value"]


@pytest.mark.parametrize("name", FILTERS)
def test_filter_examples_use_the_full_name(name: str, shown_filters: dict[str, Any]) -> None:
    tasks = yaml.safe_load(shown_filters[name]["examples"])
    assert tasks
    assert all(re.search(rf"\| greenlight\.flask\.{name}\b", json.dumps(task)) for task in tasks)
