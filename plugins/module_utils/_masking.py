# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secret values out of text that people will read: raw, quoted, URL-encoded, base64, HTML and escaped forms."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "********"
#: Shorter values are not masked: they would turn every message to stars, and are no secrets (the preflight says so).
SHORTEST = 6


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every form of every secret replaced by :data:`MASK`; longest forms first."""
    forms: set[str] = set()
    for secret in secrets:
        forms |= _forms(secret)
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> set[str]:
    lines = secret.splitlines()
    values = {secret, *lines, *(line.strip() for line in lines)}  # journals and programs cut blanks at a line's end
    password = _password(secret)
    if password:
        values |= {password, unquote(password)}
    forms: set[str] = set()
    for value in (value for value in values if len(value) >= SHORTEST):
        raw = value.encode(errors="surrogateescape")
        forms |= {
            value,
            quote(value, safe="", errors="replace"),
            quote_plus(value, errors="replace"),
            shlex.quote(value),
        }
        forms |= {repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        page = html.escape(value)
        forms |= {page, page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}  # the latter as Jinja writes it
        forms |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return {form for form in forms if len(form) >= SHORTEST}


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
