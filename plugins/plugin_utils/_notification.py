# SPDX-License-Identifier: GPL-3.0-or-later
"""One message to a webhook whose URL is a secret: what is sent, and why it was not, without the URL."""

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

#: Beyond this many characters a message is cut; Slack advises against more than 4000.
MESSAGE_CHARACTERS = 3000
#: How long to wait for the webhook, for each step of the connection.
SECONDS = 10.0


def body(message: str, facts: Mapping[str, Any]) -> bytes:
    """Return the JSON to send. Without facts it has ``text`` only, which also the strictest receiver takes."""
    text = message if len(message) <= MESSAGE_CHARACTERS else message[: MESSAGE_CHARACTERS - 1] + "…"
    content = {"text": text, "facts": dict(facts)} if facts else {"text": text}
    return json.dumps(content, default=str).encode()  # a date of YAML has no form of its own in JSON


def flaw(url: object) -> str:
    """Tell what is wrong with ``url`` in words that hold no part of it; nothing where it can be asked."""
    if not isinstance(url, str):
        return "the URL is not text"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # its text quotes what was taken for host or port, which may be a token
        return "the URL is malformed"
    if parts.scheme not in ("http", "https"):
        return "the URL is none of http and https"
    # What else is taken for a host is a path with a wrong slash, and would be reported as the host.
    if not re.fullmatch(r"[!-~]+", url) or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        return "the URL is malformed"
    return ""


def send(url: str, content: bytes, seconds: float = SECONDS) -> str:
    """POST ``content``; return why it didn't arrive, or nothing. Of ``url`` the reason holds the host at most."""
    host = urlsplit(url).hostname
    try:
        open_url(
            url,
            method="POST",
            data=content,
            headers={"Content-Type": "application/json"},
            timeout=seconds,
            http_agent="greenlight.flask",  # Python's own name is turned away in places
            force_basic_auth=True,  # the user and password that a URL may hold, at once and not when asked for
            use_netrc=False,
            # A POST that is redirected becomes a GET without the message, and the answer to that says 200.
            follow_redirects="none",
        ).close()
    except HTTPError as error:
        error.close()
        redirected = ", a redirect, which is not followed" if error.code // 100 == 3 else ""  # noqa: PLR2004  # 3xx
        return f"HTTP {error.code} from {host}{redirected}"
    except Exception as error:  # whatever it is, a deploy that went well doesn't fail because nobody heard of it
        return f"{host}: {_reason(error, url, seconds)}"
    return ""


def _reason(error: Exception, url: str, seconds: float) -> str:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {seconds:g} seconds"
    if isinstance(cause, HTTPException) and not isinstance(cause, OSError):
        return "its answer is not HTTP"  # the text would be the answer's, whatever that repeats
    text = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    # urllib puts the URL, or the part of it that it stumbled on, into some texts. Only the host may stay.
    return mask(" ".join(text.split()), url_parts(url))
