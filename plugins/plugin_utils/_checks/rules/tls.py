# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS: whether there is any, and a certificate that the operator provides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import covers
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ..case import Case
from ..rule import Example, Found, Rule, finds
from .reading import MISSING_VALUE

CERTIFICATE, KEY = "flask_app_tls_certificate", "flask_app_tls_key"
_FORM = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_PEM = "Put the PEM text there; for a file: \"{{ lookup('ansible.builtin.file', '/path/site.pem') }}\"."


def _provided(certificate: str, key: str = "<its key>") -> Example:
    """An example with PEM texts that a reader can tell apart; the test puts real ones there."""
    return Example({"flask_app_tls": "provided", CERTIFICATE: certificate, KEY: key})


_GOOD = _provided("<certificate of shop.example.org>")

NO_TLS = Rule(
    "no-tls",
    "Production is served in plain HTTP, and no proxy in front of it is trusted: passwords travel in the clear.",
    severity=WARNING,
    fix="Set flask_app_tls to acme or provided, or name the proxies in flask_app_nginx_trusted_proxies.",
    acceptable=True,
    bad=Example({"flask_app_tls": "none"}),
    good=Example({"flask_app_tls": "none", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}),
)
SELF_SIGNED = Rule(
    "self-signed",
    "Production has a certificate that no browser trusts.",
    severity=WARNING,
    fix="Set it to acme or provided.",
    acceptable=True,
    bad=Example({"flask_app_tls": "self_signed"}),
    good=Example({"flask_app_tls": "acme"}),
)
KEY_IN_CERTIFICATE = Rule(
    "key-in-certificate",
    "The certificate's text holds a private key, and every user of the host may read that file.",
    fix="Put the key into flask_app_tls_key alone.",
    bad=_provided("<certificate of shop.example.org> <its key>"),
    good=_GOOD,
)
UNREADABLE_CERTIFICATE = Rule(
    "unreadable-certificate",
    "flask_app_tls_certificate holds no certificate in PEM that can be read.",
    fix=_PEM,
    bad=_provided("/etc/ssl/site.pem"),
    good=_GOOD,
)
ENCRYPTED_KEY = Rule(
    "encrypted-key",
    "The certificate's key is protected by a passphrase, which nobody types when Nginx starts.",
    fix="Remove it: openssl pkey -in KEY -out NEW",
    bad=_provided("<certificate of shop.example.org>", "<its key with a passphrase>"),
    good=_GOOD,
)
UNREADABLE_KEY = Rule(
    "unreadable-key",
    "flask_app_tls_key holds no private key in PEM that can be read.",
    fix=_PEM,
    bad=_provided("<certificate of shop.example.org>", "/etc/ssl/site.key"),
    good=_GOOD,
)
MISMATCHED_KEY = Rule(
    "mismatched-key",
    "The key is that of another certificate.",
    bad=_provided("<certificate of shop.example.org>", "<another key>"),
    good=_GOOD,
)
EXPIRED_CERTIFICATE = Rule(
    "expired-certificate",
    "The certificate is no longer valid.",
    fix="Renew it.",
    bad=_provided("<certificate that ended yesterday>"),
    good=_GOOD,
)
FUTURE_CERTIFICATE = Rule(
    "future-certificate",
    "The certificate is not valid yet.",
    fix="Wait, or set the clock.",
    bad=_provided("<certificate that begins tomorrow>"),
    good=_GOOD,
)
UNCOVERED_NAME = Rule(
    "uncovered-name",
    "The certificate does not hold all of flask_app_server_names.",
    fix="Take one for all of flask_app_server_names.",
    bad=_provided("<certificate of example.com>"),
    good=_GOOD,
)
CERTIFICATE_ORDER = Rule(
    "certificate-order",
    "The certificates are not in order, each signed by the next.",
    fix="Put the site's own first, then the one that signed it, and so on.",
    bad=_provided("<certificate of shop.example.org> <certificate of another authority>"),
    good=_GOOD,
)


