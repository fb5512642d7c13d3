# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a message to a webhook whose URL is a secret, and report failures without the URL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ansible.module_utils.urls import open_url
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import mask, url_parts

#: Longer messages are cut; Slack advises against more than 4000 characters.
MESSAGE_CHARACTERS = 3000
#: Timeout for each step of the connection.
SECONDS = 10.0


def body(message: str, facts: Mapping[str, Any]) -> bytes:
    """Return the JSON to send. Without facts it has only ``text``, which even the strictest receiver accepts."""
    text = message if len(message) <= MESSAGE_CHARACTERS else message[: MESSAGE_CHARACTERS - 1] + "…"
    content = {"text": text, "facts": dict(facts)} if facts else {"text": text}
    return json.dumps(content, default=str).encode()  # JSON has no form for a YAML date


def flaw(url: object) -> str:
    """Return what is wrong with ``url`` without quoting any part of it; empty if it is usable."""
    if not isinstance(url, str):
        return "the URL is not text"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # its text quotes the host or port, which may be a token
        return "the URL is malformed"
    if parts.scheme not in ("http", "https"):
        return "the URL is neither http nor https"
    # Anything else is probably a path behind a wrong slash, and would be reported as the host.
    if not re.fullmatch(r"[!-~]+", url) or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        return "the URL is malformed"
    return ""


def send(url: str, content: bytes, seconds: float = SECONDS) -> str:
    """POST ``content``; return why it didn't arrive, or nothing. The reason quotes at most the host of ``url``."""
    host = urlsplit(url).hostname
    try:
        open_url(
            url,
            method="POST",
            data=content,
            headers={"Content-Type": "application/json"},
            timeout=seconds,
            http_agent="greenlight.flask",  # some servers reject Python's default
            force_basic_auth=True,  # send the URL's user and password at once, not only after a 401
            use_netrc=False,
            # A redirected POST becomes a GET without the message, which may still answer 200.
            follow_redirects="none",
        ).close()
    except HTTPError as error:
        error.close()
        redirected = ", a redirect, which is not followed" if error.code // 100 == 3 else ""  # noqa: PLR2004  # 3xx
        return f"HTTP {error.code} from {host}{redirected}"
    except Exception as error:  # a failed notification must never fail a good deploy
        return f"{host}: {_reason(error, url, seconds)}"
    return ""


def _reason(error: Exception, url: str, seconds: float) -> str:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {seconds:g} seconds"
    if isinstance(cause, HTTPException) and not isinstance(cause, OSError):
        return "its answer is not HTTP"  # the error's text would quote the answer
    text = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    # urllib quotes the URL or a part of it in some texts. Only the host may stay.
    return mask(" ".join(text.split()), url_parts(url))
