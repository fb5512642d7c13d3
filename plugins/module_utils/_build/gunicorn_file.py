# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which settings a source's own gunicorn.conf.py has, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .tree import read_text

#: Where Gunicorn looks for its settings; the role's own file includes the source's.
FILE = "gunicorn.conf.py"
#: Skip larger files: nobody wrote them by hand.
_BYTES = 2**18


def names_in(top: Path) -> list[str]:
    """Return the names that a source's file sets, in its order; none if it is missing or can't be read."""
    text = read_text(top, FILE, most=_BYTES)
    try:
        return list(dict.fromkeys(assigned(text or "")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # for a newer Python, or Gunicorn will report it
        return []


def assigned(text: str) -> Iterator[str]:
    """Yield the names that a module sets at its top level.

    Raises:
        SyntaxError: it isn't Python, or needs a newer version than ours.
    """
    yield from _assigned(ast.parse(text).body)


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that the statements of a module set, including those inside ``if``, ``try`` and the like."""
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
