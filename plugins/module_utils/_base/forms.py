# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of secrets to look for in a text: each form of a whole value, and the parts of long ones."""

from __future__ import annotations

import base64
import re
import shlex
from urllib.parse import unquote, urlsplit

from .spellings import CORE, MARKS, as_bytes, encoded, quoted

#: Shorter values are not masked: they would turn every message to stars, and the preflight reports them.
SHORTEST = 6
#: Parts of PART characters are masked too in values of at least this length: journald breaks long lines (LineMax=),
#: and programs wrap and cut them.
LONG = 128
PART = 24
#: Minimum number of different characters in a part; a rule of dashes or a row of zeros isn't a secret.
VARIETY = 6
#: Length of the pieces by which parts are found, and the minimum number of different characters in one.
PIECE = 12
PIECE_VARIETY = 3

#: Each part of these is masked, however long the value is.
_CORES = re.compile(rf"[A-Za-z0-9]{{{CORE},}}")
#: The lines that all PEM files have in common.
ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")


class Forms:
    """The forms that are masked as a whole, and those whose parts are masked, with the minimum length of a part."""

    def __init__(self) -> None:
        self.whole: set[str] = set()
        self.parted: dict[str, int] = {}

    def with_escapes(self) -> Forms:
        """Return only the forms with hexadecimal escapes."""
        found = Forms()
        found.whole = {form for form in self.whole if any(mark in form for mark in MARKS)}
        found.parted = {form: least for form, least in self.parted.items() if any(mark in form for mark in MARKS)}
        return found

    def add(self, secret: str) -> None:
        password = _password(secret)
        for value in {secret, secret.strip(), *([password, unquote(password)] if password else [])}:
            self._add_value(value)

    def _add_value(self, value: str) -> None:
        stripped = {line.strip() for line in value.splitlines()}  # journals and programs cut blanks at a line's end
        lines = {*value.splitlines(), *stripped}
        if len(value) < LONG:
            for text in {value, *lines}:
                self._add_whole(text)
            for core in _CORES.findall(value):
                self._add_part(core, CORE)
                self._add_encoded_parts(core)
            return
        for text in ARMOUR.split(value):
            for form in quoted(text):
                if len(form) >= SHORTEST:
                    self.whole.add(form)
                self._add_part(form, PART)
            self._add_encoded_parts(text)
        for core in _CORES.findall(value):
            self._add_part(core, CORE)
        for line in lines:
            if len(set(line)) >= PIECE_VARIETY and (len(line) < PART or len(set(line)) < VARIETY):
                self._add_whole(line)

    def _add_whole(self, text: str) -> None:
        if len(text) < SHORTEST or ARMOUR.fullmatch(text):
            return
        raw = as_bytes(text)
        in_base64 = base64.b64encode(raw), base64.urlsafe_b64encode(raw)
        forms = {
            *quoted(text),
            shlex.quote(text).strip("'"),
            *(form for form, _ in encoded(text)),
            *(form.decode() for form in in_base64),
        }
        self.whole |= {form for form in forms if len(form) >= SHORTEST}

    def _add_encoded_parts(self, text: str) -> None:
        for form, least in encoded(text):
            self._add_part(form, least)

    def _add_part(self, form: str, least: int) -> None:
        if len(form) >= least:
            self.parted[form] = min(least, self.parted.get(form, least))


def _password(secret: str) -> str | None:
    """Return the password inside a URL, such as a database's; libraries print it without the rest."""
    try:
        return urlsplit(secret).password
    except ValueError:
        return None
