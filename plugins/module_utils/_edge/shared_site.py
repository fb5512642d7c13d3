# SPDX-License-Identifier: GPL-3.0-or-later
"""What the apps of one site have in common: the owner's site says it, and each other app is compared with that.

Nginx looks at some settings once for a whole server, such as its ports, and at some before it knows which app is asked,
such as the proxies that are trusted. An app in the site of another that has other values would get wrong ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: The role's variables as JSON, in comments: one line each, as Nginx takes no comment of more than 4 KiB.
_FACTS = re.compile(r"^# Facts: (\{\n(?:# .*\n)*?# \})$", re.MULTILINE)
#: How many values of a list a message names.
_SHOWN = 5
PREFIX = "flask_app_url_prefix"
NAMES = "flask_app_server_names"
CERTIFICATE = "flask_app_tls_certificate"
EMAIL = "flask_app_acme_email"
#: Of these a site says a digest: anybody on the host may read it, and it is long, or personal.
DIGESTS = {CERTIFICATE: "certificate", EMAIL: "address"}


def facts_in(text: str) -> dict[str, Any]:
    """Return what a file of ours says of its app; nothing, if it is none or has been changed by hand."""
    found = _FACTS.search(text)
    try:
        facts = json.loads(re.sub(r"^# ", "", found[1], flags=re.MULTILINE)) if found else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get(NAMES), list) else {}


def differences(owner: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield in what an app isn't as the owner of the site, and what to set instead.

    Args:
        owner: the app that has the site.
        mine: the facts of the app that is to be served in it.
        theirs: those of the owner, all of :data:`COMPARED`.
    """
    names = [name for name in mine.get(NAMES, []) if name not in theirs[NAMES]]
    if names:
        yield f"{NAMES} has {_text(names)}, which {owner} doesn't have", f"{NAMES}: {_text(theirs[NAMES])}"
    for name, is_so in _COMPARED.items():
        if name in mine and is_so(mine, theirs) and _key(mine[name]) != _key(theirs[name]):
            if name in DIGESTS:
                yield f"{name} is another {DIGESTS[name]} than that of {owner}", f'{name}: ""'
            else:
                what = f"{name} is {_text(mine[name])}, and {_text(theirs[name])} for {owner}"
                yield what, f"{name}: {_text(theirs[name])}"


def _always(_mine: Mapping[str, Any], _theirs: Mapping[str, Any]) -> bool:
    return True


def _encrypted(_mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return bool(theirs["flask_app_tls"] != "none")


def _own(name: str, mode: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], bool]:
    """Whether the app has a value of its own for what the owner's mode uses; it needs none."""
    return lambda mine, theirs: bool(theirs["flask_app_tls"] == mode and mine[name])


#: Each of the server's variables, and when it counts.
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
#: All that a site must say for others to be compared with it.
COMPARED = frozenset({NAMES, PREFIX, *_COMPARED})


def _key(value: Any) -> Any:
    """The order of a list, and the case of a text, make no difference."""
    if isinstance(value, list):
        return sorted(str(each).lower() for each in value)
    return value.lower() if isinstance(value, str) else value


def _text(value: Any) -> str:
    """As in YAML, and never with a character that a terminal obeys."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"{json.dumps(value[:_SHOWN])[:-1]}, ...] ({len(value)})"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z/][\w./:@+-]*", value, re.ASCII)
    return str(value) if plain else json.dumps(value)
