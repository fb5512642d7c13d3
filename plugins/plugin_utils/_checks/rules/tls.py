# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS: whether the site uses it, and a certificate that the operator provides."""

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
    """Return an example with readable names for PEM texts; the test puts in real ones."""
    return Example({"flask_app_tls": "provided", CERTIFICATE: certificate, KEY: key})


_GOOD = _provided("<certificate of shop.example.org>")

NO_TLS = Rule(
    "no-tls",
    "Production is served over plain HTTP without a trusted proxy: passwords travel unencrypted.",
    severity=WARNING,
    fix="Set flask_app_tls to acme or provided, or list the proxies in flask_app_nginx_trusted_proxies.",
    acceptable=True,
    bad=Example({"flask_app_tls": "none"}),
    good=Example({"flask_app_tls": "none", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}),
)
SELF_SIGNED = Rule(
    "self-signed",
    "Production has a certificate that no browser trusts.",
    severity=WARNING,
    fix="Set flask_app_tls to acme or provided.",
    acceptable=True,
    bad=Example({"flask_app_tls": "self_signed"}),
    good=Example({"flask_app_tls": "acme"}),
)
KEY_IN_CERTIFICATE = Rule(
    "key-in-certificate",
    "flask_app_tls_certificate holds a private key, and every user of the host may read the certificate's file.",
    fix="Put the key only into flask_app_tls_key.",
    bad=_provided("<certificate of shop.example.org> <its key>"),
    good=_GOOD,
)
UNREADABLE_CERTIFICATE = Rule(
    "unreadable-certificate",
    "flask_app_tls_certificate holds no readable PEM certificate.",
    fix=_PEM,
    bad=_provided("/etc/ssl/site.pem"),
    good=_GOOD,
)
ENCRYPTED_KEY = Rule(
    "encrypted-key",
    "The certificate's key has a passphrase, which nobody types when Nginx starts.",
    fix="Remove the passphrase: openssl pkey -in KEY -out NEW",
    bad=_provided("<certificate of shop.example.org>", "<its key with a passphrase>"),
    good=_GOOD,
)
UNREADABLE_KEY = Rule(
    "unreadable-key",
    "flask_app_tls_key holds no readable PEM private key.",
    fix=_PEM,
    bad=_provided("<certificate of shop.example.org>", "/etc/ssl/site.key"),
    good=_GOOD,
)
MISMATCHED_KEY = Rule(
    "mismatched-key",
    "The key belongs to another certificate.",
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
    fix="Wait until then, or set this machine's clock.",
    bad=_provided("<certificate that begins tomorrow>"),
    good=_GOOD,
)
UNCOVERED_NAME = Rule(
    "uncovered-name",
    "The certificate does not cover all of flask_app_server_names.",
    fix="Use a certificate for all of flask_app_server_names.",
    bad=_provided("<certificate of example.com>"),
    good=_GOOD,
)
CERTIFICATE_ORDER = Rule(
    "certificate-order",
    "The certificates are not in order: each must be signed by the next.",
    fix="Put the site's certificate first, then the one that signed it, and so on.",
    bad=_provided("<certificate of shop.example.org> <certificate of another authority>"),
    good=_GOOD,
)


@finds(NO_TLS, SELF_SIGNED)
def mode(case: Case) -> Iterator[Found]:
    if case["environment"] != "production":
        return
    if case["tls"] == "none" and not case["nginx_trusted_proxies"]:
        what = "flask_app_tls is none in production, and no proxy is trusted: passwords travel unencrypted."
        yield NO_TLS("flask_app_tls", what)
    if case["tls"] == "self_signed":
        yield SELF_SIGNED("flask_app_tls", "flask_app_tls is self_signed in production: browsers show a warning.")


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
    """Check that certificate and key are readable, belong together, are valid now, and cover the names."""
    if case["tls"] != "provided" or case["nginx_site_of"]:  # in another app's site, that app provides the certificate
        return
    chain, key = case["tls_certificate"], case["tls_key"]
    empty = [name for name, text in ((CERTIFICATE, chain), (KEY, key)) if not text.strip()]
    if empty:
        what = f"flask_app_tls is provided, but {' and '.join(empty)} is empty."
        yield MISSING_VALUE(empty[0], what, _PEM, variables=("flask_app_tls", *empty[1:]))
        return
    if "PRIVATE KEY-----" in chain:
        what = "flask_app_tls_certificate holds a private key, and every user of the host may read its file."
        yield KEY_IN_CERTIFICATE(CERTIFICATE, what)
        return
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        public = [each.public_key().public_bytes(*_FORM) for each in certificates]
    except (ValueError, UnsupportedAlgorithm):
        what = "flask_app_tls_certificate holds no readable PEM certificate."
        yield UNREADABLE_CERTIFICATE(CERTIFICATE, what)
        return
    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        yield ENCRYPTED_KEY(KEY, "flask_app_tls_key has a passphrase.")
    except (ValueError, UnsupportedAlgorithm):
        yield UNREADABLE_KEY(KEY, "flask_app_tls_key holds no readable PEM private key.")
    else:
        yield from _pair(private, public)
        yield from _names_and_time(certificates[0], case["server_names"])
        yield from _order(certificates)


def _pair(private: PrivateKeyTypes, public: Sequence[bytes]) -> Iterator[Found]:
    mine = private.public_key().public_bytes(*_FORM)
    if mine != public[0]:
        what = "flask_app_tls_key does not belong to the first certificate in flask_app_tls_certificate."
        fix = "Put the site's certificate first." if mine in public else "Use a key and a certificate that match."
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
        what = f"flask_app_tls_certificate does not cover {', '.join(missing)}; it covers {held}."
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
            what = "flask_app_tls_certificate: the certificates are not in order; each must be signed by the next."
            yield CERTIFICATE_ORDER(CERTIFICATE, what)
            return
