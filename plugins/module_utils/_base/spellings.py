# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which programs write a text: quoting styles of languages, formats and shells, and encodings.

A quoting style writes character by character, with lower-case hexadecimal digits and without quotation marks around it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping

#: Length of an alphanumeric run that survives every quoting style and is unlikely to occur by chance: a core.
CORE = 16

#: Prefixes of hexadecimal escapes.
MARKS = ("%", "\\x", "\\u", "\\U", "&#x")
#: The digits of hexadecimal escapes.
ESCAPED = re.compile(
    r"(?<=%)[0-9A-Fa-f]{2}|(?<=\\x)[0-9A-Fa-f]{2}|(?<=\\u)[0-9A-Fa-f]{4}|(?<=\\U)[0-9A-Fa-f]{8}|(?<=&#x)[0-9A-Fa-f]+"
)

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\v": "\\v", "\f": "\\f", "\r": "\\r", "\\": "\\\\"}
_C = {**_ESCAPES, "'": "\\'", '"': '\\"'}
_YAML = {**_ESCAPES, "\0": "\\0", "\x1b": "\\e", '"': '\\"', "\x85": "\\N", "\u2028": "\\L", "\u2029": "\\P"}
_QUOTE = {"'": "\\'"}
_MARKUP = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}

Write = Callable[[str], str]


def as_bytes(text: str) -> bytes:
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
    return text if text in "'\"" else repr(as_bytes(text))[2:-1]


def _except_known(known: Mapping[str, str], write: Write = str) -> Write:
    """Write as ``write`` does, except for the ``known`` characters."""
    return lambda text: known.get(text) or write(text)


def _except_matching(kept: str, form: str) -> Write:
    """Keep the ASCII characters that match ``kept``, and write each byte of the others with ``form``."""
    left = re.compile(kept, re.ASCII)
    return lambda text: text if left.fullmatch(text) else "".join(form.format(byte) for byte in as_bytes(text))


def _percent(safe: str, blank: str = "%20", form: str = "%{:02X}") -> Write:
    return _except_known({" ": blank}, _except_matching(rf"[A-Za-z0-9_.~{re.escape(safe)}-]", form))


def _code_point(kept: str) -> Write:
    left = re.compile(kept)

    def write(text: str) -> str:
        code = ord(text)
        short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004  # two digits
        return text if left.fullmatch(text) else short if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  # four

    return write


class _Quoting(dict[int, str]):
    """A quoting style, for str.translate; it computes each character when it first occurs."""

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
        # JSON, as Flask embeds it in pages, as Go and PHP write it; and JSON in JSON
        _json,
        _json_in_utf8,
        _except_known({**_MARKUP, "'": "\\u0027"}, _json),
        _except_known(_MARKUP, _json_in_utf8),
        _except_known({"/": "\\/"}, _json),
        lambda text: _json(_json(text)),
        lambda text: _json(_json_in_utf8(text)),
        lambda text: _json_in_utf8(_json_in_utf8(text)),
        # Python, which escapes a single quote only where there are double ones as well
        _repr,
        _except_known(_QUOTE, _repr),
        _ascii,
        _except_known(_QUOTE, _ascii),
        _repr_of_bytes,
        _except_known(_QUOTE, _repr_of_bytes),
        # YAML
        _except_known(_YAML, _code_point(r"[ -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")),
        _except_known({**_YAML, "\xa0": "\\_"}, _code_point(r"[ -~]")),
        _except_known({"'": "''"}),
        # Shells
        _except_known({"'": "'\\''"}),
        _except_known({"'": "'\"'\"'"}),
        _except_known({character: f"\\{character}" for character in '"\\$`'}),
        _except_known({character: f"\\{character}" for character in "] \t'\"\\|&;()<>!{}*[?^$`,"}),
        # systemd's properties and unit names; Nginx's log
        _except_known(_C, _except_matching(r"[ -~]", "\\{:03o}")),
        _except_matching(r"[A-Za-z0-9_:.]", "\\x{:02x}"),
        _except_matching(r"[ !#-\[\]-~]", "\\x{:02x}"),
        # URLs: Python's, a path, a form, JavaScript's; in upper case too, because a line may break within an escape
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
        _except_known({'"': "&#34;", "'": "&#39;"}, html.escape),
        _except_known({"'": "&apos;"}, html.escape),
    )
]


def quoted(text: str) -> Iterator[str]:
    alphabet = sorted(map(ord, set(text)))
    # Most of them differ in few characters, and writing a long text in all styles takes time.
    different = {tuple(quoting[code] for code in alphabet): quoting for quoting in _QUOTINGS}
    for written, quoting in different.items():
        yield text.translate(quoting) if any(len(each) > 1 for each in written) else text


def encoded(text: str) -> Iterator[tuple[str, int]]:
    """Yield the encodings of a text, with the length of an encoded run of CORE letters and digits at any position."""
    raw = as_bytes(text)
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
    """Yield the characters that encode bits of ``raw`` only, for each of the three alignments in a text."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
