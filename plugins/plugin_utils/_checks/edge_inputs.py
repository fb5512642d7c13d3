# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the inputs of the edge, found on the controller before anything is touched."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import covers
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[A-Za-z0-9-]+\Z")
#: As in the role's vars/main/nginx.yml (a test holds the two against each other).
DEFAULT_HEADERS = (
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
    "Permissions-Policy",
)
#: What hstspreload.org asks for.
PRELOAD_SECONDS = 31536000


def edge_problems(values: Mapping[str, Any]) -> list[Finding]:
    """Return everything; ``values`` are the role's variables in their types."""
    names = values["flask_app_server_names"]
    mode = values["flask_app_tls"]
    # In the site of another app the certificate is that app's, whatever is set here.
    source = "" if values["flask_app_nginx_site_of"] else mode
    found = [
        *(_provided_problems(values["flask_app_tls_certificate"], values["flask_app_tls_key"], names)
          if source == "provided" else []),
        *(_acme_problems(values, names) if source == "acme" else []),
        *_header_problems(values["flask_app_nginx_headers"]),
        *_static_problems(values["flask_app_nginx_static"]),
        *_network_problems(values),
        *_client_header_problems(values["flask_app_nginx_client_header"], values["flask_app_nginx_trusted_proxies"]),
        *_hsts_problems(values),
        *_inside_problems(values["flask_app_nginx_inside"], values["flask_app_nginx_site_of"]),
        *_prefix_problems(values["flask_app_url_prefix"], values["flask_app_nginx_site_of"], values["flask_app_name"]),
    ]  # fmt: skip
    if mode != "none" and values["flask_app_http_port"] == values["flask_app_https_port"]:
        what = "flask_app_http_port and flask_app_https_port are the same."
        fix = "Choose two ports."
        found.append(Finding("same-port", ERROR, "flask_app_http_port", what, fix, variables=("flask_app_https_port",)))
    if values["flask_app_nginx_http3"] and mode == "none":
        what = "flask_app_nginx_http3 is true, and flask_app_tls is none."
        fix = "HTTP/3 is always encrypted."
        found.append(
            Finding("http3-without-tls", ERROR, "flask_app_nginx_http3", what, fix, variables=("flask_app_tls",))
        )
    return found


def _provided_problems(chain: str, key: str, names: Sequence[str]) -> list[Finding]:
    """Check that certificate and key are readable, belong together, hold now, and hold the names."""
    fix = "Put the PEM text there; for a file: \"{{ lookup('ansible.builtin.file', '/path/site.pem') }}\"."
    empty = [
        name for name, text in (("flask_app_tls_certificate", chain), ("flask_app_tls_key", key)) if not text.strip()
    ]
    if empty:
        what = f"flask_app_tls is provided, and {' and '.join(empty)} is empty."
        return [Finding("missing-value", ERROR, empty[0], what, fix, variables=("flask_app_tls", *empty[1:]))]
    if "PRIVATE KEY-----" in chain:
        what = "flask_app_tls_certificate holds a private key, and every user of the host may read that file."
        fix = "Put the key into flask_app_tls_key alone."
        return [Finding("key-in-certificate", ERROR, "flask_app_tls_certificate", what, fix)]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        public = [each.public_key().public_bytes(*form) for each in certificates]
    except (ValueError, UnsupportedAlgorithm):
        what = "flask_app_tls_certificate holds no certificate in PEM that can be read."
        return [Finding("unreadable-certificate", ERROR, "flask_app_tls_certificate", what, fix)]
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        what = "flask_app_tls_key is protected by a passphrase."
        return [Finding("encrypted-key", ERROR, "flask_app_tls_key", what, "Remove it: openssl pkey -in KEY -out NEW")]
    except (ValueError, UnsupportedAlgorithm):
        what = "flask_app_tls_key holds no private key in PEM that can be read."
        return [Finding("unreadable-key", ERROR, "flask_app_tls_key", what, fix)]
    own, found = certificates[0], []
    mine = private.public_key().public_bytes(*form)
    if mine != public[0]:
        what = "flask_app_tls_key is the key of another certificate than the first in flask_app_tls_certificate."
        fix = "Put the site's own certificate first." if mine in public else "Take the two that belong together."
        found.append(
            Finding("mismatched-key", ERROR, "flask_app_tls_key", what, fix, variables=("flask_app_tls_certificate",))
        )
    now = datetime.now(UTC)
    if own.not_valid_after_utc <= now:
        what = f"flask_app_tls_certificate expired on {own.not_valid_after_utc:%Y-%m-%d}."
        found.append(Finding("expired-certificate", ERROR, "flask_app_tls_certificate", what, "Renew it."))
    if own.not_valid_before_utc > now:
        begins = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M}"
        what = f"flask_app_tls_certificate is not valid before {begins} UTC."
        found.append(Finding("future-certificate", ERROR, "flask_app_tls_certificate", what, "Wait, or set the clock."))
    missing = [name for name in names if not covers(_dns_names(own), [name])]
    if missing:
        held = ", ".join(sorted(_dns_names(own))) or "none"
        what = f"flask_app_tls_certificate does not hold {', '.join(missing)}; it holds {held}."
        fix = "Take one for all of flask_app_server_names."
        found.append(
            Finding(
                "uncovered-name", ERROR, "flask_app_tls_certificate", what, fix, variables=("flask_app_server_names",)
            )
        )
    for upper, lower in zip(certificates[1:], certificates, strict=False):
        if lower.issuer != upper.subject:
            what = "flask_app_tls_certificate: the certificates are not in order, each signed by the next."
            fix = "Put the site's own first, then the one that signed it, and so on."
            found.append(Finding("certificate-order", ERROR, "flask_app_tls_certificate", what, fix))
            break
    return found


