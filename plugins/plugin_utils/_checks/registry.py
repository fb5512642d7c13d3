# SPDX-License-Identifier: GPL-3.0-or-later
"""Find all rules in the files of ``rules``, and run them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding

from . import rules
from .case import Case
from .rule import Check, Found, Rule

#: The file with the rules about how variables were read.
READING = "reading"


def _every(_rule: Rule) -> bool:
    return True


@cache
def families() -> dict[str, tuple[list[Rule], list[Check]]]:
    """Return the rules and the functions of each file. Reading comes first, because all others depend on it."""
    found = {}
    names = [module.name for module in pkgutil.iter_modules(rules.__path__)]
    for name in sorted(names, key=lambda each: (each != READING, each)):
        there = vars(importlib.import_module(f"{rules.__name__}.{name}")).values()
        own = [value for value in there if isinstance(value, Rule)]
        found[name] = (own, [value for value in there if callable(value) and hasattr(value, "rules")])
    return found


@cache
def known() -> dict[str, Rule]:
    """Return all rules by their ids.

    Raises:
        ValueError: two have the same id.
    """
    declared = [rule for own, _ in families().values() for rule in own]
    by_id = {rule.id: rule for rule in declared}
    if len(by_id) != len({id(rule) for rule in declared}):
        raise ValueError("two rules have the same id")
    return by_id


def checks(wanted: Callable[[Rule], bool] = _every) -> Iterator[Check]:
    """Yield the functions that look for one of the wanted rules, each once."""
    seen = set()
    for _, own in families().values():
        for check in own:
            if check not in seen and any(map(wanted, check.rules)):
                seen.add(check)
                yield check


def findings(
    case: Case, wanted: Callable[[Rule], bool] = _every, asked: Iterable[Check] | None = None
) -> list[Finding]:
    """Return what the wanted rules find in a case, each finding once; see :func:`looked`."""
    found, _ = looked(case, wanted, asked)
    return list(dict.fromkeys(finding for _, finding in found))


def looked(
    case: Case, wanted: Callable[[Rule], bool] = _every, asked: Iterable[Check] | None = None
) -> tuple[list[tuple[Check, Finding]], list[Finding]]:
    """Return what the wanted rules find, each with the function that found it, and the findings left out.

    If a variable can't be read or has the wrong type, all other findings about it are left out.

    Args:
        case: what is examined.
        wanted: returns whether a rule counts.
        asked: the functions to call, if not all that look for one of the wanted rules.
    """
    _, of_reading = families()[READING]
    found, left_out = [], []
    for check in checks(wanted) if asked is None else asked:
        for finding in (_finding(each, case) for each in check(case) if wanted(each.rule)):
            if check in of_reading or not finding.concerns(case.reading.wrong):
                found.append((check, finding))
            else:
                left_out.append(finding)
    return found, left_out


def _finding(found: Found, case: Case) -> Finding:
    severity = found.rule.is_at(found.severity, case)
    return Finding(found.rule.id, severity, found.subject, found.what, found.fix, found.variables)
