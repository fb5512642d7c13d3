# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's own certificates are complete or absent, are kept while valid, and only root can read their keys."""

from __future__ import annotations

import itertools
import os
import pty
import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import (
    CHAIN,
    KEY,
    covers,
    encoded,
    inspect,
    provided,
    self_signed,
    served,
    tidy,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support import certificates
from tests.unit.edge_machine import put, read_certificate
from tests.unit.killing import killed

NAMES = ["shop.example.org", "www.shop.example.org"]
OLD, ENDING = "self-signed-20260101T000000Z", "self-signed-20250101T000000Z"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def held(layout: Layout) -> list[str]:
    return sorted(os.listdir(layout.tls)) if layout.tls.exists() else []


def pair() -> tuple[str, str]:
    private = certificates.key()
    return certificates.certificate(private, *NAMES), certificates.key_pem(private)


# What a certificate contains


def test_names_and_times_of_a_certificate_are_read(tmp_path: Path) -> None:
    put(tmp_path, *NAMES, begins_days=-10, ends_days=80)
    found = inspect(tmp_path)
    assert found
    assert found.names == frozenset(NAMES)
    assert found.lifetime == pytest.approx(90 * 86400, abs=2)
    assert found.days_left() == pytest.approx(80, abs=0.01)
    assert found.days_left(found.ends + 86400) == -1


def test_only_the_first_of_a_chain_counts(tmp_path: Path) -> None:
    first, _ = put(tmp_path, *NAMES)
    (tmp_path / CHAIN).write_text(f"Bag Attributes\n{first}{certificates.certificate(certificates.key(), 'ca')}")
    found = inspect(tmp_path)
    assert found
    assert found.names == frozenset(NAMES)
    assert encoded(tmp_path) == ssl.PEM_cert_to_DER_cert(first)


def damage(directory: Path, kind: str) -> None:
    if kind == "nothing":
        shutil.rmtree(directory)
    elif kind == "half a chain":
        (directory / CHAIN).write_text((directory / CHAIN).read_text()[:200])
    elif kind == "an empty chain":
        (directory / CHAIN).write_text("")
    elif kind == "a link to nowhere":
        (directory / CHAIN).unlink()
        (directory / CHAIN).symlink_to("../../archive/shop/fullchain1.pem")
    else:
        (directory / {"no key": KEY, "no chain": CHAIN}[kind]).unlink()


DAMAGES = [
    "nothing",
    "no key",
    "no chain",
    "half a chain",
    "an empty chain",
    "a link to nowhere",
]


@pytest.mark.parametrize("kind", DAMAGES)
def test_an_unreadable_certificate_is_none(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "it", *NAMES)
    damage(tmp_path / "it", kind)
    assert inspect(tmp_path / "it") is None


def test_without_openssl_no_certificate_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *NAMES)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inspect(tmp_path) is None


@pytest.mark.parametrize(
    ("names", "covered"),
    [
        (["shop.example.org"], True),
        (["shop.example.org", "a.wild.example.org"], True),
        ([], True),
        (["wild.example.org"], False),
        (["a.b.wild.example.org"], False),
        (["example.org"], False),
        (["www.shop.example.org"], False),
        (["shop.example.org", "other.example.org"], False),
        (["localhost"], False),
    ],
)
def test_a_wildcard_covers_one_label(names: list[str], covered: bool) -> None:
    assert covers({"shop.example.org", "*.wild.example.org"}, names) is covered


# What is served