def _dns_names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value.get_values_for_type(x509.DNSName))


def _acme_problems(values: Mapping[str, Any], names: Sequence[str]) -> list[Finding]:
    found = []
    directory = values["flask_app_acme_directory"]
    if not _is_https(directory):
        what = f"flask_app_acme_directory is {directory!r}, which is no https:// URL."
        fix = "Use the URL of the server's directory, such as https://acme-v02.api.letsencrypt.org/directory."
        found.append(Finding("malformed-value", ERROR, "flask_app_acme_directory", what, fix))
    if values["flask_app_http_port"] != 80:  # noqa: PLR2004  # RFC 8555, section 8.3
        what = f"flask_app_tls is acme, and flask_app_http_port is {values['flask_app_http_port']}."
        fix = "An ACME server asks on port 80: use it, or another flask_app_tls."
        found.append(Finding("acme-port", ERROR, "flask_app_http_port", what, fix, variables=("flask_app_tls",)))
    local = [name for name in names if "." not in name]
    if local:
        what = f"flask_app_server_names holds {', '.join(local)}, for which no ACME server issues a certificate."
        fix = "Use a name with a domain, or flask_app_tls: self_signed."
        found.append(
            Finding("name-without-domain", ERROR, "flask_app_server_names", what, fix, variables=("flask_app_tls",))
        )
    if bool(values["flask_app_acme_eab_kid"]) != bool(values["flask_app_acme_eab_hmac_key"]):
        what = "of flask_app_acme_eab_kid and flask_app_acme_eab_hmac_key only one is set."
        fix = "Set both, as the ACME server's operator gave them, or neither."
        found.append(
            Finding(
                "half-account", ERROR, "flask_app_acme_eab_kid", what, fix, variables=("flask_app_acme_eab_hmac_key",)
            )
        )
    for name in ("flask_app_acme_eab_kid", "flask_app_acme_eab_hmac_key"):  # values in a file of options for certbot
        if not re.fullmatch(r"[\w.~:/+=@-]*", values[name], re.ASCII):
            what = f"{name} holds another character than letters, digits and . _ ~ : / + = @ -."
            found.append(Finding("malformed-value", ERROR, name, what, "Use it as the ACME server's operator gave it."))
    email = values["flask_app_acme_email"]
    if email and not re.match(r"[^-@\s][^@\s]*@[^@\s]+\.[^@\s]+\Z", email):
        what = f"flask_app_acme_email is {email!r}."
        fix = "Use an address such as ops@example.org."
        found.append(Finding("malformed-value", ERROR, "flask_app_acme_email", what, fix))
    return found


