# SPDX-License-Identifier: GPL-3.0-or-later
"""Find files of variables in a source, such as ``.env``, and describe each variable without its value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .tree import read_text

_NAME = re.compile(r"(\.env.*|\.flaskenv|.+\.env)(?<!\.py)(?<!\.md)(?<!\.rst)\Z")
_EXAMPLE = re.compile(r"(^|[._-])(example|sample|template|tmpl|dist)([._-]|\Z)")
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*(.*)")
_OFF = ("0", "false", "no", "none", "off", "n", "f", "null")
#: A reference to another variable, and a value that dotenvx or SOPS has encrypted.
_NO_VALUE = re.compile(r"\$\{?\w+\}?\Z|encrypted:|ENC\[")
_PLACEHOLDER = re.compile(
    r"example|change|replace|your|insert|sample|placeholder|dummy|secret|test|xxx|[<>{}]", re.IGNORECASE
)
#: Minimum length of a generated value: a shorter one may be a word with a year.
_GENERATED = 16
#: Skip larger files: nobody wrote them by hand.
_BYTES = 2**20


@dataclass(frozen=True)
class Value:
    """What may be reported of a value: whether it is set, means off, is a URL with a password, or looks like a key."""

    is_set: bool
    is_off: bool = False
    has_password: bool = False
    looks_real: bool = False

    def as_dict(self) -> dict[str, bool]:
        return asdict(self)


def is_example(path: str) -> bool:
    """Say whether a file is only an example that no program reads."""
    return bool(_EXAMPLE.search(PurePosixPath(path).name))


def found(top: Path, names: Iterable[str]) -> dict[str, dict[str, Value]]:
    """Return the variables of each dotenv file among ``names``, which are relative to ``top``."""
    files = [name for name in names if _NAME.match(PurePosixPath(name).name)]
    texts = {name: read_text(top, name, most=_BYTES) for name in files}
    return {name: variables(text) for name, text in texts.items() if text is not None}


def variables(text: str) -> dict[str, Value]:
    matches = (_LINE.match(line) for line in text.removeprefix("\ufeff").splitlines())
    return {match[1]: _value(match[2].strip()) for match in matches if match}


def _value(text: str) -> Value:
    quoted = re.match(r"""(["'])(.*?)(\1|\Z)""", text)
    plain = quoted[2] if quoted else re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
    if not plain or _NO_VALUE.match(plain):
        return Value(is_set=False)
    password = _password(plain)
    secret = password or plain
    mixed = re.search(r"\d", secret) and re.search(r"[A-Za-z]", secret) and len(secret) >= _GENERATED
    return Value(True, plain.lower() in _OFF, bool(password), bool(mixed and not _PLACEHOLDER.search(secret)))


def _password(value: str) -> str:
    try:
        return unquote(urlsplit(value).password or "") if "://" in value else ""
    except ValueError:
        return ""
