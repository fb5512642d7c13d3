# SPDX-License-Identifier: GPL-3.0-or-later
"""The load generator, against a server that misbehaves on purpose: every count is exact, even on a busy machine."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificates
from tests.support.load import load as module
from tests.support.load.connection import Connection
from tests.support.load.load import ROOT, Generator, Load, main
from tests.support.load.result import Latency, Result
from tests.support.load.settings import LoadError, Mix, Settings, target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: "
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = HEAD + b"2\r\n\r\nok"
KEEP, LOST = (OK, "keep"), (b"", "close")
NEW = Mix(1, 0, 0, 0, kept_alive=0)
REFUSED = """http://192.0.2.1 http://0.0.0.0 http://localhost.example.org http://evillocalhost http://127.0.0.1.nip.io
http://[::ffff:10.0.0.1]:80 http://127.0.0.1@example.org ftp://127.0.0.1 http://127.0.0.1:notaport 127.0.0.1:80"""
Answer = tuple[bytes, str]
LINGER = b"\1\0\0\0\0\0\0\0"  # closing a socket with this option resets the connection, as a killed process does


class Server:
    """Answers by `answer(number, requests before it on its connection)`: (bytes, keep, close, reset or hang).

    `seen` counts requests by method and path, `reused` those on a used connection. `closing` has, of each that asked to
    close, the requests before it.
    """

    def __init__(self, answer: Callable[[int, int], Answer], tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.tls = tls
        self.seen: collections.Counter[str] = collections.Counter()
        self.closing: list[int] = []
        self.reused = 0
        self.hold = 0  # the number of requests that must arrive before any is answered

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            before, how = 0, "keep"
            while how == "keep":
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                number = self.seen.total()
                self.seen[" ".join(head.split(" ")[:2])] += 1
                self.reused += before > 0
                self.closing += [before] if "Connection: close" in head else []
                answer, how = self.answer(number, before)
                while self.seen.total() < self.hold:
                    await asyncio.sleep(0.01)
                if how == "keep" and "Content-Length: " in head:
                    await reader.readexactly(int(head.partition("Content-Length: ")[2].partition("\r\n")[0]))
                writer.write(answer)
                if how == "reset":
                    await asyncio.sleep(0.1)  # a reset overtakes what the client has not read yet
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                if how == "hang" or (how == "keep" and "Connection: close" in head):
                    await reader.read()  # until the client closes
                    return
                before += 1

    def run(self, use: Callable[[Settings], Coroutine[Any, Any, Result]], **values: Any) -> Result:
        """Serve, and run a load with settings for this server: 4 requests unless overridden."""

        async def both() -> Result:
            async with await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls) as listener:
                url = f"http{'s' if self.tls else ''}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
                few = {"rate": 400.0, "seconds": 0.01, "lag_limit_seconds": 60, "mix": NEW}
                return await use(Settings(url, "app.localhost", **{**few, **values}))

        return asyncio.run(both())

    def load(self, **values: Any) -> Result:
        return self.run(module.run_load, **values)

    def one_by_one(self, kind: str, count: int = 4) -> Result:
        """Send kept-alive requests, each after the previous answer."""

        async def send(settings: Settings) -> Result:
            generator = Generator(settings)
            generator.start = asyncio.get_running_loop().time()
            for _ in range(count):
                await generator.count(kind, True, 0.0)
                await asyncio.sleep(0.02)  # the server may close meanwhile
            return generator.result

        return self.run(send, mix=Mix(upload_seconds=0.1))


def good(*_: int) -> Answer:
    return KEEP


def kinds(result: Result) -> dict[str, int]:
    return {kind: group.count for kind, group in result.failures.items()}


def test_requests_are_sent_once_and_in_their_configured_shares() -> None:
    server = Server(good)
    result = server.load(rate=1000.0, seconds=0.2, mix=Mix(slow_seconds=0.5, upload_seconds=0.1))
    assert result.sent_by_kind == {"fast": 170, "slow": 10, "post": 16, "upload": 4}
    assert server.seen == {"GET /": 170, "GET /slow?seconds=0.5": 10, "POST /upload": 20}
    assert (result.sent, result.ok, result.failed, result.retried, result.kept_alive) == (200, 200, 0, 0, 100)
    assert result.reused == server.reused
    assert server.closing == [0] * 100
    assert all(latency >= 0.1 for _, latency, kind in result.samples if kind == "upload")


