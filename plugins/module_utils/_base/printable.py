# SPDX-License-Identifier: GPL-3.0-or-later
"""Escape untrusted text, such as an app's answer or its journal, so that it controls no terminal and misleads nobody.

This is the last step before text becomes a message. Secrets are masked first: the search wouldn't find escaped ones.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

#: Control characters (also those above ASCII), format characters such as text direction, surrogates and separators.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: Line breaks and tabs are layout; Persian and emoji need the joiners.
_KEPT = "\n\t\u200c\u200d"


def printable(text: str) -> str:
    r"""Return ``text`` with everything that a terminal would obey escaped as in Python: ``\x1b``, ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    lines = re.sub(r"\r+\n", "\n", text)
    return "".join(map(_shown, lines))


def on_one_line(text: str) -> str:
    """Return a name, such as a path, with line breaks and everything else that a terminal would obey escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def all_printable(value: Any) -> Any:
    """Return a JSON value with all its texts printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {all_printable(key): all_printable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_printable(each) for each in value]
    return value


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape").decode()
