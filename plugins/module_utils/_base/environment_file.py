# SPDX-License-Identifier: GPL-3.0-or-later
"""A mapping as systemd's EnvironmentFile, byte for byte, or a refusal that names the key.

The rules are those of systemd.exec(5), EnvironmentFile=, and of the parser's source (env-file.c): inside single quotes
every byte stands for itself; what ends a single quote is a single quote, so each one is written as '"'"'.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shlex
from collections.abc import Mapping

from .errors import GreenlightError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: MAX_ARG_STRLEN of the kernel (execve(2)) is 128 KiB with the NUL that ends ``NAME=value``.
MAXIMUM_BYTES = 131_071
#: Together: a quarter of the stack's limit (execve(2)), which systemd leaves at 8 MiB, less what the rest may need.
MAXIMUM_ALL_BYTES = 2**21 - 2**17
#: Unicode's code points that are not characters (utf8.c of systemd refuses them).
SURROGATES = range(0xD800, 0xE000)
NONCHARACTERS = range(0xFDD0, 0xFDF0)
PLANE_ENDS = (0xFFFE, 0xFFFF)


class EnvironmentValueError(GreenlightError):
    """A name or value that systemd can't hand to a process unchanged. The text names the key, never the value."""


def environment_text(name: str, value: object) -> str:
    """Return ``value`` as the text that the process will see.

    Numbers become their usual text. Booleans, null, lists and mappings have no one text that everybody would expect,
    so they are refused.

    Raises:
        EnvironmentValueError: a bad name, a type without an obvious text, or a value systemd can't carry.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise EnvironmentValueError(
            f"{name!r} is not a name for an environment variable: letters, digits and underscores, no digit first."
        )
    if value is None:
        raise EnvironmentValueError(f"{name} has no value: write the exact text in quotes, or remove it.")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise EnvironmentValueError(
            f"{name} is a {type(value).__name__}, but a process gets text: write the exact text in quotes."
        )
    text = str(value)
    for character in text:
        point = ord(character)
        if point == 0 or point in SURROGATES or point in NONCHARACTERS or point & 0xFFFF in PLANE_ENDS:
            raise EnvironmentValueError(
                f"{name} holds the character U+{point:04X}, which can't be handed to a process unchanged."
            )
    size = len(f"{name}={text}".encode())
    if size > MAXIMUM_BYTES:
        raise EnvironmentValueError(
            f"{name} is {size} bytes long with its name; the kernel takes at most {MAXIMUM_BYTES}."
        )
    return text


def environment_texts(values: Mapping[str, object]) -> dict[str, str]:
    """Apply :func:`environment_text` to each pair."""
    return {name: environment_text(name, value) for name, value in values.items()}


def render(values: Mapping[str, object]) -> str:
    """Return the body of the EnvironmentFile, sorted by name.

    Raises:
        EnvironmentValueError: see :func:`environment_text`.
    """
    texts = environment_texts(values)
    size = sum(len(f"{name}={text}".encode()) + 1 for name, text in texts.items())
    if size > MAXIMUM_ALL_BYTES:
        raise EnvironmentValueError(
            f"{len(texts)} variables are {size} bytes together; a process gets at most {MAXIMUM_ALL_BYTES}."
        )
    return "".join(f"{name}={_quote(texts[name])}\n" for name in sorted(texts))


def parse(body: str) -> dict[str, str]:
    """Read back what :func:`render` wrote (only that: shell and systemd files in general have more forms)."""
    return dict(word.split("=", 1) for word in shlex.split(body, posix=True))


def keyed_digest(key: bytes, values: Mapping[str, str]) -> str:
    """HMAC-SHA256 (RFC 2104) over the pairs, 64 hexadecimal digits: equal for equal environments, useless to others."""
    body = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
