# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secret values out of text that people will read, quoted and encoded as programs do, whole and in part."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import NoReturn
from urllib.parse import unquote, urlsplit

MASK = "********"
#: Shorter values are not masked: they would turn every message to stars, and are no secrets (the preflight says so).
SHORTEST = 6
#: A value from so many characters on is masked in parts too, from PART on: journald breaks long lines (LineMax=),
#: programs wrap and cut them.
LONG = 128
PART = 24
#: So many letters and digits in a row are a core. No quoting changes it, and nobody writes another's by chance, so of
#: values of any length each part of one is masked.
CORE = 16
#: Characters that differ in a part; a rule of dashes, or a row of noughts, is nobody's secret.
VARIETY = 6

#: Parts are found by pieces so long, of which so many must differ.
_PIECE = 12
_PIECE_VARIETY = 3
#: Of a piece that a form has more often, only so many are looked at, for a text that repeats itself.
_OFTEN = 8
#: Behind a line break, a part goes on for so many characters at least.
_REST = 4
#: Characters of a text whose pieces are kept in memory at a time.
_STRETCH = 128 * 1024

_CORES = re.compile(rf"[A-Za-z0-9]{{{CORE},}}")
#: It is the same in all keys.
_ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_BREAK = re.compile(r"\s*\n\s*")
_MARKS = ("%", "\\x", "\\u", "\\U", "&#x")
_ESCAPED = re.compile(
    r"(?<=%)[0-9A-Fa-f]{2}|(?<=\\x)[0-9A-Fa-f]{2}|(?<=\\u)[0-9A-Fa-f]{4}|(?<=\\U)[0-9A-Fa-f]{8}|(?<=&#x)[0-9A-Fa-f]+"
)


class Secrets:
    """Values that nobody is to read. It masks a text; printed, it shows nothing of them, and it can't be written down.

    Args:
        values: the secrets; :data:`SHORTEST` says which are too short to be masked.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(values)

    @cached_property
    def _forms(self) -> _Forms:
        forms = _Forms()
        for value in self._values:
            forms.add(value)
        return forms

    def mask(self, text: str) -> str:
        """Return ``text`` with every form of every value, and the parts of long ones, replaced by :data:`MASK`."""
        hidden = bytearray(len(text))
        _hide(text, self._forms, hidden)
        # The forms have their escapes in lower case, and other programs write %C3, \u00E9 or a mixture.
        lower = _ESCAPED.sub(lambda match: match[0].lower(), text)
        if lower != text:
            _hide(lower, self._forms.with_escapes(), hidden)
        shown, end = [], 0
        for match in re.finditer(rb"\x01+", hidden):
            shown += [text[end : match.start()], MASK]
            end = match.end()
        return "".join([*shown, text[end:]])

    def __repr__(self) -> str:
        return f"<{len(self._values)} secrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not written down")


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` as :meth:`Secrets.mask` does, for one text only."""
    return Secrets(secrets).mask(text)


def _hide(text: str, forms: _Forms, hidden: bytearray) -> None:
    for start in range(0, len(text), _STRETCH):
        _Stretch(text, start, hidden).hide(forms)


def url_parts(url: str) -> list[str]:
    """Return what of a URL may be secret, its name and password, path and query, whole and in pieces."""
    try:
        host = urlsplit(url).netloc
    except ValueError:
        return [url]
    user, rest = host.rpartition("@")[0], url.partition(host)[2] if host else ""
    path = rest.partition("?")[0]
    return [url, user, rest, path, *re.split(r"[/?#&=;:@]", f"{user}/{rest}")]


def _password(secret: str) -> str | None:
    """The password inside a URL such as a database's, which libraries print without the rest."""
    try:
        return urlsplit(secret).password
    except ValueError:
        return None


# --- how programs write a text ---------------------------------------------------------------------------------------
# Character by character, with the hexadecimal digits of escapes in lower case, and no quotation marks around it.

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\v": "\\v", "\f": "\\f", "\r": "\\r", "\\": "\\\\"}
_C = {**_ESCAPES, "'": "\\'", '"': '\\"'}
_YAML = {**_ESCAPES, "\0": "\\0", "\x1b": "\\e", '"': '\\"', "\x85": "\\N", "\u2028": "\\L", "\u2029": "\\P"}
_QUOTE = {"'": "\\'"}
_MARKUP = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}

