# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings are known by their ids: each is a slug with a sentence in the reference, on the controller a rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.host import HOST, MOMENTS

from tests.repository import repository

RULES = registry.known()


def ids(name: str) -> Iterator[str]:
    """Yield the ids that a file writes out where it makes a finding."""
    for node in ast.walk(ast.parse(repository.text(name))):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("Finding", "Reported", "refused") or (called == "add" and "/_drift/" in name):
                for kind in node.args[:1]:
                    if isinstance(kind, ast.Constant):
                        yield str(kind.value)


def of(pattern: str) -> set[str]:
    return {each for name in repository.matching(pattern) for each in ids(name)}


def test_an_id_is_a_slug() -> None:
    found = of("plugins/**/*.py") | RULES.keys()
    assert len(found) > 110
    assert [each for each in found if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each)] == []


def test_every_finding_of_the_controller_is_a_rule() -> None:
    """What an action adds, the host has told it."""
    assert of("plugins/plugin_utils/**/*.py") == set()
    assert of("plugins/action/*.py") == {"failed-step"}


def test_every_finding_id_of_a_host_is_described() -> None:
    found = of("plugins/module_utils/**/*.py")
    assert len(found) > 50
    assert found - HOST.keys() - RULES.keys() == set()
    assert HOST.keys() & RULES.keys() == set()
    texts = "".join(map(repository.text, repository.matching("plugins/module_utils/**/*.py")))
    assert [name for name in HOST if f'"{name}"' not in texts] == ["failed-step"]  # the action says so of the host
    assert sum(map(len, MOMENTS.values())) == len(HOST)


def test_the_reference_names_each_id() -> None:
    reference = repository.text("docs/reference/findings.md")
    assert [name for name in RULES if f"`{name}`" not in reference] == []
    assert [name for name in HOST if f"\n#### {name}\n" not in reference] == []
