# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-doc says of a module is what the module takes."""

from __future__ import annotations

import importlib
import json
from pathlib import PurePath
from typing import Any

import pytest
import yaml

from tests.repository import repository

MODULES = [PurePath(name).stem for name in repository.matching("plugins/modules/*.py")]
#: Of an option in a DOCUMENTATION and of one in a SPEC; the rest is text or behaviour.
COMPARED = ("choices", "default", "elements", "required", "type")


def options(described: dict[str, Any], nested: str) -> dict[str, Any]:
    """Bring options to one form; ``nested`` is the key that holds the options of an option."""
    return {
        name: {
            "type": "str",
            "required": False,
            **{key: option[key] for key in COMPARED if key in option},
            "options": options(option.get(nested, {}), nested),
        }
        for name, option in described.items()
    }


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What ansible-doc shows of all modules, with the parts that they share."""
    names = [f"greenlight.flask.{name}" for name in MODULES]
    command = [repository.tool("ansible-doc"), "--type", "module", "--json", *names]
    done = repository.run(*command, directory=repository.ROOT)
    assert done.returncode == 0, done.stderr
    return {name.rpartition(".")[2]: document for name, document in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_documents_the_options_that_it_takes(name: str, shown: dict[str, Any]) -> None:
    module = importlib.import_module(f"ansible_collections.greenlight.flask.plugins.modules.{name}")
    assert options(shown[name]["doc"]["options"], "suboptions") == options(module.SPEC, "options")
    assert shown[name]["doc"]["module"] == name


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_use_its_options_and_its_full_name(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.greenlight.flask.plugins.modules.{name}")
    tasks = [task for task in yaml.safe_load(module.EXAMPLES) if f"greenlight.flask.{name}" in task]
    assert tasks
    required = {option for option, spec in module.SPEC.items() if spec.get("required")}
    for task in tasks:
        given = task[f"greenlight.flask.{name}"].keys()
        # The action of the same name may make an option from others, which the collection documents in its sentences.
        has_action = (repository.ROOT / f"plugins/action/{name}.py").exists()
        assert has_action or required <= given <= module.SPEC.keys()


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_shows_a_module_whole(name: str, shown: dict[str, Any]) -> None:
    assert shown[name]["doc"]["short_description"]
    assert shown[name]["doc"]["attributes"]["check_mode"]["support"] == "full"
    assert shown[name]["examples"]
    assert shown[name]["return"]
