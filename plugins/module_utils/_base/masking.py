# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask secrets in text that people will read, whole and in part, however programs quote and encode them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import NoReturn
from urllib.parse import urlsplit

from .extents import hide
from .forms import Forms
from .spellings import ESCAPED

MASK = "********"


class Secrets:
    """Secret values, which can only be used to mask a text: they are neither printed nor pickled.

    Args:
        values: the secrets; those shorter than :data:`.forms.SHORTEST` are not masked.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(values)

    @cached_property
    def _forms(self) -> Forms:
        forms = Forms()
        for value in self._values:
            forms.add(value)
        return forms

    def mask(self, text: str) -> str:
        """Return ``text`` with every form of every value, and the parts of long ones, replaced by :data:`MASK`."""
        hidden = bytearray(len(text))
        hide(text, self._forms, hidden)
        # The forms have lower-case escapes; other programs write %C3, \u00E9 or a mixture.
        lower = ESCAPED.sub(lambda match: match[0].lower(), text)
        if lower != text:
            hide(lower, self._forms.with_escapes(), hidden)
        shown, end = [], 0
        for match in re.finditer(rb"\x01+", hidden):
            shown += [text[end : match.start()], MASK]
            end = match.end()
        return "".join([*shown, text[end:]])

    def __repr__(self) -> str:
        return f"<{len(self._values)} secrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets can't be pickled")


def mask(text: str, secrets: Iterable[str]) -> str:
    """Mask a single text; see :meth:`Secrets.mask`."""
    return Secrets(secrets).mask(text)


def url_parts(url: str) -> list[str]:
    """Return the parts of a URL that may be secret: name and password, path and query, whole and in pieces."""
    try:
        host = urlsplit(url).netloc
    except ValueError:
        return [url]
    user, rest = host.rpartition("@")[0], url.partition(host)[2] if host else ""
    path = rest.partition("?")[0]
    return [url, user, rest, path, *re.split(r"[/?#&=;:@]", f"{user}/{rest}")]
