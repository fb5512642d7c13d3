# SPDX-License-Identifier: GPL-3.0-or-later
"""Find an app that asks for its visitors' addresses and reads none of the headers in which Nginx passes them on."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path

#: What Flask, Flask-Limiter and WSGI call the address of whoever is connected: behind Nginx, nobody's.
_ADDRESSES = {"remote_addr", "access_route", "REMOTE_ADDR", "get_remote_address", "get_ipaddr"}
_KNOWN_HEADERS = r"proxy_?fix|x[-_]forwarded[-_]for"


def without_proxy_fix(top: Path, names: Collection[str], header: str) -> tuple[str, int] | None:
    """Return a file and line that asks for the address, where no file believes a proxy; else None.

    Args:
        top: the directory of the source.
        names: its Python files.
        header: another header that an app may read, as Nginx sets it, too.
    """
    believes = re.compile(f"{_KNOWN_HEADERS}|{'[-_]'.join(map(re.escape, header.split('-')))}", re.IGNORECASE)
    asks = None
    for name in names:
        path = top / name
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if believes.search(text):
            return None
        asks = asks or _asks(name, text)
    return asks


def _asks(name: str, text: str) -> tuple[str, int] | None:
    if not any(word in text for word in _ADDRESSES):
        return None
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):
        return None
    lines = [
        getattr(node, "lineno", 1)
        for node in nodes
        if (isinstance(node, ast.Attribute) and node.attr in _ADDRESSES)
        or (isinstance(node, ast.Name) and node.id in _ADDRESSES)
        or (isinstance(node, ast.Constant) and node.value in _ADDRESSES)
    ]
    return (name, min(lines)) if lines else None
