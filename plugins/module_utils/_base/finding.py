# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings: what is wrong, where, and how to fix it; one class for preflight, doctor, removal, verify and all steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from .errors import GreenlightError

ERROR = "error"
WARNING = "warning"
#: Where the result of a step that was refused has its findings, for the action; the message is for people.
REFUSED = "refused"
#: The fields that are sent as JSON.
FIELDS = ("id", "severity", "subject", "what", "fix")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. Its texts never contain a secret.

    Args:
        id: kind of fault, a short slug such as ``weak-key``. Code and tests identify a finding by it, never by a text.
        severity: ``error`` or ``warning``.
        subject: the variable, file, unit or part of the host that it is about.
        what: one sentence that says what is wrong and where.
        fix: what to do or to type; may be empty.
        variables: other variables of the role that it depends on.
    """

    id: str
    severity: str
    subject: str
    what: str
    fix: str = ""
    variables: tuple[str, ...] = field(default=(), compare=False)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the finding that :meth:`as_dict` described."""
        return cls(**values)

    def concerns(self, names: Iterable[str]) -> bool:
        """Say whether it is about one of these variables of the role."""
        return not {self.subject, *self.variables}.isdisjoint(names)

    def lines(self, mark: str = "") -> list[str]:
        """Render it for people: ``mark`` (by default the severity), id and subject; below, what and fix."""
        fix = [f"Fix: {self.fix}"] if self.fix else []
        head = f"{mark or self.severity} {self.id}:{self.subject}"
        return [head, *(f"  {line}" for text in (self.what, *fix) for line in text.splitlines())]

    def __str__(self) -> str:
        return f"{self.what} Fix: {self.fix}" if self.fix else self.what


def numbered(findings: Iterable[Finding]) -> list[str]:
    """Render several, each with its number."""
    return [line for number, each in enumerate(findings, start=1) for line in each.lines(f"{number}.")]


class Refused(GreenlightError):  # noqa: N818  # for the operator, not a bug
    """A step stops because of its findings.

    Args:
        findings: at least one.
        heading: a sentence before them; optional for one finding.
        closing: lines after them, such as which release serves now.
        details: see :class:`GreenlightError`.
    """

    def __init__(
        self,
        *findings: Finding,
        heading: str = "",
        closing: Sequence[str] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        listed = [heading, *numbered(findings)] if heading else [line for each in findings for line in each.lines()]
        super().__init__("\n".join([*listed, *closing]), **(details or {}))
        self.findings, self.heading, self.closing = findings, heading, closing

    def closed_by(self, line: str) -> Refused:
        return Refused(*self.findings, heading=self.heading, closing=[*self.closing, line], details=self.details)


def refused(
    kind: str,
    subject: object,
    what: str,
    fix: str = "",
    *,
    closing: Sequence[str] = (),
    details: Mapping[str, object] | None = None,
) -> Refused:
    """Return the error for a single finding that stops a step; ``kind`` is its id. See the two classes."""
    return Refused(Finding(kind, ERROR, str(subject), what, fix), closing=closing, details=details)


def entries_for(kind: str, subject: str) -> tuple[str, str]:
    """Return the entries of flask_app_accepted_findings that accept a finding: all of its kind, or only this one."""
    return kind, f"{kind}:{subject}"
