# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of this collection, and the form of a finding that stops a deploy."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .printable import printable


class GreenlightError(Exception):
    """Something the operator can mend. The text says what is wrong, where, and what to do; it holds no secret.

    Args:
        message: the sentence for the operator.
        details: facts for the result of the module (JSON values), such as journal lines.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Problem:
    """One finding of the preflight: what is wrong (naming the variable or the host's part) and its cure."""

    what: str
    cure: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def entries_for(kind: str, subject: str) -> tuple[str, str]:
    """The entries of flask_app_accepted_findings that mean a finding: all of its kind, or this one only."""
    return kind, f"{kind}:{subject}"


def describe(problems: list[Problem], app: str, host: str) -> str:
    """Render findings as the numbered message that ends the play."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{app} can't be deployed to {host}: {count}, nothing was changed."]
    lines += [f"{number}. {problem.what} {problem.cure}".rstrip() for number, problem in enumerate(problems, start=1)]
    return printable("\n".join(lines))
