# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates made by the tests, and the one that a server serves."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.deployed import Server


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(private: ec.EllipticCurvePrivateKey, passphrase: str = "") -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def certificate(
    private: ec.EllipticCurvePrivateKey, *names: str, begins_days: float = -1, ends_days: float = 90, issuer: str = ""
) -> str:
    """Return a self-signed certificate for ``names`` as PEM; its times are days from now."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or names[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins_days))
        .not_valid_after(now + timedelta(days=ends_days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(private, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def served(server: Server, site: str) -> x509.Certificate:
    """Return the certificate that a visitor of ``site`` gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", server.https_port), 10) as plain,
        context.wrap_socket(plain, server_hostname=site) as encrypted,
    ):
        return x509.load_der_x509_certificate(encrypted.getpeercert(True) or b"")


def issuer(found: x509.Certificate) -> str:
    """Return the common name of its issuer."""
    return str(found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
