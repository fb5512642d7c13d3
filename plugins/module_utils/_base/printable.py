# SPDX-License-Identifier: GPL-3.0-or-later
"""Show text of others, such as an app's answer or its journal, as it is: no terminal obeys it, and no reader is misled.

The last step before text becomes a message: secrets are masked before, for an escape would hide them from the search.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

#: Control characters (also those above ASCII), formats such as a change of direction, separators, halves of surrogates.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: Line breaks and tabs are layout; the joiners are letters' business, as in Persian and in emoji.
_KEPT = "\n\t\u200c\u200d"


def printable(text: str) -> str:
    r"""Return ``text`` with what a terminal would obey written as Python writes it, as in ``\x1b`` and ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    lines = re.sub(r"\r+\n", "\n", text)
    return "".join(map(_shown, lines))


def on_one_line(text: str) -> str:
    """Return a name, such as a path, with its line breaks and whatever else a terminal would obey escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def all_printable(value: Any) -> Any:
    """Return a result, a value of JSON, with each text in it printable."""
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
