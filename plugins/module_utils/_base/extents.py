# SPDX-License-Identifier: GPL-3.0-or-later
"""Find forms of secrets in a text, and how far a part of one extends, across line breaks too."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from .forms import PART, PIECE, PIECE_VARIETY, SHORTEST, VARIETY, Forms

#: Look at no more than this many occurrences of a piece in a form, for texts that repeat themselves.
_OFTEN = 8
#: Minimum number of characters with which a part continues after a line break.
_REST = 4
#: Number of characters whose pieces are kept in memory at a time.
_STRETCH = 128 * 1024
_BREAK = re.compile(r"\s*\n\s*")


def hide(text: str, forms: Forms, hidden: bytearray) -> None:
    """Mark each form and each part of one in ``hidden``, which has a byte for each character of ``text``."""
    for start in range(0, len(text), _STRETCH):
        _Stretch(text, start, hidden).hide(forms)


class _Stretch:
    """A stretch of a text, indexed by its pieces; ``hidden`` marks characters of the whole text.

    So the cost of a form depends on its own length, however long the text is.
    """

    def __init__(self, text: str, start: int, hidden: bytearray) -> None:
        self._text, self._start, self._hidden = text, start, hidden
        places = range(start, min(start + _STRETCH, len(text)))
        self._starts = {text[at : at + SHORTEST] for at in places}
        self._pieces: dict[str, list[int]] = defaultdict(list)
        for at in places:
            self._pieces[text[at : at + PIECE]].append(at)

    def hide(self, forms: Forms) -> None:
        for form in forms.whole:
            if form[:SHORTEST] in self._starts:
                self._hide_whole(form)
        found = [(self._places(form, least), form, least) for form, least in forms.parted.items()]
        # Start with the form that the text uses. The others share letters and digits with it, so they match scraps.
        for places, form, least in sorted(found, key=lambda each: len(each[0]) * each[2], reverse=True):
            self._hide_parts(places, form, least)

    def _hide_whole(self, form: str) -> None:
        places = self._found(form) if len(form) < PIECE else iter(self._pieces.get(form[:PIECE], []))
        end = 0
        for at in places:
            if at >= end and self._text.startswith(form, at):
                end = at + len(form)
                self._hide(at, end)

    def _found(self, form: str) -> Iterator[int]:
        at = self._text.find(form, self._start)
        while at != -1:
            yield at
            at = self._text.find(form, at + len(form))

    def _places(self, form: str, least: int) -> list[int]:
        """Return where the form shares a piece with this text. Each part of ``least`` characters has one of these."""
        known, places = self._pieces, range(0, len(form) - PIECE + 1, least - PIECE + 1)
        return [place for place in places if form[place : place + PIECE] in known]

    def _hide_parts(self, places: list[int], form: str, least: int) -> None:
        known, met = self._pieces, Counter[str]()
        for place in places:
            piece = form[place : place + PIECE]
            if piece in known and met[piece] < _OFTEN and len(set(piece)) >= PIECE_VARIETY:
                met[piece] += 1
                for at in known[piece]:
                    if self._shown(at):
                        self._hide_part(at, form, place, least)
                known[piece] = [at for at in known[piece] if self._shown(at)]
                if not known[piece]:
                    del known[piece]

    def _shown(self, at: int) -> bool:
        return self._hidden.find(0, at, at + PIECE) != -1

    def _hide_part(self, at: int, form: str, place: int, least: int) -> None:
        parts = [*self._after(at, form, place), *self._before(at, form, place)]
        said = "".join(self._text[begin:end] for begin, end in parts)
        if len(said) >= least and len(set(said)) >= VARIETY:
            for begin, end in parts:
                self._hide(begin, end)

    def _after(self, at: int, form: str, place: int) -> Iterator[tuple[int, int]]:
        """Yield where the text from ``at`` matches the form from ``place``, across line breaks too."""
        text, begin, known = self._text, at, 0
        while True:
            while at < len(text) and place < len(form) and text[at] == form[place]:
                at, place = at + 1, place + 1
            if known and at - begin < _REST and place < len(form):
                return
            yield begin, at
            known += at - begin
            broken = _BREAK.match(text, at)
            if not broken or place == len(form) or self._is_already_masked(broken.end(), known):
                return
            begin = at = broken.end()
            while place < len(form) and form[place].isspace():  # the line break replaced it
                place += 1

    def _before(self, at: int, form: str, place: int) -> Iterator[tuple[int, int]]:
        """Yield the same towards the start, without ``at`` and ``place`` themselves."""
        text, end, known, first = self._text, at, 0, True
        while True:
            while at > 0 and place > 0 and text[at - 1] == form[place - 1]:
                at, place = at - 1, place - 1
            if not first and end - at < _REST and place > 0:
                return
            yield at, end
            known, first, line = known + end - at, False, at
            while line > 0 and text[line - 1].isspace():
                line -= 1
            if "\n" not in text[line:at] or place == 0 or self._is_already_masked(line - 1, known):
                return
            end = at = line
            while place > 0 and form[place - 1].isspace():
                place -= 1

    def _is_already_masked(self, at: int, known: int) -> bool:
        """Say whether the search can stop there: a part is known, and another search has masked that place."""
        return known >= PART and 0 <= at < len(self._hidden) and bool(self._hidden[at])

    def _hide(self, begin: int, end: int) -> None:
        self._hidden[begin:end] = b"\x01" * (end - begin)
