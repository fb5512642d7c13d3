# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a mapping as systemd's EnvironmentFile, byte for byte, or raise an error that names the key.

The rules are those of systemd.exec(5), EnvironmentFile=, and of the parser's source (env-file.c): inside single quotes
every byte is literal. Only a single quote ends a single quote, so each one is written as '"'"'.
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
#: For all variables: a quarter of the stack's limit (execve(2)), which systemd leaves at 8 MiB, less some reserve.
MAXIMUM_ALL_BYTES = 2**21 - 2**17
#: Unicode's code points that are not characters (systemd's utf8.c rejects them).
SURROGATES = range(0xD800, 0xE000)
NONCHARACTERS = range(0xFDD0, 0xFDF0)
PLANE_ENDS = (0xFFFE, 0xFFFF)


class EnvironmentValueError(GreenlightError):
    """A name or value that systemd can't pass to a process unchanged. The text names the key, never the value."""


def environment_text(name: str, value: object) -> str:
    """Return ``value`` as the text that the process will see.

    Numbers become their usual text. Reject booleans, null, lists and mappings: they have no obvious text.

    Raises:
        EnvironmentValueError: a bad name, a type without an obvious text, or a value systemd can't carry.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise EnvironmentValueError(
            f"{name!r} is not a valid name for an environment variable. Use letters, digits and underscores, and no"
            " digit first."
        )
    if value is None:
        raise EnvironmentValueError(f"{name} has no value. Write the exact text in quotes, or remove it.")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise EnvironmentValueError(
            f"{name} is a {type(value).__name__}, but environment variables are text. Write the exact text in quotes."
        )
    text = str(value)
    for character in text:
        point = ord(character)
        if point == 0 or point in SURROGATES or point in NONCHARACTERS or point & 0xFFFF in PLANE_ENDS:
            raise EnvironmentValueError(
                f"{name} contains the character U+{point:04X}, which systemd can't pass to a process unchanged."
            )
    size = len(f"{name}={text}".encode())
    if size > MAXIMUM_BYTES:
        raise EnvironmentValueError(
            f"{name} is {size} bytes long including its name; the kernel accepts at most {MAXIMUM_BYTES}."
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
            f"{len(texts)} variables have {size} bytes in total; a process accepts at most {MAXIMUM_ALL_BYTES}."
        )
    return "".join(f"{name}={_quote(texts[name])}\n" for name in sorted(texts))


def parse(body: str) -> dict[str, str]:
    """Read back what :func:`render` wrote (only that: shell and systemd files in general have more forms)."""
    return dict(word.split("=", 1) for word in shlex.split(body, posix=True))


def keyed_digest(key: bytes, values: Mapping[str, str]) -> str:
    """Return HMAC-SHA256 (RFC 2104) of the pairs, 64 hexadecimal digits: equal environments have equal digests."""
    body = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