@pytest.mark.parametrize(
    ("answer", "how", "kind"),
    [
        (b"", "close", "reset"),
        (b"", "reset", "reset"),
        (b"", "hang", "timeout"),
        (b"HTTP/1.1 2", "close", "truncated"),
        (b"HTTP/1.1 2", "reset", "truncated"),
        (HEAD + b"10\r\n\r\nhalf", "close", "truncated"),
        (CHUNKED + b"4\r\nhalf\r\n", "close", "truncated"),
        (b"HTTP/1.0 200 OK\r\n\r\nhalf", "reset", "truncated"),
        (b"HTTP/1.1 300 Choose\r\nContent-Length: 0\r\n\r\n", "keep", "status"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "close", "malformed"),
        (CHUNKED + b"2\r\nok--0\r\n\r\n", "hang", "malformed"),
    ],
)
def test_a_failure_on_a_new_connection_is_counted_once_and_not_retried(answer: bytes, how: str, kind: str) -> None:
    server = Server(lambda *_: (answer, how))
    result = server.load(timeout_seconds=0.5 if kind == "timeout" else 30)
    assert kinds(result) == {kind: 4}
    assert (result.sent, result.ok, result.failed, result.retried) == (4, 0, 4, 0)
    assert server.seen == {"GET /": 4}
    places = {(each.at_seconds, each.request, each.kept_alive) for each in result.failures[kind].examples}
    assert places == {(n / 400, "fast", False) for n in range(4)}


def test_a_missing_server_is_a_connect_failure_with_ten_examples_kept() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = asyncio.run(module.run_load(Settings(url, "app.localhost", rate=400, seconds=0.1)))
    assert kinds(result) == {"connect": 40}
    assert len(result.failures["connect"].examples) == 10


