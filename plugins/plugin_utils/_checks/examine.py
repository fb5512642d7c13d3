# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the rules: those that stop a deploy, all of them for the doctor, a few for a task that learns more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding

from . import registry
from .case import Case
from .report import Reported, accept, marked
from .rule import APP, DEPLOY, HOST, SOURCE, Check


@dataclass(frozen=True)
class Examination:
    """All findings, and the inventories whose secrets were compared."""

    findings: list[Reported]
    compared: list[str]


@dataclass(frozen=True)
class Verdict:
    """How a deploy treats findings.

    Args:
        problems: the errors that stop it; the fix of an acceptable one names the entry that accepts it.
        warnings: lines to print.
        guarded: whether an error forbids writing the values to any file.
    """

    problems: list[Finding]
    warnings: list[str]
    guarded: bool


def examine(case: Case) -> Examination:
    """Return everything that any rule finds."""
    there = {SOURCE: bool(case.values.get("flask_app_source_directory")), APP: bool(case.says)}
    there |= dict.fromkeys((HOST, DEPLOY), False)
    rules = registry.known().values()
    found, left_out = registry.looked(case)
    unseen = [rule.id for rule in rules if not all(there[need] for need in rule.needs)]
    unseen += [finding.id for finding in left_out]
    listed = list(dict.fromkeys(finding for _, finding in found))
    return Examination(accept(listed, case["accepted_findings"], _never(), unseen), case.compared)


def for_deploy(case: Case, asked: Iterable[Check] | None = None) -> Verdict:
    """Return what stops a deploy, and its warnings.

    Args:
        case: what is examined.
        asked: the rules' functions to call, if not all.
    """
    rules = registry.known()
    found, _ = registry.looked(case, lambda rule: rule.stops_deploys or rule.warns_deploys, asked)
    unaccepted = _unaccepted(dict.fromkeys(finding for _, finding in found), case)
    # Errors that can't be accepted come first.
    errors = sorted(
        (each for each in unaccepted if each.severity == ERROR), key=lambda finding: rules[finding.id].acceptable
    )
    return Verdict(
        [each.refusal() if rules[each.id].acceptable else each for each in errors],
        [each.warning() for each in unaccepted if each.severity != ERROR and rules[each.id].warns_deploys],
        any(check.guards and finding.severity == ERROR for check, finding in found),
    )


def of_the_app(case: Case) -> list[str]:
    """Return a line for each unaccepted finding about what the app reports."""
    return [each.warning() for each in _unaccepted(registry.findings(case, lambda rule: APP in rule.needs), case)]


def _unaccepted(found: Iterable[Finding], case: Case) -> list[Reported]:
    return [each for each in marked(found, case["accepted_findings"] or [], _never()) if not each.accepted]


def _never() -> set[str]:
    """Return the ids of the rules whose findings can't be accepted."""
    return {rule.id for rule in registry.known().values() if not rule.acceptable}
