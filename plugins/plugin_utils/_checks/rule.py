# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule: one fault as data, and the functions that look for it.

A file in the directory ``rules`` declares rules and looks for them::

    WIDE_BODY = Rule(
        "wide-body",
        "flask_app_nginx_body_size_mb is larger than the memory of a small server.",
        fix="Set a smaller number, or let visitors upload elsewhere.",
        acceptable=True,
        bad=Example({"flask_app_nginx_body_size_mb": 4096}),
        good=Example({"flask_app_nginx_body_size_mb": 16}),
    )

    @finds(WIDE_BODY)
    def wide_body(case: Case) -> Iterator[Found]:
        if case["nginx_body_size_mb"] > 1024:
            yield WIDE_BODY("flask_app_nginx_body_size_mb", "flask_app_nginx_body_size_mb is more than 1024.")

That is all: a deploy stops at it, unless somebody accepts it, and the doctor reports it. With ``severity=WARNING`` the
doctor alone does, or with ``warns_deploys=True`` a deploy too. docs/reference/findings.md has it, and its examples are
tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING

from .case import Case

#: Dangerous where there are users, and common where there are none.
OUTSIDE_DEVELOPMENT = "error, warning in development"
#: The function that finds it decides on the severity.
EITHER = "error or warning"

#: What a rule may need in addition to the role's variables: the app's source on the controller, the live app, the host,
#: or the workers of a new release.
SOURCE, APP, HOST, DEPLOY = "source", "app", "host", "deploy"


@dataclass(frozen=True)
class Example:
    """An inventory that has the fault, or the same without it.

    Args:
        variables: of the role, merged over those of a small app in production.
        source: path to content of files in the app's source.
        says: what the app reports about itself, merged over the report of a sound app.
        inventory: path to content of files in and next to the inventory ``production``.
    """

    variables: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, Any] = field(default_factory=dict)
    inventory: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Args:
        id: a slug such as ``weak-key``, which users, code and tests refer to.
        docs: one sentence for the reference: what is wrong, and why it matters.
        severity: ``error``, ``warning``, :data:`OUTSIDE_DEVELOPMENT` or :data:`EITHER`.
        fix: an imperative sentence, if it is the same for all findings.
        acceptable: whether flask_app_accepted_findings may name it. Other errors always stop a deploy.
        warns_deploys: whether a deploy prints its warnings too, not only the doctor.
        needs: what must be available to look for it.
        bad: an example with the fault.
        good: the same without it.
    """

    id: str
    docs: str
    severity: str = ERROR
    fix: str = ""
    acceptable: bool = False
    warns_deploys: bool = False
    needs: tuple[str, ...] = ()
    bad: Example | None = None
    good: Example | None = None

    def __call__(
        self, subject: str, what: str, fix: str = "", *, severity: str = "", variables: tuple[str, ...] = ()
    ) -> Found:
        """Return a finding of this rule.

        Args:
            subject: the variable, file or key with the fault.
            what: a sentence, without any secret value.
            fix: if it isn't the rule's.
            severity: if the rule leaves it open.
            variables: other variables of the role that it depends on.
        """
        return Found(self, subject, what, fix or self.fix, severity or self.severity, variables)

    @property
    def stops_deploys(self) -> bool:
        """Whether it may be an error."""
        return self.severity != WARNING

    def is_at(self, severity: str, case: Case) -> str:
        """Return ``error`` or ``warning`` for a finding of this severity in this case."""
        if severity == OUTSIDE_DEVELOPMENT:
            return ERROR if case.outside_development else WARNING
        return severity


@dataclass(frozen=True)
class Found:
    """What a function finds; :func:`.registry.findings` turns it into a finding."""

    rule: Rule
    subject: str
    what: str
    fix: str
    severity: str
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what} Fix: {self.fix}" if self.fix else self.what


class Check(Protocol):
    """A function that looks for the faults of some rules.

    Args:
        rules: all rules that it may find.
        guards: whether an error keeps the site from Nginx's test in preflight, which writes values to a file as root.
    """

    rules: tuple[Rule, ...]
    guards: bool

    def __call__(self, case: Case) -> Iterable[Found]: ...


def finds(*rules: Rule, guards: bool = False) -> Callable[[Callable[[Case], Iterator[Found]]], Check]:
    """Register a function that looks for these rules; see :class:`Check`."""

    def mark(function: Callable[[Case], Iterator[Found]]) -> Check:
        function.rules, function.guards = rules, guards  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]

    return mark
