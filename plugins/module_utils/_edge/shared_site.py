# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that all apps of a site must share: the owner's site records them, and the other apps are compared with it.

Nginx applies some settings to a whole server, such as its ports, and some before it knows which app is requested, such
as trusted proxies. An app in another app's site that has different values would get the wrong ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: The role's variables as JSON, in comments: one line each, because Nginx accepts no comment of more than 4 KiB.
_FACTS = re.compile(r"^# Facts: (\{\n(?:# .*\n)*?# \})$", re.MULTILINE)
#: Maximum number of a list's values in a message.
_SHOWN = 5
PREFIX = "flask_app_url_prefix"
NAMES = "flask_app_server_names"
CERTIFICATE = "flask_app_tls_certificate"
EMAIL = "flask_app_acme_email"
#: A site has only a digest of these, because anybody on the host may read it, and they are long or personal.
DIGESTS = {CERTIFICATE: "certificate", EMAIL: "address"}


def facts_in(text: str) -> dict[str, Any]:
    """Return the facts that one of Greenlight's files has about its app; empty if it isn't one or was edited."""
    found = _FACTS.search(text)
    try:
        facts = json.loads(re.sub(r"^# ", "", found[1], flags=re.MULTILINE)) if found else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get(NAMES), list) else {}


def differences(owner: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield how an app differs from the owner of its site, and what to set instead.

    Args:
        owner: the app that has the site.
        mine: the facts of the app that is to be served in it.
        theirs: the owner's facts, all of :data:`COMPARED`.
    """
    names = [name for name in mine.get(NAMES, []) if name not in theirs[NAMES]]
    if names:
        yield f"{NAMES} has {_text(names)}, which {owner} doesn't have", f"{NAMES}: {_text(theirs[NAMES])}"
    for name, is_so in _COMPARED.items():
        if name in mine and is_so(mine, theirs) and _key(mine[name]) != _key(theirs[name]):
            if name in DIGESTS:
                yield f"{name} is a different {DIGESTS[name]} than that of {owner}", f'{name}: ""'
            else:
                what = f"{name} is {_text(mine[name])}, but {_text(theirs[name])} for {owner}"
                yield what, f"{name}: {_text(theirs[name])}"


def _always(_mine: Mapping[str, Any], _theirs: Mapping[str, Any]) -> bool:
    return True


def _encrypted(_mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return bool(theirs["flask_app_tls"] != "none")


def _own(name: str, mode: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], bool]:
    """Return whether the app sets a value that the owner's TLS mode uses; the app itself needs none."""
    return lambda mine, theirs: bool(theirs["flask_app_tls"] == mode and mine[name])


#: Each variable of the server -> when it is compared.
_COMPARED = {
    "flask_app_tls": _always,
    "flask_app_http_port": _always,
    "flask_app_https_port": _encrypted,
    "flask_app_tls_redirect": _encrypted,
    "flask_app_public_scheme": _always,
    "flask_app_nginx_http3": _always,
    "flask_app_nginx_trusted_proxies": _always,
    "flask_app_nginx_client_header": _always,
    "flask_app_nginx_default_server": _always,
    CERTIFICATE: _own(CERTIFICATE, "provided"),
    "flask_app_acme_directory": _own("flask_app_acme_directory", "acme"),
    EMAIL: _own(EMAIL, "acme"),
}
#: All facts that a site must have, so that others can be compared with it.
COMPARED = frozenset({NAMES, PREFIX, *_COMPARED})


def _key(value: Any) -> Any:
    """Normalize a value: ignore the order of a list, and the case of a text."""
    if isinstance(value, list):
        return sorted(str(each).lower() for each in value)
    return value.lower() if isinstance(value, str) else value


def _text(value: Any) -> str:
    """Render a value as YAML, without characters that a terminal obeys."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"{json.dumps(value[:_SHOWN])[:-1]}, ...] ({len(value)})"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z/][\w./:@+-]*", value, re.ASCII)
    return str(value) if plain else json.dumps(value)
