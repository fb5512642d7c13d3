# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of this collection."""

from __future__ import annotations


class GreenlightError(Exception):
    """Something the operator can fix. The text says what is wrong, where, and what to do; it contains no secret.

    Args:
        message: the sentence for the operator.
        details: facts for the module's result (JSON values), such as journal lines.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details

    def closed_by(self, line: str) -> GreenlightError:
        """Return the error with one more line at the end."""
        return GreenlightError(f"{self}\n{line}", **self.details)
