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
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import Problem
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


def edge_problems(values: Mapping[str, Any]) -> list[Problem]:
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
        found.append(Problem("flask_app_http_port and flask_app_https_port are the same.", "Choose two ports."))
    if values["flask_app_nginx_http3"] and mode == "none":
        found.append(
            Problem("flask_app_nginx_http3 is true, and flask_app_tls is none.", "HTTP/3 is always encrypted.")
        )
    return found


def _provided_problems(chain: str, key: str, names: Sequence[str]) -> list[Problem]:
    """Check that certificate and key are readable, belong together, hold now, and hold the names."""
    cure = "Put the PEM text there; for a file: \"{{ lookup('ansible.builtin.file', '/path/site.pem') }}\"."
    empty = [
        name for name, text in (("flask_app_tls_certificate", chain), ("flask_app_tls_key", key)) if not text.strip()
    ]
    if empty:
        return [Problem(f"flask_app_tls is provided, and {' and '.join(empty)} is empty.", cure)]
    if "PRIVATE KEY-----" in chain:
        what = "flask_app_tls_certificate holds a private key, and every user of the host may read that file."
        return [Problem(what, "Put the key into flask_app_tls_key alone.")]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        public = [each.public_key().public_bytes(*form) for each in certificates]
    except (ValueError, UnsupportedAlgorithm):
        return [Problem("flask_app_tls_certificate holds no certificate in PEM that can be read.", cure)]
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        return [Problem("flask_app_tls_key is protected by a passphrase.", "Remove it: openssl pkey -in KEY -out NEW")]
    except (ValueError, UnsupportedAlgorithm):
        return [Problem("flask_app_tls_key holds no private key in PEM that can be read.", cure)]
    own, found = certificates[0], []
    mine = private.public_key().public_bytes(*form)
    if mine != public[0]:
        what = "flask_app_tls_key is the key of another certificate than the first in flask_app_tls_certificate."
        cure = "Put the site's own certificate first." if mine in public else "Take the two that belong together."
        found.append(Problem(what, cure))
    now = datetime.now(UTC)
    if own.not_valid_after_utc <= now:
        found.append(Problem(f"flask_app_tls_certificate expired on {own.not_valid_after_utc:%Y-%m-%d}.", "Renew it."))
    if own.not_valid_before_utc > now:
        begins = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M}"
        found.append(Problem(f"flask_app_tls_certificate is not valid before {begins} UTC.", "Wait, or set the clock."))
    missing = [name for name in names if not covers(_dns_names(own), [name])]
    if missing:
        held = ", ".join(sorted(_dns_names(own))) or "none"
        found.append(
            Problem(
                f"flask_app_tls_certificate does not hold {', '.join(missing)}; it holds {held}.",
                "Take one for all of flask_app_server_names.",
            )
        )
    for upper, lower in zip(certificates[1:], certificates, strict=False):
        if lower.issuer != upper.subject:
            found.append(
                Problem(
                    "flask_app_tls_certificate: the certificates are not in order, each signed by the next.",
                    "Put the site's own first, then the one that signed it, and so on.",
                )
            )
            break
    return found


def _dns_names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value.get_values_for_type(x509.DNSName))


def _acme_problems(values: Mapping[str, Any], names: Sequence[str]) -> list[Problem]:
    found = []
    directory = values["flask_app_acme_directory"]
    if not _is_https(directory):
        cure = "Use the URL of the server's directory, such as https://acme-v02.api.letsencrypt.org/directory."
        found.append(Problem(f"flask_app_acme_directory is {directory!r}, which is no https:// URL.", cure))
    if values["flask_app_http_port"] != 80:  # noqa: PLR2004  # RFC 8555, section 8.3
        what = f"flask_app_tls is acme, and flask_app_http_port is {values['flask_app_http_port']}."
        found.append(Problem(what, "An ACME server asks on port 80: use it, or another flask_app_tls."))
    local = [name for name in names if "." not in name]
    if local:
        what = f"flask_app_server_names holds {', '.join(local)}, for which no ACME server issues a certificate."
        found.append(Problem(what, "Use a name with a domain, or flask_app_tls: self_signed."))
    if bool(values["flask_app_acme_eab_kid"]) != bool(values["flask_app_acme_eab_hmac_key"]):
        what = "of flask_app_acme_eab_kid and flask_app_acme_eab_hmac_key only one is set."
        found.append(Problem(what, "Set both, as the ACME server's operator gave them, or neither."))
    for name in ("flask_app_acme_eab_kid", "flask_app_acme_eab_hmac_key"):  # values in a file of options for certbot
        if not re.fullmatch(r"[\w.~:/+=@-]*", values[name], re.ASCII):
            what = f"{name} holds another character than letters, digits and . _ ~ : / + = @ -"
            found.append(Problem(f"{what}.", "Use it as the ACME server's operator gave it."))
    email = values["flask_app_acme_email"]
    if email and not re.match(r"[^-@\s][^@\s]*@[^@\s]+\.[^@\s]+\Z", email):
        found.append(Problem(f"flask_app_acme_email is {email!r}.", "Use an address such as ops@example.org."))
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


