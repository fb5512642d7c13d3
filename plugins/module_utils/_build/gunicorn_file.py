# SPDX-License-Identifier: GPL-3.0-or-later
"""A source's own gunicorn.conf.py: what it sets, read where the source is and without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .tree import read_text

#: Where Gunicorn looks for its settings, and the role's own file takes in what a source has there.
FILE = "gunicorn.conf.py"
#: Larger files were not written by hand.
_BYTES = 2**18


def names_in(top: Path) -> list[str]:
    """Return the names that the file of a source sets, in its order; none where it isn't there or can't be read."""
    text = read_text(top, FILE, most=_BYTES)
    try:
        return list(dict.fromkeys(assigned(text or "")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # for a newer Python, or Gunicorn says so itself
        return []


def assigned(text: str) -> Iterator[str]:
    """Yield what a module sets at its top.

    Raises:
        SyntaxError: it isn't Python, or is written for a newer one than ours.
    """
    yield from _assigned(ast.parse(text).body)


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    """Yield what the statements of a module set, those inside an ``if``, a ``try`` and their like too."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in statement.names)
            continue
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, ast.stmt):
                yield from _assigned([node])
            elif isinstance(node, (ast.ExceptHandler, ast.match_case)):
                yield from _assigned(node.body)
            else:
                names = (each for each in ast.walk(node) if isinstance(each, ast.Name))
                yield from (name.id for name in names if isinstance(name.ctx, ast.Store))