#: Headers that have a variable of their own, or that Nginx writes for each request.
_OWN = {
    "strict-transport-security": "Set flask_app_nginx_hsts_seconds instead.",
    "cache-control": "The app says how its pages are cached, the role how static files are.",
    "x-request-id": "The role sends it.",
    "retry-after": "The role sends it while no release answers.",
}


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # as of https://[acme
        return False
    return parts.scheme == "https" and bool(parts.hostname) and not re.search(r"\s", url)


def _header_problems(headers: Mapping[str, Any]) -> list[Finding]:
    found = []
    spellings = Counter(str(name).lower() for name in headers)
    for name, value in headers.items():
        text = "" if value is None else str(value)
        known = {default.lower(): default for default in DEFAULT_HEADERS}.get(str(name).lower(), name)
        if known != name:
            what = f"flask_app_nginx_headers has {name}."
            fix = f"Write it {known}, as the role does."
            found.append(Finding("header-spelling", ERROR, "flask_app_nginx_headers", what, fix))
        if spellings[str(name).lower()] > 1:
            what = f"flask_app_nginx_headers has {name} in two spellings."
            found.append(Finding("named-twice", ERROR, "flask_app_nginx_headers", what, "Keep one."))
        withdrawn = str(name).lower() == "strict-transport-security" and text.strip() == "max-age=0"
        if str(name).lower() in _OWN and not withdrawn:
            what = f"flask_app_nginx_headers has {name}."
            found.append(Finding("header-of-the-role", ERROR, "flask_app_nginx_headers", what, _OWN[str(name).lower()]))
        if not _TOKEN.match(str(name)):
            what = f"flask_app_nginx_headers has the name {name!r}."
            fix = "Use letters, digits and dashes."
            found.append(Finding("malformed-value", ERROR, "flask_app_nginx_headers", what, fix))
        if not isinstance(value, (str, int, float, type(None))):
            what = f"flask_app_nginx_headers: the value of {name} isn't a text."
            found.append(Finding("wrong-type", ERROR, "flask_app_nginx_headers", what, "Write it as one."))
        elif re.search(r"[\x00-\x1f\x7f$\\]", text):
            what = f"flask_app_nginx_headers: the value of {name} holds a line break, a $ or a backslash."
            fix = "Nginx can't send it; write it without."
            found.append(Finding("malformed-value", ERROR, "flask_app_nginx_headers", what, fix))
    return found


def _static_problems(static: Mapping[str, Any]) -> list[Finding]:
    """Check their form; whether the source has them :func:`.source.take` says."""
    found = []
    for prefix, directory in static.items():
        path = PurePosixPath(str(directory))
        if not re.match(r"/([A-Za-z0-9._~-]+/)+\Z", str(prefix)):
            what = f"flask_app_nginx_static has the path {prefix!r}."
            fix = "Start and end it with a slash, as in /static/."
            found.append(Finding("malformed-value", ERROR, "flask_app_nginx_static", what, fix))
        below = path.parts and ".." not in path.parts and not path.is_absolute()
        if not below or not re.match(r"[A-Za-z0-9._/-]+\Z", str(directory)):
            what = f"flask_app_nginx_static: {directory!r} is no directory below the source."
            fix = "Name it as seen from the source's top, as in guestbook/static."
            found.append(Finding("malformed-value", ERROR, "flask_app_nginx_static", what, fix))
    return found


def _network_problems(values: Mapping[str, Any]) -> list[Finding]:
    found = []
    for variable in ("flask_app_nginx_trusted_proxies", "flask_app_nginx_health_networks"):
        for network in values[variable]:
            try:
                zone = "%" in ipaddress.ip_network(network).exploded  # what follows it may be any text
            except ValueError as error:
                what = f"{variable} holds {network!r}: {error}."
                fix = "Use an address or a network, as in 10.0.0.0/8."
                found.append(Finding("malformed-value", ERROR, variable, what, fix))
            else:
                if zone:
                    what = f"{variable} holds {network!r}."
                    fix = "Write it without the % and the zone."
                    found.append(Finding("malformed-value", ERROR, variable, what, fix))
    return found