Write = Callable[[str], str]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_in_utf8(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _repr(text: str) -> str:
    return text if text in "'\"" else repr(text)[1:-1]


def _ascii(text: str) -> str:
    return text if text in "'\"" else ascii(text)[1:-1]


def _repr_of_bytes(text: str) -> str:
    return text if text in "'\"" else repr(_bytes(text))[2:-1]


def _but(known: Mapping[str, str], write: Write = str) -> Write:
    """As ``write`` does, but for the characters that are known."""
    return lambda text: known.get(text) or write(text)


def _but_bytes(kept: str, form: str) -> Write:
    """Leave the ASCII characters that match ``kept``, and write each byte of the others by ``form``."""
    left = re.compile(kept, re.ASCII)
    return lambda text: text if left.fullmatch(text) else "".join(form.format(byte) for byte in _bytes(text))


def _percent(safe: str, blank: str = "%20", form: str = "%{:02X}") -> Write:
    return _but({" ": blank}, _but_bytes(rf"[A-Za-z0-9_.~{re.escape(safe)}-]", form))


def _code_point(kept: str) -> Write:
    left = re.compile(kept)

    def write(text: str) -> str:
        code = ord(text)
        short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004  # two digits
        return text if left.fullmatch(text) else short if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  # four

    return write


class _Quoting(dict[int, str]):
    """A way to write, for str.translate; how a character is written is worked out where it is met first."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, code: int) -> str:
        self[code] = written = self._write(chr(code))
        return written


_QUOTINGS = [
    _Quoting(write)
    for write in (
        str,
        # JSON, as Flask puts it into pages, as Go and PHP write it; and JSON in JSON
        _json,
        _json_in_utf8,
        _but({**_MARKUP, "'": "\\u0027"}, _json),
        _but(_MARKUP, _json_in_utf8),
        _but({"/": "\\/"}, _json),
        lambda text: _json(_json(text)),
        lambda text: _json(_json_in_utf8(text)),
        lambda text: _json_in_utf8(_json_in_utf8(text)),
        # Python, which escapes a single quote only where there are double ones as well
        _repr,
        _but(_QUOTE, _repr),
        _ascii,
        _but(_QUOTE, _ascii),
        _repr_of_bytes,
        _but(_QUOTE, _repr_of_bytes),
        # YAML
        _but(_YAML, _code_point(r"[ -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")),
        _but({**_YAML, "\xa0": "\\_"}, _code_point(r"[ -~]")),
        _but({"'": "''"}),
        # Shells
        _but({"'": "'\\''"}),
        _but({"'": "'\"'\"'"}),
        _but({character: f"\\{character}" for character in '"\\$`'}),
        _but({character: f"\\{character}" for character in "] \t'\"\\|&;()<>!{}*[?^$`,"}),
        # systemd's properties and names of units; Nginx' log
        _but(_C, _but_bytes(r"[ -~]", "\\{:03o}")),
        _but_bytes(r"[A-Za-z0-9_:.]", "\\x{:02x}"),
        _but_bytes(r"[ !#-\[\]-~]", "\\x{:02x}"),
        # URLs: Python's, a path, a form, JavaScript's; in capitals as well, for a line may break within an escape
        _percent(""),
        _percent("/"),
        _percent("", "+"),
        _percent("!'()*"),
        _percent("", form="%{:02x}"),
        _percent("/", form="%{:02x}"),
        _percent("", "+", form="%{:02x}"),
        _percent("!'()*", form="%{:02x}"),
        # HTML, also of a text and by MarkupSafe, and XML
        html.escape,
        lambda text: html.escape(text, quote=False),
        _but({'"': "&#34;", "'": "&#39;"}, html.escape),
        _but({"'": "&apos;"}, html.escape),
    )
]


def _quoted(text: str) -> Iterator[str]:
    alphabet = sorted(map(ord, set(text)))
    # Most of them differ in few characters, and to write a long text in all ways takes time.
    different = {tuple(quoting[code] for code in alphabet): quoting for quoting in _QUOTINGS}
    for written, quoting in different.items():
        yield text.translate(quoting) if any(len(each) > 1 for each in written) else text


def _encoded(text: str) -> Iterator[tuple[str, int]]:
    """The ways to encode a text, with what is left of one of CORE letters and digits, wherever in it they stand."""
    raw = _bytes(text)
    for once in _base64(raw):
        yield once.decode(), 20
        yield once.translate(bytes.maketrans(b"+/", b"-_")).decode(), 20
        for twice in _base64(once):
            yield twice.decode(), 26
    yield raw.hex(), 2 * CORE
    yield raw.hex().upper(), 2 * CORE
    yield ",".join(map(str, raw)), 3 * CORE - 1
    yield ", ".join(map(str, raw)), 4 * CORE - 2


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that hold bits of ``raw`` only, for each of the three ways in which it may lie in a text."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]


# --- what to look for ------------------------------------------------------------------------------------------------


class _Forms:
    """What is masked as a whole; and of what each part is masked, from how many characters on."""

    def __init__(self) -> None:
        self.whole: set[str] = set()
        self.parted: dict[str, int] = {}

    def with_escapes(self) -> _Forms:
        """Those that have hexadecimal escapes."""
        found = _Forms()
        found.whole = {form for form in self.whole if any(mark in form for mark in _MARKS)}
        found.parted = {form: least for form, least in self.parted.items() if any(mark in form for mark in _MARKS)}
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
        for text in _ARMOUR.split(value):
            for form in _quoted(text):
                if len(form) >= SHORTEST:
                    self.whole.add(form)
                self._add_part(form, PART)
            self._add_encoded_parts(text)
        for core in _CORES.findall(value):
            self._add_part(core, CORE)
        for line in lines:
            if len(set(line)) >= _PIECE_VARIETY and (len(line) < PART or len(set(line)) < VARIETY):
                self._add_whole(line)

    def _add_whole(self, text: str) -> None:
        if len(text) < SHORTEST or _ARMOUR.fullmatch(text):
            return
        raw = _bytes(text)
        encoded = base64.b64encode(raw), base64.urlsafe_b64encode(raw)
        forms = {
            *_quoted(text),
            shlex.quote(text).strip("'"),
            *(form for form, _ in _encoded(text)),
            *(form.decode() for form in encoded),
        }
        self.whole |= {form for form in forms if len(form) >= SHORTEST}

    def _add_encoded_parts(self, text: str) -> None:
        for form, least in _encoded(text):
            self._add_part(form, least)

    def _add_part(self, form: str, least: int) -> None:
        if len(form) >= least:
            self.parted[form] = min(least, self.parted.get(form, least))


# --- and where it is -------------------------------------------------------------------------------------------------


class _Stretch:
    """A stretch of a text, whose pieces are known by what they say; ``hidden`` marks characters of the whole text.

    So a form costs a look at some of its own pieces, however long the text is.
    """

    def __init__(self, text: str, start: int, hidden: bytearray) -> None:
        self._text, self._start, self._hidden = text, start, hidden
        places = range(start, min(start + _STRETCH, len(text)))
        self._starts = {text[at : at + SHORTEST] for at in places}
        self._pieces: dict[str, list[int]] = defaultdict(list)
        for at in places:
            self._pieces[text[at : at + _PIECE]].append(at)

    def hide(self, forms: _Forms) -> None:
        for form in forms.whole:
            if form[:SHORTEST] in self._starts:
                self._hide_whole(form)
        found = [(self._places(form, least), form, least) for form, least in forms.parted.items()]
        # First the form that the text is in: of the others, which have letters and digits in common with it, only
        # scraps are found.
        for places, form, least in sorted(found, key=lambda each: len(each[0]) * each[2], reverse=True):
            self._hide_parts(places, form, least)

    def _hide_whole(self, form: str) -> None:
        places = self._found(form) if len(form) < _PIECE else iter(self._pieces.get(form[:_PIECE], []))
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
        """Where the form has a piece of this text. Each part of so many characters holds one that is looked at."""
        known, places = self._pieces, range(0, len(form) - _PIECE + 1, least - _PIECE + 1)
        return [place for place in places if form[place : place + _PIECE] in known]

    def _hide_parts(self, places: list[int], form: str, least: int) -> None:
        known, met = self._pieces, Counter[str]()
        for place in places:
            piece = form[place : place + _PIECE]
            if piece in known and met[piece] < _OFTEN and len(set(piece)) >= _PIECE_VARIETY:
                met[piece] += 1
                for at in known[piece]:
                    if self._shown(at):
                        self._hide_part(at, form, place, least)
                known[piece] = [at for at in known[piece] if self._shown(at)]
                if not known[piece]:
                    del known[piece]

    def _shown(self, at: int) -> bool:
        return self._hidden.find(0, at, at + _PIECE) != -1

    def _hide_part(self, at: int, form: str, place: int, least: int) -> None:
        parts = [*self._behind(at, form, place), *self._before(at, form, place)]
        said = "".join(self._text[begin:end] for begin, end in parts)
        if len(said) >= least and len(set(said)) >= VARIETY:
            for begin, end in parts:
                self._hide(begin, end)

    def _behind(self, at: int, form: str, place: int) -> Iterator[tuple[int, int]]:
        """Where the text from ``at`` on says what the form says from ``place`` on, over line breaks too."""
        text, begin, known = self._text, at, 0
        while True:
            while at < len(text) and place < len(form) and text[at] == form[place]:
                at, place = at + 1, place + 1
            if known and at - begin < _REST and place < len(form):
                return
            yield begin, at
            known += at - begin
            broken = _BREAK.match(text, at)
            if not broken or place == len(form) or self._goes_on_hidden(broken.end(), known):
                return
            begin = at = broken.end()
            while place < len(form) and form[place].isspace():  # it went with the break
                place += 1

    def _before(self, at: int, form: str, place: int) -> Iterator[tuple[int, int]]:
        """The same towards the start, without ``at`` and ``place`` themselves."""
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
            if "\n" not in text[line:at] or place == 0 or self._goes_on_hidden(line - 1, known):
                return
            end = at = line
            while place > 0 and form[place - 1].isspace():
                place -= 1

    def _goes_on_hidden(self, at: int, known: int) -> bool:
        """Whether one need not go on there: a part is known, and another search was there before."""
        return known >= PART and 0 <= at < len(self._hidden) and bool(self._hidden[at])

    def _hide(self, begin: int, end: int) -> None:
        self._hidden[begin:end] = b"\x01" * (end - begin)
