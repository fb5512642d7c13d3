# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of an ACME server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..case import Case
from ..rule import Example, Found, Rule, finds
from .values import MALFORMED_VALUE

ACME_PORT = Rule(
    "acme-port",
    "flask_app_tls is acme, but the site's HTTP port is not 80. ACME servers connect to port 80 only.",
    fix="Set flask_app_http_port to 80, or use another flask_app_tls.",
    bad=Example({"flask_app_http_port": 8080}),
    good=Example({"flask_app_http_port": 80}),
)
NAME_WITHOUT_DOMAIN = Rule(
    "name-without-domain",
    "A site name has no domain, so no ACME server issues a certificate for it.",
    fix="Use a name with a domain, or flask_app_tls: self_signed.",
    bad=Example({"flask_app_server_names": ["shop"]}),
    good=Example({"flask_app_server_names": ["shop.example.org"]}),
)
INCOMPLETE_ACCOUNT = Rule(
    "incomplete-account",
    "Only one of the two variables for an external account (EAB) is set.",
    fix="Set both, as the ACME provider issued them, or neither.",
    bad=Example({"flask_app_acme_eab_kid": "kid-1"}),
    good=Example({"flask_app_acme_eab_kid": "kid-1", "flask_app_acme_eab_hmac_key": "zWNDZM6eQGHWpSRTPal5eIUYFTu7Eaj"}),
)


def is_used(case: Case) -> bool:
    """Return whether this app gets its certificate from an ACME server; in another app's site, that app does."""
    return bool(case["tls"] == "acme" and not case["nginx_site_of"])


@finds(MALFORMED_VALUE, ACME_PORT, NAME_WITHOUT_DOMAIN, guards=True)
def server(case: Case) -> Iterator[Found]:
    if not is_used(case):
        return
    directory = case["acme_directory"]
    if not _is_https(directory):
        what = f"flask_app_acme_directory is {directory!r}, which is not an https:// URL."
        fix = "Use the URL of the server's directory, such as https://acme-v02.api.letsencrypt.org/directory."
        yield MALFORMED_VALUE("flask_app_acme_directory", what, fix)
    if case["http_port"] != 80:  # noqa: PLR2004  # RFC 8555, section 8.3
        what = f"flask_app_tls is acme, but flask_app_http_port is {case['http_port']}."
        yield ACME_PORT("flask_app_http_port", what, variables=("flask_app_tls",))
    local = [name for name in case["server_names"] if "." not in name]
    if local:
        what = f"flask_app_server_names holds {', '.join(local)}, for which no ACME server issues a certificate."
        yield NAME_WITHOUT_DOMAIN("flask_app_server_names", what, variables=("flask_app_tls",))


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as https://[acme
        return False
    return parts.scheme == "https" and bool(parts.hostname) and not re.search(r"\s", url)


@finds(INCOMPLETE_ACCOUNT, MALFORMED_VALUE, guards=True)
def account(case: Case) -> Iterator[Found]:
    if not is_used(case):
        return
    if bool(case["acme_eab_kid"]) != bool(case["acme_eab_hmac_key"]):
        what = "only one of flask_app_acme_eab_kid and flask_app_acme_eab_hmac_key is set."
        yield INCOMPLETE_ACCOUNT("flask_app_acme_eab_kid", what, variables=("flask_app_acme_eab_hmac_key",))
    for name in ("flask_app_acme_eab_kid", "flask_app_acme_eab_hmac_key"):  # both go into certbot's options file
        if not re.fullmatch(r"[\w.~:/+=@-]*", case.values[name], re.ASCII):
            what = f"{name} holds a character other than letters, digits and . _ ~ : / + = @ -."
            yield MALFORMED_VALUE(name, what, "Copy it exactly as the ACME provider issued it.")
    email = case["acme_email"]
    if email and not re.match(r"[^-@\s][^@\s]*@[^@\s]+\.[^@\s]+\Z", email):
        fix = "Use an address such as ops@example.org."
        yield MALFORMED_VALUE("flask_app_acme_email", f"flask_app_acme_email is {email!r}.", fix)