@pytest.mark.parametrize(
    ("kind", "on_new", "on_used", "counts", "failures"),
    [
        ("fast", (CHUNKED + b"2;x=y\r\nok\r\n0\r\nTrailer: 1\r\n\r\n", "keep"), KEEP, (4, 3, 0, 0), {}),
        ("fast", (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 X\r\n\r\n", "keep"), KEEP, (4, 3, 0, 0), {}),
        ("fast", (b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + OK[17:], "hang"), KEEP, (4, 0, 0, 0), {}),
        ("fast", (b"HTTP/1.1 200 OK\r\n\r\nok", "close"), KEEP, (4, 0, 0, 0), {}),
        ("post", (OK, "close"), KEEP, (4, 0, 0, 3), {}),
        ("fast", KEEP, LOST, (4, 3, 3, 0), {}),
        ("fast", KEEP, (b"H", "close"), (2, 2, 0, 0), {"truncated": 2}),
        ("post", KEEP, LOST, (2, 2, 0, 0), {"reset": 2}),
    ],
)
def test_connections_are_reused_and_only_a_lost_get_is_retried(
    kind: str, on_new: Answer, on_used: Answer, counts: tuple[int, ...], failures: dict[str, int]
) -> None:
    server = Server(lambda _, before: on_used if before else on_new)
    result = server.one_by_one(kind)
    assert (result.ok, result.reused, result.retried, result.replaced) == counts
    assert kinds(result) == failures
    assert (server.reused, server.seen.total()) == (result.reused, 4 + result.retried)


def test_a_request_is_retried_only_once() -> None:
    server = Server(lambda number, _: LOST if number else KEEP)
    result = server.one_by_one("fast", 2)
    assert (result.ok, result.retried, server.seen.total(), kinds(result)) == (1, 1, 3, {"reset": 1})


def test_nothing_is_sent_on_a_closed_connection() -> None:
    async def look() -> tuple[bool, bool, bool]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            loop = asyncio.get_running_loop()
            connection = (await loop.create_connection(Connection, *listener.getsockname()))[1]
            peer = listener.accept()[0]
            before = connection.is_closed()
            peer.close()
            sent, heard = connection.send(if_alive=True), connection.closed
            connection.transport.abort()
            return before, sent, heard

    assert asyncio.run(look()) == (False, False, False)


def test_an_upload_refused_early_is_reported_at_once_as_a_bad_status() -> None:
    server = Server(lambda *_: (b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "hang"))
    result = server.load(mix=Mix(0, 0, 0, 1, upload_seconds=60), timeout_seconds=30)
    assert (kinds(result), result.reused) == ({"status": 4}, 0)


def test_a_late_response_delays_no_other_request() -> None:
    server = Server(good)
    server.hold = 40
    assert server.load(seconds=0.1).ok == 40


def test_latency_is_measured_from_when_a_request_was_due() -> None:
    """A generator that waits for answers would see one slow request although all users are kept waiting."""

    def stall(number: int, _before: int) -> Answer:
        time.sleep(0.3 if number == 10 else 0)  # the whole event loop, the generator included
        return KEEP

    result = Server(stall).load(seconds=0.1)
    assert sum(latency > 0.2 for _, latency, _ in result.samples) >= 29
    assert result.latency.count == 40
    assert result.reliable


def test_responses_are_counted_by_release_and_revision() -> None:
    text = b"HTTP/1.1 %d X\r\nX-RELEASE: %s\r\nx-revision:r1\r\nContent-Length: 0\r\n\r\n"
    result = Server(lambda number, _: (text % ((200, b"old") if number < 3 else (500, b"new")), "keep")).load()
    old, new = result.by_release["old"], result.by_release["new"]
    assert (old.count, new.count, result.by_revision["r1"].count) == (3, 1, 4)
    assert 0 < old.first_seconds < old.last_seconds
    assert new.first_seconds == new.last_seconds


def test_https_sends_the_host_name_and_accepts_any_certificate(tmp_path: Path) -> None:
    names: list[str | None] = []
    key = certificates.key()
    pem = tmp_path / "pem"
    pem.write_text(certificates.key_pem(key) + certificates.certificate(key, "other.example", ends_days=-0.5))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    assert Server(good, tls).load(mix=Mix(0.5, 0, 0.5, 0)).ok == 4
    assert set(names) == {"app.localhost"}


def test_percentiles_are_observed_latencies() -> None:
    assert Latency.of([n / 100 for n in range(1, 101)]) == Latency(100, 0.5, 0.95, 0.99, 1.0)


def test_only_loopback_is_a_target() -> None:
    assert target("http://127.1.2.3") == ("127.1.2.3", 80)
    assert target("http://[::1]:81/") == ("::1", 81)
    assert target("https://a.localhost:8443") == ("127.0.0.1", 8443)


@pytest.mark.parametrize("url", REFUSED.split())
def test_any_other_target_is_refused(url: str) -> None:
    with pytest.raises(LoadError):
        Load(url, "app.localhost")


@pytest.mark.parametrize("values", [{"rate": 0}, {"seconds": 301}, {"timeout_seconds": -1}, {"host": "a\r\nX: y"}])
def test_invalid_numbers_and_hosts_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LoadError):
        Settings(**{"url": "http://127.0.0.1", "host": "app.localhost", **values})


def test_a_load_returns_its_result_even_if_its_block_fails() -> None:
    server = Server(good)

    def deploy(settings: Settings) -> Result:
        process = Load(settings.url, "app.localhost", rate=100, mix=NEW, lag_limit_seconds=60)
        with pytest.raises(ZeroDivisionError), process:
            with pytest.raises(RuntimeError, match="no result yet"):
                process.result  # noqa: B018  # the property is what is tested
            while server.seen.total() < 10:
                time.sleep(0.01)
            raise ZeroDivisionError
        assert process.elapsed() > process.result.seconds > 0
        return process.result

    result = server.run(lambda settings: asyncio.to_thread(deploy, settings))
    assert result.reliable, result
    assert result.sent == result.ok == server.seen.total() >= 10


def test_a_load_that_lags_or_is_never_stopped_is_unreliable() -> None:
    result = Server(good).load(seconds=None, max_seconds=0.01, lag_limit_seconds=1e-9)
    assert result.ok == 4
    nobody, late = result.unreliable_because
    assert "ended by itself" in nobody
    assert "behind its schedule" in late
    assert not result.reliable


def test_a_load_ends_with_the_process_that_started_it() -> None:
    """Its stdin then closes, however that process died."""
    settings = json.dumps({"url": "http://127.0.0.1:1", "host": "a.localhost", "rate": 10, "mix": {}})
    command = [sys.executable, "-m", "tests.support.load.load", "--worker", settings]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout[:8]) == (0, b"started\n")


@pytest.mark.parametrize(
    ("result", "code"),
    [(Result(ok=1), 0), (Result(failed=1, unreliable_because=["x"]), 1), (Result(unreliable_because=["x"]), 3)],
)
def test_the_exit_status_shows_whether_a_request_failed(
    result: Result, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_load(settings: Settings) -> Result:
        assert (settings.host, settings.mix.shares()["fast"], settings.seconds) == ("127.0.0.1:80", 1, 0.1)
        return result

    monkeypatch.setattr(module, "run_load", run_load)
    assert main(["--url", "http://127.0.0.1:80", "--shares", "fast=1", "--seconds", "0.1", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["failed"] == result.failed


WRONG = "--url= --url=http://192.0.2.1 --shares=quick=1 --shares=fast --shares=fast=0.5 --kept-alive=2 --rate=0"


@pytest.mark.parametrize("wrong", WRONG.split())
def test_wrong_arguments_are_refused(wrong: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--url=http://127.0.0.1", wrong])
    assert exit_.value.code == 2
