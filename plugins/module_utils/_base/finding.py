# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong, where, and what to type: one class for preflight, doctor, removal and verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

ERROR = "error"
WARNING = "warning"
#: What travels as JSON.
FIELDS = ("id", "severity", "subject", "what", "fix")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; no text of it holds a secret's value.

    Args:
        id: what kind of fault, a short slug such as ``weak-key``. Code and tests know a finding by it, never by a text.
        severity: ``error`` or ``warning``.
        subject: the variable, file, unit or part of the host that it is about.
        what: one sentence that says what is wrong and where.
        fix: what to do or to type; may be empty.
        variables: variables of the role that it rests on, beside the subject.
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
        """Return the finding that :meth:`as_dict` was asked for."""
        return cls(**values)

    def concerns(self, names: Iterable[str]) -> bool:
        """Say whether it is about one of these variables of the role."""
        return not {self.subject, *self.variables}.isdisjoint(names)

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".rstrip()


def entries_for(kind: str, subject: str) -> tuple[str, str]:
    """The entries of flask_app_accepted_findings that mean a finding: all of its kind, or this one only."""
    return kind, f"{kind}:{subject}"