def _client_header_problems(header: str, proxies: Sequence[str]) -> list[Finding]:
    if not _TOKEN.match(header):
        what = f"flask_app_nginx_client_header is {header!r}."
        fix = "Name one header, as in CF-Connecting-IP: letters, digits and dashes."
        return [Finding("malformed-value", ERROR, "flask_app_nginx_client_header", what, fix)]
    if header.lower() == "forwarded":
        what = "flask_app_nginx_client_header is Forwarded, which Nginx can't read an address from."
        fix = "Name a header that holds addresses only, as X-Forwarded-For does."
        return [Finding("unusable-header", ERROR, "flask_app_nginx_client_header", what, fix)]
    if header.lower() != "x-forwarded-for" and not proxies:
        what = f"flask_app_nginx_client_header is {header}, and flask_app_nginx_trusted_proxies is empty."
        fix = "Name the networks of the proxies that send it: nobody else is believed."
        return [
            Finding(
                "untrusted-header",
                ERROR,
                "flask_app_nginx_client_header",
                what,
                fix,
                variables=("flask_app_nginx_trusted_proxies",),
            )
        ]
    return []


#: Segments as RFC 3986 lets them be, without the dots that lead elsewhere or hide a name.
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+\Z")


def _prefix_problems(prefix: str, owner: str, app: str) -> list[Finding]:
    found = []
    if prefix and not _PREFIX.match(prefix):
        what = f"flask_app_url_prefix is {prefix!r}."
        fix = "Start it with a slash and end it without one, as in /shop."
        found.append(Finding("malformed-value", ERROR, "flask_app_url_prefix", what, fix))
    if owner and (not APP_NAME.match(owner) or owner == app):
        what = f"flask_app_nginx_site_of is {owner!r}."
        fix = "Use the flask_app_name of another app of the same hosts, or leave it empty."
        found.append(Finding("malformed-value", ERROR, "flask_app_nginx_site_of", what, fix))
    if owner and not prefix:
        what = f"flask_app_nginx_site_of is {owner}, and flask_app_url_prefix is empty."
        fix = "Name the path below which this app is served in that site, as in /shop."
        found.append(
            Finding(
                "site-without-path", ERROR, "flask_app_nginx_site_of", what, fix, variables=("flask_app_url_prefix",)
            )
        )
    return found


#: What Nginx runs for the location that a request ends in, and never for the one around that (ngx_http_rewrite_module).
_REWRITES = ("break", "if", "return", "rewrite", "set")
_NO_DIRECTIVE = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:^|(?<=[\s;{}]))#[^\n]*|\$\{\w+\}""", re.DOTALL | re.MULTILINE
)


def _inside_problems(text: str, owner: str) -> list[Finding]:
    """Find what does nothing in the location around an app's own ones."""
    depth, found = 0, dict[str, None]()
    bare = _NO_DIRECTIVE.sub(lambda match: "" if match[0].startswith("#") else "x", text)
    for part in re.findall(r"[{};]|[^{};]+", bare):
        if part in "{}":
            depth += 1 if part == "{" else -1
        elif depth == 0 and part.split() and part.split()[0] in _REWRITES:
            found[part.split()[0]] = None
    if not owner or not found:
        return []
    what = f"flask_app_nginx_inside has {', '.join(found)}, which does nothing for an app in the site of another."
    fix = f"Put it into a location of its own below the path, or into flask_app_nginx_inside of {owner}."
    return [
        Finding("idle-directive", ERROR, "flask_app_nginx_inside", what, fix, variables=("flask_app_nginx_site_of",))
    ]


def _hsts_problems(values: Mapping[str, Any]) -> list[Finding]:
    if not values["flask_app_nginx_hsts_preload"]:
        return []
    if values["flask_app_nginx_hsts_subdomains"] and values["flask_app_nginx_hsts_seconds"] >= PRELOAD_SECONDS:
        return []
    what = "flask_app_nginx_hsts_preload is true without what the browsers' list asks for."
    fix = f"Set flask_app_nginx_hsts_subdomains: true and flask_app_nginx_hsts_seconds to {PRELOAD_SECONDS} or more."
    return [
        Finding(
            "hsts-preload",
            ERROR,
            "flask_app_nginx_hsts_preload",
            what,
            fix,
            variables=("flask_app_nginx_hsts_subdomains", "flask_app_nginx_hsts_seconds"),
        )
    ]