@finds(NO_TLS, SELF_SIGNED)
def mode(case: Case) -> Iterator[Found]:
    if case["environment"] != "production":
        return
    if case["tls"] == "none" and not case["nginx_trusted_proxies"]:
        what = "flask_app_tls is none in production, and no proxy in front is trusted: passwords travel in the clear."
        yield NO_TLS("flask_app_tls", what)
    if case["tls"] == "self_signed":
        yield SELF_SIGNED("flask_app_tls", "flask_app_tls is self_signed in production: browsers warn of it.")


@finds(
    MISSING_VALUE,
    KEY_IN_CERTIFICATE,
    UNREADABLE_CERTIFICATE,
    ENCRYPTED_KEY,
    UNREADABLE_KEY,
    MISMATCHED_KEY,
    EXPIRED_CERTIFICATE,
    FUTURE_CERTIFICATE,
    UNCOVERED_NAME,
    CERTIFICATE_ORDER,
    guards=True,
)
def provided(case: Case) -> Iterator[Found]:
    """Certificate and key are readable, belong together, hold now, and hold the names."""
    if case["tls"] != "provided" or case["nginx_site_of"]:  # in the site of another app the certificate is that app's
        return
    chain, key = case["tls_certificate"], case["tls_key"]
    empty = [name for name, text in ((CERTIFICATE, chain), (KEY, key)) if not text.strip()]
    if empty:
        what = f"flask_app_tls is provided, and {' and '.join(empty)} is empty."
        yield MISSING_VALUE(empty[0], what, _PEM, variables=("flask_app_tls", *empty[1:]))
        return
    if "PRIVATE KEY-----" in chain:
        what = "flask_app_tls_certificate holds a private key, and every user of the host may read that file."
        yield KEY_IN_CERTIFICATE(CERTIFICATE, what)
        return
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        public = [each.public_key().public_bytes(*_FORM) for each in certificates]
    except (ValueError, UnsupportedAlgorithm):
        what = "flask_app_tls_certificate holds no certificate in PEM that can be read."
        yield UNREADABLE_CERTIFICATE(CERTIFICATE, what)
        return
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        yield ENCRYPTED_KEY(KEY, "flask_app_tls_key is protected by a passphrase.")
    except (ValueError, UnsupportedAlgorithm):
        yield UNREADABLE_KEY(KEY, "flask_app_tls_key holds no private key in PEM that can be read.")
    else:
        yield from _pair(private, public)
        yield from _names_and_time(certificates[0], case["server_names"])
        yield from _order(certificates)


def _pair(private: PrivateKeyTypes, public: Sequence[bytes]) -> Iterator[Found]:
    mine = private.public_key().public_bytes(*_FORM)
    if mine != public[0]:
        what = "flask_app_tls_key is the key of another certificate than the first in flask_app_tls_certificate."
        fix = "Put the site's own certificate first." if mine in public else "Take the two that belong together."
        yield MISMATCHED_KEY(KEY, what, fix, variables=(CERTIFICATE,))


def _names_and_time(own: x509.Certificate, names: Sequence[str]) -> Iterator[Found]:
    now = datetime.now(UTC)
    if own.not_valid_after_utc <= now:
        what = f"flask_app_tls_certificate expired on {own.not_valid_after_utc:%Y-%m-%d}."
        yield EXPIRED_CERTIFICATE(CERTIFICATE, what)
    if own.not_valid_before_utc > now:
        begins = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M}"
        yield FUTURE_CERTIFICATE(CERTIFICATE, f"flask_app_tls_certificate is not valid before {begins} UTC.")
    missing = [name for name in names if not covers(_dns_names(own), [name])]
    if missing:
        held = ", ".join(sorted(_dns_names(own))) or "none"
        what = f"flask_app_tls_certificate does not hold {', '.join(missing)}; it holds {held}."
        yield UNCOVERED_NAME(CERTIFICATE, what, variables=("flask_app_server_names",))


def _dns_names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value.get_values_for_type(x509.DNSName))


def _order(certificates: Sequence[x509.Certificate]) -> Iterator[Found]:
    for upper, lower in zip(certificates[1:], certificates, strict=False):
        if lower.issuer != upper.subject:
            what = "flask_app_tls_certificate: the certificates are not in order, each signed by the next."
            yield CERTIFICATE_ORDER(CERTIFICATE, what)
            return