@contextmanager
def listening(directory: Path | None) -> Iterator[int]:
    """A server that shows the certificate in ``directory`` once; with None it hangs up at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            plain, _ = server.accept()
            with plain:
                if directory:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(directory / CHAIN, directory / KEY)
                    context.wrap_socket(plain, server_side=True).close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_the_served_certificate_is_compared_with_the_one_on_disk(tmp_path: Path) -> None:
    put(tmp_path / "one", *NAMES)
    put(tmp_path / "two", *NAMES)
    with listening(tmp_path / "one") as port:
        shown = served(port, NAMES[0])
    assert shown == encoded(tmp_path / "one")
    assert shown != encoded(tmp_path / "two")


def test_no_served_certificate_gives_an_empty_result() -> None:
    with listening(None) as port:
        assert served(port, NAMES[0]) == b""
    assert served(port, NAMES[0]) == b""


# Self-signed


def test_a_self_signed_certificate_covers_its_names_and_is_not_a_ca(layout: Layout) -> None:
    directory = self_signed(layout, NAMES)
    made = x509.load_pem_x509_certificate((directory / CHAIN).read_bytes())
    private = load_pem_private_key((directory / KEY).read_bytes(), None)
    assert made.public_key() == private.public_key()
    extensions = made.extensions
    alternatives = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == NAMES
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == certificate.SELF_SIGNED_DAYS
    assert held(layout) == [directory.name]


def test_the_self_signed_key_is_private_whatever_the_umask(layout: Layout) -> None:
    before = os.umask(0)
    try:
        directory = self_signed(layout, NAMES)
    finally:
        os.umask(before)
    assert mode(directory / KEY) == 0o600


def test_a_name_too_long_for_a_common_name_is_still_covered(layout: Layout) -> None:
    name = f"{'a' * 60}.shop.example.org"
    directory = self_signed(layout, [name])
    made = x509.load_pem_x509_certificate((directory / CHAIN).read_bytes())
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "greenlight"
    found = inspect(directory)
    assert found
    assert found.names == {name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "reused"),
    [(365, True), (certificate.RENEW_DAYS + 1, True), (certificate.RENEW_DAYS - 1, False), (0.5, False), (-1, False)],
)
def test_a_self_signed_certificate_is_replaced_long_before_it_expires(
    layout: Layout, days: float, reused: bool
) -> None:
    put(layout.tls / OLD, *NAMES, begins_days=-400, ends_days=days)
    directory = self_signed(layout, NAMES)
    assert (directory.name == OLD) is reused
    found = inspect(directory)
    assert found
    assert found.days_left() > certificate.RENEW_DAYS
    assert (layout.tls / OLD).exists()  # it may be the one that is served


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "reused"),
    [
        (NAMES, True),
        (NAMES[::-1], True),
        (NAMES[:1], False),
        ([*NAMES, "new.example.org"], False),
        (["other.example.org"], False),
    ],
)
def test_a_self_signed_certificate_is_replaced_for_other_names(layout: Layout, names: list[str], reused: bool) -> None:
    put(layout.tls / OLD, *NAMES, ends_days=300)
    directory = self_signed(layout, names)
    assert (directory.name == OLD) is reused
    found = inspect(directory)
    assert found
    assert found.names == frozenset(names)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES[1:])
def test_an_unreadable_self_signed_certificate_is_replaced(layout: Layout, kind: str) -> None:
    put(layout.tls / OLD, *NAMES, ends_days=300)
    damage(layout.tls / OLD, kind)
    directory = self_signed(layout, NAMES)
    assert directory.name != OLD
    assert inspect(directory)


def test_the_newest_self_signed_certificate_is_used(layout: Layout) -> None:
    for name in ("self-signed-20260201T000000Z", "self-signed-20260301T000000Z", OLD):
        put(layout.tls / name, *NAMES, ends_days=300)
    assert self_signed(layout, NAMES).name == "self-signed-20260301T000000Z"


def test_a_damaged_certificate_from_the_same_second_is_replaced(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101T000000Z")
    put(layout.tls / OLD, *NAMES, ends_days=300)
    damage(layout.tls / OLD, "no key")
    assert self_signed(layout, NAMES) == layout.tls / OLD
    assert inspect(layout.tls / OLD)


def test_a_failed_openssl_run_is_reported_and_leaves_no_certificate(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout.root / "openssl").write_text("#!/bin/sh\necho 'no entropy' >&2\nexit 1\n")
    (layout.root / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{layout.root}:/usr/bin:/bin")
    with pytest.raises(GreenlightError, match=r"(?s)making a certificate with openssl req failed.*no entropy"):
        self_signed(layout, NAMES)
    assert [name for name in held(layout) if not name.startswith(".unfinished-")] == []


def test_a_dry_run_returns_the_path_and_creates_nothing(layout: Layout) -> None:
    chain, key = pair()
    assert self_signed(layout, NAMES, dry=True).parent == layout.tls
    assert provided(layout, chain, key, dry=True) == provided(layout, chain, key, dry=True)
    assert not layout.etc.exists()
    directory = provided(layout, chain, key)
    assert provided(layout, chain, key, dry=True) == directory


# Provided by the user


def test_a_provided_certificate_is_written_unchanged(layout: Layout) -> None:
    chain, key = pair()
    directory = provided(layout, chain, key)
    assert ((directory / CHAIN).read_text(), (directory / KEY).read_text()) == (chain, key)
    assert (mode(directory / CHAIN), mode(directory / KEY)) == (0o644, 0o600)
    assert held(layout) == [directory.name]


def test_the_same_provided_certificate_is_not_written_again(layout: Layout) -> None:
    chain, key = pair()
    directory = provided(layout, chain, key)
    before = [path.stat().st_ino for path in (directory, directory / CHAIN, directory / KEY)]
    assert provided(layout, chain, key) == directory
    assert [path.stat().st_ino for path in (directory, directory / CHAIN, directory / KEY)] == before


def test_each_provided_certificate_has_its_own_directory(layout: Layout) -> None:
    (chain, key), (other_chain, other_key) = pair(), pair()
    places = {
        provided(layout, chain, key),
        provided(layout, other_chain, other_key),
        provided(layout, chain + other_chain, key),
    }
    assert len(places) == 3
    assert len(held(layout)) == 3


@pytest.mark.parametrize("kind", [*DAMAGES, "another's key"])
def test_a_damaged_provided_certificate_is_repaired(layout: Layout, kind: str) -> None:
    chain, key = pair()
    directory = provided(layout, chain, key)
    if kind == "another's key":
        (directory / KEY).write_text(pair()[1])
    else:
        damage(directory, kind)
    assert provided(layout, chain, key) == directory
    assert ((directory / CHAIN).read_text(), (directory / KEY).read_text()) == (chain, key)
    assert held(layout) == [directory.name]


def test_a_key_made_readable_by_others_is_made_private_again(layout: Layout) -> None:
    chain, key = pair()
    directory = provided(layout, chain, key)
    (directory / KEY).chmod(0o644)
    provided(layout, chain, key)
    assert mode(directory / KEY) == 0o600


# Removal of unused ones


def test_only_the_served_certificate_is_kept(layout: Layout) -> None:
    kept = provided(layout, *pair())
    provided(layout, *pair())
    self_signed(layout, NAMES)
    for name in (".unfinished-self-signed-20260101T000000Z", ".unfinished-live"):
        (layout.tls / name).mkdir()
    (layout.tls / "dhparam.pem").write_text("somebody's")
    layout.certificate.symlink_to(kept)
    tidy(layout, kept)
    assert held(layout) == sorted(["dhparam.pem", "live", kept.name])
    assert inspect(layout.certificate)


def test_with_a_certbot_lineage_no_certificate_of_ours_is_kept(layout: Layout) -> None:
    provided(layout, *pair())
    self_signed(layout, NAMES)
    put(layout.root / "letsencrypt/live/shop", *NAMES)
    layout.certificate.symlink_to(layout.root / "letsencrypt/live/shop")
    tidy(layout, layout.root / "letsencrypt/live/shop")
    assert held(layout) == ["live"]
    assert inspect(layout.certificate)


def test_without_a_certificate_only_the_tls_directory_is_removed(layout: Layout) -> None:
    provided(layout, *pair())
    layout.environment_id.write_text("staging")
    for _ in range(2):
        tidy(layout, None)
        assert os.listdir(layout.etc) == ["environment-id"]


# Killed


def everything(layout: Layout) -> dict[str, str]:
    return {str(path): path.read_text() for path in layout.tls.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["self_signed", "provided", "healed"])
def test_a_run_killed_at_any_instant_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(certificate, "inspect", read_certificate)
    chain, key = pair()
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / str(change))
        if kind != "healed":
            put(layout.tls / ENDING, *NAMES, ends_days=1)
        if kind == "healed":
            (provided(layout, chain, key) / KEY).write_text("damaged")

        def work(layout: Layout = layout) -> Path:
            kept = self_signed(layout, NAMES) if kind == "self_signed" else provided(layout, chain, key)
            tidy(layout, kept)
            return kept

        ended = not killed(change, work)
        for name in held(layout):  # the old and the damaged one may be half removed
            if not name.startswith((".unfinished-", ENDING, "provided-" if kind == "healed" else ".")):
                assert read_certificate(layout.tls / name), f"change {change}: {name} is half of one"
        kept = work()
        assert held(layout) == [kept.name], f"change {change}"
        assert read_certificate(kept)
        assert mode(kept / KEY) == 0o600
        if ended:
            break
    before = everything(layout)
    assert work() == kept
    assert everything(layout) == before
    assert change > 8


def test_the_key_of_a_killed_run_is_never_readable_by_others(tmp_path: Path) -> None:
    chain, key = pair()
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / str(change))
        ended = not killed(change, lambda layout=layout: provided(layout, chain, key))  # type: ignore[misc]
        for path in layout.root.rglob("*"):
            if path.is_file() and "PRIVATE KEY" in path.read_text():
                assert mode(path) == 0o600, f"change {change}: {path.name}"
        if ended:
            break
    assert change > 5


def test_a_key_with_a_passphrase_does_not_block(tmp_path: Path) -> None:
    private = certificates.key()
    (tmp_path / CHAIN).write_text(certificates.certificate(private, "shop.example.org"))
    (tmp_path / KEY).write_text(certificates.key_pem(private, "a password"))
    child, terminal = pty.fork()
    if not child:
        os._exit(int(certificate.is_pair(tmp_path)))
    late = threading.Timer(2, os.kill, (child, signal.SIGKILL))  # the openssl prompt handles all other signals itself
    late.start()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    late.cancel()
    os.close(terminal)
    assert ended == 0
