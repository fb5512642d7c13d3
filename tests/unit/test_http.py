# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to a real socket, well-behaved or not: the answer, or why there is none, in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import (
    MAXIMUM_BODY,
    Answer,
    GaveUp,
    NoAnswer,
    Target,
    _Bounded,
    get,
)

BODY = b'{"env": "staging"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\nContent-Type: application/json\r\nX-Two: 2\r\n\r\n" + BODY

Play = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(address: object, family: socket.AddressFamily, play: Play) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """Accept connections, keep the request, let ``play`` answer, close."""
    requests: list[bytes] = []
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        requests.append(connection.recv(65536))
                        play(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener, requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[Answer, bytes]]:
    path = str(tmp_path / "app.sock")

    def asking(play: Play, seconds: float = 5, worth: Callable[[], bool] = lambda: True) -> tuple[Answer, bytes]:
        Path(path).unlink(missing_ok=True)
        with serving(path, socket.AF_UNIX, play) as (_, requests):
            answer = get(Target(path, "shop.example.org", "/health?deep=1"), seconds, worth)
            return answer, requests[0]

    return asking


Ask = Callable[..., tuple[Answer, bytes]]


def hold(connection: socket.socket) -> None:
    """Stay silent until the other end has closed."""
    connection.settimeout(5)
    connection.recv(1)


def test_a_response_has_status_body_headers_and_time(ask: Ask) -> None:
    answer, request = ask(lambda connection: connection.sendall(OK))
    assert (answer.status, answer.body) == (200, BODY.decode())
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-two"] == "2"
    assert 0 < answer.seconds < 1
    assert request.startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: shop.example.org\r\n")
    assert b"\r\nConnection: close\r\n" in request
    assert request.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_any_status_is_a_response(ask: Ask, status: int) -> None:
    answer, _ = ask(lambda connection: connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status))
    assert (answer.status, answer.body) == (status, "")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"env\": \r\na\r\n\"staging\"}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "after 100"],
)  # fmt: skip
def test_every_form_of_body_is_read_completely(ask: Ask, answer: bytes) -> None:
    assert ask(lambda connection: connection.sendall(answer))[0].body == BODY.decode()


def test_a_response_in_pieces_is_read_completely(ask: Ask) -> None:
    def play(connection: socket.socket) -> None:
        for byte in OK:
            connection.sendall(bytes([byte]))

    assert ask(play)[0].body == BODY.decode()


def test_a_response_on_an_open_connection_ends_without_waiting(ask: Ask) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(OK)
        hold(connection)

    assert ask(play)[0].seconds < 1


def test_a_body_that_is_not_utf8_is_still_readable(ask: Ask) -> None:
    answer, _ = ask(lambda connection: connection.sendall(b"HTTP/1.1 500 X\r\n\r\nbr\xf6ken"))
    assert answer.body == "br\N{REPLACEMENT CHARACTER}ken"


def test_a_huge_body_is_cut(ask: Ask) -> None:
    size = 2 * MAXIMUM_BODY
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    answer, _ = ask(lambda connection: connection.sendall(head + b"x" * size))
    assert len(answer.body) == MAXIMUM_BODY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "no complete answer within 0.2 seconds"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "no complete answer within 0.2 seconds"),
        (OK[:-1], "no complete answer within 0.2 seconds"),
    ],
    ids=["nothing", "half a head", "all but a byte"],
)
def test_a_silent_server_times_out(ask: Ask, said: bytes, reason: str) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(said)
        hold(connection)

    began = time.monotonic()
    with pytest.raises(NoAnswer, match=reason):
        ask(play, seconds=0.2)
    assert 0.15 < time.monotonic() - began < 1


def test_a_server_that_trickles_bytes_times_out(ask: Ask) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(60):
            connection.sendall(b"X-Dribble: 1\r\n")
            time.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"no complete answer within 0\.2 seconds"):
        ask(play, seconds=0.2)
    assert time.monotonic() - began < 1


def test_nothing_is_read_after_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(OK)
        with pytest.raises(TimeoutError):
            _Bounded(ours, time.monotonic() - 1).readinto(bytearray(1))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x16\x03\x01\x02\x00 this is TLS",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "TLS", "SSH", "no status", "cut body", "cut chunk", "bad chunk", "endless header"],
)
def test_an_incomplete_or_invalid_response_is_no_response(ask: Ask, said: bytes) -> None:
    with pytest.raises(NoAnswer, match="the connection ended without an HTTP answer") as none:
        ask(lambda connection: connection.sendall(said))
    assert not isinstance(none.value, GaveUp)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("")], ids=["absent", "no socket"])
def test_a_failed_connection_gives_the_reason(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "app.sock")
    with pytest.raises(NoAnswer, match=r"no connection \((No such file or directory|Connection refused)\)"):
        get(Target(str(tmp_path / "app.sock"), "x", "/"), 5)


def test_waiting_ends_when_a_response_can_no_longer_come(ask: Ask) -> None:
    began = time.monotonic()
    with pytest.raises(GaveUp, match="the process ended before it answered"):
        ask(hold, seconds=5, worth=lambda: time.monotonic() - began < 0.1)
    assert time.monotonic() - began < 1


def test_a_response_already_received_is_read_without_waiting(ask: Ask) -> None:
    answer, _ = ask(lambda connection: connection.sendall(OK), worth=lambda: False)
    assert answer.status == 200


def test_a_url_is_requested_over_tcp_with_the_public_name() -> None:
    with serving(("127.0.0.1", 0), socket.AF_INET, lambda connection: connection.sendall(OK)) as (listener, requests):
        port = listener.getsockname()[1]
        answer = get(Target(f"http://127.0.0.1:{port}", "shop.example.org", "/health"), 5)
    assert answer.status == 200
    assert b"\r\nHost: shop.example.org\r\n" in requests[0]


def test_a_server_without_tls_gives_no_response_over_https() -> None:
    with serving(("127.0.0.1", 0), socket.AF_INET, lambda connection: connection.sendall(OK)) as (listener, _):
        port = listener.getsockname()[1]
        with pytest.raises(NoAnswer):
            get(Target(f"https://127.0.0.1:{port}", "shop.example.org", "/"), 5)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("/run/shop/a.sock", "shop", "/health"), "unix:/run/shop/a.sock:/health (Host: shop)"),
        (Target("http://127.0.0.1:80", "shop", "/health"), "http://127.0.0.1:80/health (Host: shop)"),
    ],
)
def test_a_target_is_shown_with_its_address_and_host(target: Target, text: str) -> None:
    assert str(target) == text
