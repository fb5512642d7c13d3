# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule finds its bad example and not its good one; the registry finds each rule."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry, rule
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rule import Example, Rule

from tests.support import certificates
from tests.unit.cases import SAYS, as_read, ids, values, without_git

RULES = registry.known()
EXAMPLES = [(each, kind) for each in RULES.values() for kind in ("bad", "good") if each.bad]
#: Findings of hosts, deploys and the doctor itself, which no inventory can show.
WITHOUT_EXAMPLE = {
    "other-database",
    "other-key",
    "app-unreachable",
    "unit-setting",
    "unproved-debug",
    "unused-acceptance",
}


@cache
def pem(what: str) -> str:
    """Return the PEM text for an example's placeholder."""
    key, site = _key(), "shop.example.org"
    made = {
        "<certificate of shop.example.org>": lambda: certificates.certificate(key, site),
        "<certificate of another authority>": lambda: certificates.certificate(certificates.key(), "authority"),
        "<certificate of example.com>": lambda: certificates.certificate(key, "example.com"),
        "<certificate that ended yesterday>": lambda: certificates.certificate(
            key, site, begins_days=-30, ends_days=-1
        ),
        "<certificate that begins tomorrow>": lambda: certificates.certificate(key, site, begins_days=1),
        "<its key>": lambda: certificates.key_pem(key),
        "<another key>": lambda: certificates.key_pem(certificates.key()),
        "<its key with a passphrase>": lambda: certificates.key_pem(key, "x"),
    }
    return made[what]()


@cache
def _key() -> Any:
    return certificates.key()


def meant(value: Any) -> Any:
    return re.sub(r"<[^>]+>", lambda match: pem(match[0]), value) if isinstance(value, str) else value


def case_of(example: Example, directory: Path) -> Case:
    """Make what the example describes."""
    variables = {name: meant(value) for name, value in example.variables.items()}
    if example.source:
        variables["flask_app_source_directory"] = str(directory / "source")
    files = {f"source/{name}": text for name, text in example.source.items()}
    files |= {f"inventories/{name}": text for name, text in example.inventory.items()}
    files["inventories/production/hosts.yml"] = "flask_app: {hosts: {production1: }}\n"
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    says = {**SAYS, **example.says} if example.says else {}
    environment = variables.pop("flask_app_environment", "production")
    place = Place(directory / "inventories/production")
    return as_read(values(environment, **variables), place=place, says=says)


@pytest.fixture(autouse=True)
def _files_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    without_git(monkeypatch)


@pytest.mark.parametrize(("each", "kind"), EXAMPLES, ids=lambda each: getattr(each, "id", each))
def test_a_rule_finds_its_bad_example_and_not_its_good_one(each: Rule, kind: str, tmp_path: Path) -> None:
    seen = case_of(getattr(each, kind), tmp_path)
    found = [finding for finding in registry.findings(seen) if finding.id == each.id]
    assert bool(found) == (kind == "bad")
    for finding in found:
        assert finding.what
        assert finding.fix or each.id in ("unfit-lock", "unreadable-lock", "unfit-variable")
        assert finding.severity == each.is_at(each.severity, seen) or each.severity == rule.EITHER
        assert finding.severity in (ERROR, WARNING)


@pytest.mark.parametrize("each", RULES.values(), ids=RULES)
def test_a_rule_has_both_examples_and_a_check(each: Rule) -> None:
    alone = each.id in WITHOUT_EXAMPLE
    assert (each.bad is None) == (each.good is None) == alone
    assert each.bad != each.good or alone
    looked_for = any(each in check.rules for check in registry.checks())
    assert looked_for or alone
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each.id)
    assert each.docs.endswith(".")


def test_a_check_reports_only_its_own_rules(tmp_path: Path) -> None:
    for number, (each, kind) in enumerate(EXAMPLES):
        seen = case_of(getattr(each, kind), tmp_path / str(number))
        for check in registry.checks():
            assert {found.rule.id for found in check(seen)} <= {one.id for one in check.rules}


def test_a_correct_app_breaks_no_rule(tmp_path: Path) -> None:
    assert ids(registry.findings(case_of(Example(), tmp_path))) == set()