def _header_problems(headers: Mapping[str, Any]) -> list[Problem]:
    found = []
    spellings = Counter(str(name).lower() for name in headers)
    for name, value in headers.items():
        text = "" if value is None else str(value)
        known = {default.lower(): default for default in DEFAULT_HEADERS}.get(str(name).lower(), name)
        if known != name:
            found.append(Problem(f"flask_app_nginx_headers has {name}.", f"Write it {known}, as the role does."))
        if spellings[str(name).lower()] > 1:
            found.append(Problem(f"flask_app_nginx_headers has {name} in two spellings.", "Keep one."))
        withdrawn = str(name).lower() == "strict-transport-security" and text.strip() == "max-age=0"
        if str(name).lower() in _OWN and not withdrawn:
            found.append(Problem(f"flask_app_nginx_headers has {name}.", _OWN[str(name).lower()]))
        if not _TOKEN.match(str(name)):
            found.append(Problem(f"flask_app_nginx_headers has the name {name!r}.", "Use letters, digits and dashes."))
        if not isinstance(value, (str, int, float, type(None))):
            found.append(Problem(f"flask_app_nginx_headers: the value of {name} isn't a text.", "Write it as one."))
        elif re.search(r"[\x00-\x1f\x7f$\\]", text):
            what = f"flask_app_nginx_headers: the value of {name} holds a line break, a $ or a backslash."
            found.append(Problem(what, "Nginx can't send it; write it without."))
    return found


def _static_problems(static: Mapping[str, Any]) -> list[Problem]:
    """Check their form; whether the source has them :func:`.source.take` says."""
    found = []
    for prefix, directory in static.items():
        path = PurePosixPath(str(directory))
        if not re.match(r"/([A-Za-z0-9._~-]+/)+\Z", str(prefix)):
            what = f"flask_app_nginx_static has the path {prefix!r}."
            found.append(Problem(what, "Start and end it with a slash, as in /static/."))
        below = path.parts and ".." not in path.parts and not path.is_absolute()
        if not below or not re.match(r"[A-Za-z0-9._/-]+\Z", str(directory)):
            what = f"flask_app_nginx_static: {directory!r} is no directory below the source."
            found.append(Problem(what, "Name it as seen from the source's top, as in guestbook/static."))
    return found


def _network_problems(values: Mapping[str, Any]) -> list[Problem]:
    found = []
    for variable in ("flask_app_nginx_trusted_proxies", "flask_app_nginx_health_networks"):
        for network in values[variable]:
            try:
                zone = "%" in ipaddress.ip_network(network).exploded  # what follows it may be any text
            except ValueError as error:
                cure = "Use an address or a network, as in 10.0.0.0/8."
                found.append(Problem(f"{variable} holds {network!r}: {error}.", cure))
            else:
                if zone:
                    found.append(Problem(f"{variable} holds {network!r}.", "Write it without the % and the zone."))
    return found


def _client_header_problems(header: str, proxies: Sequence[str]) -> list[Problem]:
    if not _TOKEN.match(header):
        what = f"flask_app_nginx_client_header is {header!r}."
        return [Problem(what, "Name one header, as in CF-Connecting-IP: letters, digits and dashes.")]
    if header.lower() == "forwarded":
        what = "flask_app_nginx_client_header is Forwarded, which Nginx can't read an address from."
        return [Problem(what, "Name a header that holds addresses only, as X-Forwarded-For does.")]
    if header.lower() != "x-forwarded-for" and not proxies:
        what = f"flask_app_nginx_client_header is {header}, and flask_app_nginx_trusted_proxies is empty."
        return [Problem(what, "Name the networks of the proxies that send it: nobody else is believed.")]
    return []


#: Segments as RFC 3986 lets them be, without the dots that lead elsewhere or hide a name.
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+\Z")


def _prefix_problems(prefix: str, owner: str, app: str) -> list[Problem]:
    found = []
    if prefix and not _PREFIX.match(prefix):
        what = f"flask_app_url_prefix is {prefix!r}."
        found.append(Problem(what, "Start it with a slash and end it without one, as in /shop."))
    if owner and (not APP_NAME.match(owner) or owner == app):
        what = f"flask_app_nginx_site_of is {owner!r}."
        found.append(Problem(what, "Use the flask_app_name of another app of the same hosts, or leave it empty."))
    if owner and not prefix:
        what = f"flask_app_nginx_site_of is {owner}, and flask_app_url_prefix is empty."
        found.append(Problem(what, "Name the path below which this app is served in that site, as in /shop."))
    return found


#: What Nginx runs for the location that a request ends in, and never for the one around that (ngx_http_rewrite_module).
_REWRITES = ("break", "if", "return", "rewrite", "set")
_NO_DIRECTIVE = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:^|(?<=[\s;{}]))#[^\n]*|\$\{\w+\}""", re.DOTALL | re.MULTILINE
)


def _inside_problems(text: str, owner: str) -> list[Problem]:
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
    cure = f"Put it into a location of its own below the path, or into flask_app_nginx_inside of {owner}."
    return [Problem(what, cure)]


def _hsts_problems(values: Mapping[str, Any]) -> list[Problem]:
    if not values["flask_app_nginx_hsts_preload"]:
        return []
    if values["flask_app_nginx_hsts_subdomains"] and values["flask_app_nginx_hsts_seconds"] >= PRELOAD_SECONDS:
        return []
    what = "flask_app_nginx_hsts_preload is true without what the browsers' list asks for."
    cure = f"Set flask_app_nginx_hsts_subdomains: true and flask_app_nginx_hsts_seconds to {PRELOAD_SECONDS} or more."
    return [Problem(what, cure)]
