# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings are known by their ids: each is a slug, has one meaning, and is in the README where the doctor says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.doctor import NEVER_ACCEPTED

from tests.repository import repository

CHECKS = "plugins/plugin_utils/_checks"
#: What a deploy refuses, accepted or not, and the doctor says too.
INPUTS = [
    *(f"{CHECKS}/{name}.py" for name in ("inputs", "edge_inputs", "settings")),
    "plugins/module_utils/_app/names.py",
    "plugins/action/preflight.py",
]
DOCTOR = [f"{CHECKS}/doctor.py", f"{CHECKS}/dotenv.py", f"{CHECKS}/report.py", "plugins/action/doctor.py"]
#: What only a host shows, so the doctor never says it.
OF_A_HOST = {"failed-step", "lost-stamp", "name-in-use"}


def ids(name: str) -> Iterator[str]:
    """Yield the ids that a file writes out where it makes a finding."""
    for node in ast.walk(ast.parse(repository.text(name))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Finding", "Reported"):
            for kind in node.args[:1]:
                if isinstance(kind, ast.Constant):
                    yield str(kind.value)


def of(names: list[str]) -> set[str]:
    return {each for name in names for each in ids(name)}


def test_an_id_is_a_slug() -> None:
    found = of(repository.matching("plugins/**/*.py"))
    assert len(found) > 80
    assert [each for each in found if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each)] == []


def test_what_is_wrong_with_an_input_is_no_finding_that_can_be_accepted() -> None:
    assert of(INPUTS) & of(DOCTOR) <= {*NEVER_ACCEPTED}


@pytest.mark.parametrize("name", sorted((of(INPUTS) | of(DOCTOR)) - OF_A_HOST))
def test_what_the_doctor_says_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in repository.text("README.md")
