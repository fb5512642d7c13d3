# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of a site: self-signed, provided by the user, or issued by an ACME server.

Each certificate is a directory with ``fullchain.pem`` and ``privkey.pem``. Nginx reads them through one link, so that
changing the certificate, or its origin, is a rename and a reload. Certificates are read with openssl-x509(1).
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    UNFINISHED,
    make_directory,
    readable,
    remove,
    remove_unfinished,
    write,
)

CHAIN, KEY = "fullchain.pem", "privkey.pem"
SELF_SIGNED, PROVIDED = "self-signed-", "provided-"
#: Lifetime of a self-signed certificate in days, and how many must be left at a deploy.
SELF_SIGNED_DAYS = 365
RENEW_DAYS = 60
#: Seconds for a TLS handshake with the host's own Nginx.
HANDSHAKE_SECONDS = 5
DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Certificate:
    """The DNS names of a certificate, and its validity in UNIX seconds."""

    names: frozenset[str]
    begins: float
    ends: float

    @property
    def lifetime(self) -> float:
        return self.ends - self.begins

    def days_left(self, now: float | None = None) -> float:
        return (self.ends - (time.time() if now is None else now)) / DAY_SECONDS


def covers(held: Collection[str], names: Collection[str]) -> bool:
    """Say whether the DNS names ``held`` cover all ``names``; ``*`` matches one label (RFC 6125, section 6.4.3)."""
    return all(name in held or f"*.{name.partition('.')[2]}" in held for name in names)


def inspect(directory: Path) -> Certificate | None:
    """Return the certificate in ``directory``, or None if there is no readable one."""
    chain = directory / CHAIN
    if not chain.exists() or not (directory / KEY).exists():
        return None
    done = run(["openssl", "x509", "-in", chain, "-noout", "-dates", "-ext", "subjectAltName"])
    dates = dict(line.partition("=")[::2] for line in done.stdout.splitlines() if line.startswith("not"))
    if done.code != 0 or set(dates) != {"notBefore", "notAfter"}:
        return None
    begins, ends = (float(ssl.cert_time_to_seconds(dates[name])) for name in ("notBefore", "notAfter"))
    return Certificate(frozenset(re.findall(r"DNS:([^,\s]+)", done.stdout)), begins, ends)


def encoded(directory: Path) -> bytes:
    """Return the site's own certificate in ``directory`` as DER; empty if there is no readable one."""
    match = re.search(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", readable(directory / CHAIN) or "", re.DOTALL
    )
    try:
        return ssl.PEM_cert_to_DER_cert(match.group(0)) if match else b""
    except ValueError:
        return b""


def served(port: int, name: str) -> bytes:
    """Return the certificate that this host serves for ``name`` as DER; empty if it serves none."""
    context = ssl.create_default_context()  # we only want to know which one it is, not whether to trust it
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), HANDSHAKE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            return encrypted.getpeercert(True) or b""
    except OSError:
        return b""


def holds(encoded: bytes) -> bool:
    """Say whether a certificate, as DER, has not expired yet."""
    if not encoded:
        return False
    given = ssl.DER_cert_to_PEM_cert(encoded)
    return run(["openssl", "x509", "-noout", "-checkend", "0"], given=given).code == 0


def self_signed(layout: Layout, names: Sequence[str], *, dry: bool = False) -> Path:
    """Return the directory of a self-signed certificate for exactly ``names``; make one unless one is still valid."""
    for directory in sorted(layout.tls.glob(f"{SELF_SIGNED}*"), reverse=True):
        found = inspect(directory)
        if found and found.names == frozenset(names) and found.days_left() > RENEW_DAYS and is_pair(directory):
            return directory
    directory = layout.tls / f"{SELF_SIGNED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    if not dry:
        make_directory(layout.tls)
        unfinished = layout.tls / f"{UNFINISHED}{directory.name}"
        remove(unfinished)
        make_directory(unfinished)
        make_self_signed(unfinished, names)
        remove(directory)
        unfinished.rename(directory)
    return directory


def is_pair(directory: Path) -> bool:
    """Say whether certificate and key can be read and belong together."""
    try:
        # Pass an empty password: otherwise OpenSSL would prompt for one if the key is encrypted.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / CHAIN, directory / KEY, password="")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return True


def make_self_signed(directory: Path, names: Sequence[str]) -> None:
    """Make a key and a self-signed certificate in ``directory`` (openssl-req(1))."""
    subject = f"/CN={names[0]}" if len(names[0]) <= 64 else "/CN=greenlight"  # noqa: PLR2004  # RFC 5280: ub-common-name
    alternatives = ",".join(f"DNS:{name}" for name in names)
    # openssl itself makes the key with mode 0600.
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha256", "-nodes"]
    extensions = ["-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=critical,CA:FALSE"]
    extensions += ["-addext", "extendedKeyUsage=serverAuth"]
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        *curve,
        "-days",
        str(SELF_SIGNED_DAYS),
        "-subj",
        subject,
        *extensions,
    ]
    command += ["-keyout", directory / KEY, "-out", directory / CHAIN]
    require(command, "making a certificate with openssl req")
    (directory / KEY).chmod(0o600)


def provided(layout: Layout, chain: str, key: str, *, dry: bool = False) -> Path:
    """Return the directory of the user's own certificate; write it unless it exists."""
    digest = hashlib.sha256(f"{chain}\0{key}".encode()).hexdigest()[:16]
    directory = layout.tls / f"{PROVIDED}{digest}"
    if dry:
        return directory
    if readable(directory / CHAIN) == chain and readable(directory / KEY) == key:
        write(directory / KEY, key, 0o600)  # somebody may have changed its mode
    else:
        make_directory(layout.tls)
        unfinished = layout.tls / f"{UNFINISHED}{directory.name}"
        remove(unfinished)
        write(unfinished / KEY, key, 0o600)
        write(unfinished / CHAIN, chain)
        remove(directory)
        unfinished.rename(directory)
    return directory


def tidy(layout: Layout, kept: Path | None) -> None:
    """Remove the app's own certificates except ``kept``; if that is None, also the link and the directory."""
    if kept is None:
        remove(layout.tls)
        return
    for directory in [*layout.tls.glob(f"{SELF_SIGNED}*"), *layout.tls.glob(f"{PROVIDED}*")]:
        if directory != kept:
            remove(directory)
    remove_unfinished(layout.tls)
