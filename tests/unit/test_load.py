# SPDX-License-Identifier: GPL-3.0-or-later
"""The load generator, against a server that misbehaves on purpose: every count is exact."""

from __future__ import annotations

import asyncio
import collections
import functools
import itertools
import json
import math
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.load.load import (
    Latency,
    Load,
    LoadError,
    Mix,
    Result,
    Settings,
    _Connection,
    main,
    run_load,
    target,
)

LOAD = Path(__file__).resolve().parents[1] / "load" / "load.py"
FAST = Mix(fast=1, slow=0, post=0, upload=0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with what `answer` gives, None for nothing more on this connection.

    `seen` counts requests by method and path, `connections` the connections, `bodies` holds the lengths read.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[bytes | None]]) -> None:
        self.answer = answer
        self.seen: collections.Counter[str] = collections.Counter()
        self.bodies: list[int] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for before in itertools.count():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(x[15:]) for x in head.split("\r\n") if x.startswith("Content-Length:")), 0)
                number = sum(self.seen.values())
                self.seen[" ".join(head.split(" ")[:2])] += 1
                request = Request(number, before, head, writer)
                if not (answer := await self.answer(request)):
                    break
                if length:
                    await reader.readexactly(length)
                    self.bodies.append(length)
                writer.write(answer)
                if "Connection: close" in head or b"Connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


class Request:
    """One request as the server met it: its number, the requests before it on its connection, its head."""

    def __init__(self, number: int, before: int, head: str, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.before = before
        self.head = head
        self.writer = writer

    def reset(self) -> None:
        """End the connection with a RST, as a killed process with unread data does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


async def good(_request: Request) -> bytes:
    return OK


def load(server: Server, **more: object) -> Result:
    """Run a load of 40 requests in 0.1 s against the server, in one event loop with it."""

    async def both() -> Result:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        values = {"rate": 400.0, "seconds": 0.1, "mix": FAST, **more}
        settings = Settings(f"http://127.0.0.1:{port}", "app.localhost", **values)  # type: ignore[arg-type]
        result = await run_load(settings)
        listener.close()
        return result

    return asyncio.run(both())


@contextmanager
def in_a_thread(server: Server) -> Iterator[str]:
    """Serve beside the test, for loads in other processes; gives the URL."""
    started: queue.Queue[tuple[str, Callable[[], object]]] = queue.Queue()

    async def serve() -> None:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        started.put((url, functools.partial(loop.call_soon_threadsafe, end.set)))
        await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    url, stop = started.get(timeout=5)
    try:
        yield url
    finally:
        stop()
        thread.join()


def kinds(result: Result) -> dict[str, int]:
    return {kind: group.count for kind, group in result.failures.items()}


def test_each_request_is_sent_once_and_as_often_as_its_share_says() -> None:
    server = Server(good)
    mix = Mix(slow_seconds=0.5, upload_seconds=0.1)
    result = load(server, rate=1000.0, seconds=0.2, mix=mix)
    assert result.sent_by_kind == {"fast": 170, "slow": 10, "post": 16, "upload": 4}
    assert server.seen == {"GET /": 170, "GET /slow?seconds=0.5": 10, "POST /upload": 20}
    assert sorted(server.bodies) == [13] * 16 + [20 * 1024] * 4
    assert (result.sent, result.ok, result.failed, result.retried) == (200, 200, 0, 0)
    assert result.kept_alive == 100
    assert server.connections == 200 - result.reused
    assert result.reused > 70


def test_each_kind_has_its_half_of_kept_alive_connections() -> None:
    cards = collections.Counter(itertools.islice(Mix().sequence(), 200))
    assert cards == {
        (kind, kept): count
        for kind, count in {"fast": 85, "slow": 5, "post": 8, "upload": 2}.items()
        for kept in (True, False)
    }


def test_an_upload_takes_its_time_and_its_answer_counts_after_the_last_byte() -> None:
    started = time.monotonic()
    result = load(Server(good), seconds=0.0025, mix=Mix(0, 0, 0, 1, upload_seconds=0.2))
    assert (result.ok, result.failed) == (1, 0)
    assert time.monotonic() - started >= 0.2


def test_a_bad_status_is_a_failure_with_its_time_and_kind() -> None:
    async def answer(request: Request) -> bytes:
        bad = request.number in (10, 20, 30)
        return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n" if bad else OK

    result = load(Server(answer), mix=Mix(fast=1, slow=0, post=0, upload=0, kept_alive=0))
    assert (result.sent, result.ok, result.failed) == (40, 37, 3)
    assert kinds(result) == {"status": 3}
    example = result.failures["status"].examples[0]
    assert (example.request, example.kept_alive, example.detail) == ("fast", False, "status 502")
    assert example.at_seconds == pytest.approx(0.025)


def test_a_redirect_is_no_answer() -> None:
    async def answer(_request: Request) -> bytes:
        return b"HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"

    assert kinds(load(Server(answer))) == {"status": 40}


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"HTTP/1.1 2", id="in the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", id="in the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", id="between chunks"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_cut_short_is_truncated(part: bytes, how: str) -> None:
    async def answer(request: Request) -> bytes | None:
        if request.number % 4:
            return OK
        request.writer.write(part)
        await request.writer.drain()
        if how == "reset":
            await asyncio.sleep(0.01)  # a RST overtakes what the client has not read yet
            request.reset()
        return None

    result = load(Server(answer), seconds=0.05)
    assert kinds(result) == {"truncated": 5}
    assert (result.sent, result.ok, result.retried) == (20, 15, 0)
    assert f"after {len(part)} bytes" in result.failures["truncated"].examples[0].detail


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_new_connection_lost_without_an_answer_is_a_failure_and_not_retried(how: str) -> None:
    async def answer(request: Request) -> bytes | None:
        if request.number not in (3, 7):
            return OK
        if how == "reset":
            request.reset()
        return None

    server = Server(answer)
    result = load(server, mix=Mix(fast=1, slow=0, post=0, upload=0, kept_alive=0))
    assert kinds(result) == {"reset": 2}
    assert (result.sent, result.ok, result.retried) == (40, 38, 0)
    assert sum(server.seen.values()) == 40


def test_a_reused_connection_lost_without_an_answer_is_retried_once() -> None:
    async def answer(request: Request) -> bytes | None:
        return None if request.before else OK

    server = Server(answer)
    result = load(server, rate=100.0, mix=Mix(1, 0, 0, 0, kept_alive=1))
    assert (result.sent, result.ok, result.failed) == (10, 10, 0)
    assert result.retried == result.reused >= 5
    assert sum(server.seen.values()) == 10 + result.retried


def test_the_retry_of_a_request_can_fail_and_counts_once() -> None:
    async def answer(request: Request) -> bytes | None:
        return OK if request.number == 0 else None

    server = Server(answer)
    result = load(server, rate=100.0, mix=Mix(1, 0, 0, 0, kept_alive=1))
    assert (result.sent, result.ok, result.retried) == (10, 1, 1)
    assert kinds(result) == {"reset": 9}
    assert sum(server.seen.values()) == 11


def test_a_post_is_never_sent_twice() -> None:
    async def answer(request: Request) -> bytes | None:
        return None if request.before else OK

    server = Server(answer)
    result = load(server, rate=100.0, mix=Mix(0, 0, 1, 0, kept_alive=1))
    assert (result.sent, result.ok, result.retried) == (10, 10 - result.reused, 0)
    assert kinds(result) == {"reset": result.reused}
    assert result.reused >= 3
    assert server.seen == {"POST /upload": 10}


def test_an_idle_connection_that_the_server_closed_is_replaced_and_costs_nothing() -> None:
    async def answer(request: Request) -> None:
        request.writer.write(OK)  # keep-alive, it says, and closes

    server = Server(answer)
    result = load(server, rate=100.0, mix=Mix(0, 0, 1, 0, kept_alive=1))
    assert (result.sent, result.ok, result.reused) == (10, 10, 0)
    assert result.replaced >= 5
    assert server.seen == {"POST /upload": 10}


def test_an_idle_connection_is_known_as_closed_before_the_event_loop_hears_of_it() -> None:
    async def look() -> tuple[bool, bool, bool]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            loop = asyncio.get_running_loop()
            connection = (await loop.create_connection(_Connection, *listener.getsockname()))[1]
            peer = listener.accept()[0]
            before = connection.spent()
            peer.close()
            after, heard = connection.spent(), connection.closed
            connection.transport.abort()
            return before, after, heard

    assert asyncio.run(look()) == (False, True, False)


def test_a_connection_that_the_answer_closes_is_not_reused() -> None:
    async def answer(_request: Request) -> bytes:
        return b"HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 2\r\n\r\nok"

    result = load(Server(answer), rate=100.0, mix=Mix(1, 0, 0, 0, kept_alive=1))
    assert (result.ok, result.reused, result.replaced) == (10, 0, 0)


def test_no_server_is_a_connect_failure() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings = Settings(f"http://127.0.0.1:{port}", "app.localhost", rate=400, seconds=0.1, mix=FAST)
        result = asyncio.run(run_load(settings))
    assert kinds(result) == {"connect": 40}
    assert len(result.failures["connect"].examples) == 10
    assert math.isnan(result.latency.p50)
    json.dumps(result.as_dict(), allow_nan=False)


def test_no_answer_in_time_is_a_timeout() -> None:
    async def answer(request: Request) -> bytes:
        if request.number in (0, 5):
            await asyncio.sleep(1)
        return OK

    result = load(Server(answer), timeout_seconds=0.1)
    assert (result.sent, result.ok) == (40, 38)
    assert kinds(result) == {"timeout": 2}


def test_a_late_answer_delays_no_other_request() -> None:
    due: list[float] = []

    async def answer(_request: Request) -> bytes:
        due.append(time.monotonic())
        await asyncio.sleep(0.25)
        return OK

    result = load(Server(answer))
    assert (result.sent, result.ok) == (40, 40)
    assert due[-1] - due[0] < 0.25, "the last request left while the first was still waiting"
    assert result.latency.p50 == pytest.approx(0.25, abs=0.1)


def test_latency_counts_from_the_instant_a_request_was_due() -> None:
    """Where all stand still for 0.2 s, a generator that waits for answers would see one slow request."""

    async def answer(request: Request) -> bytes:
        if request.number == 10:
            time.sleep(0.2)  # the whole event loop, the generator included
        return OK

    result = load(Server(answer), lag_limit_seconds=0.1)
    assert result.sent == 40
    assert sum(latency > 0.1 for _, latency in result.fast_samples) >= 25
    assert result.max_schedule_lag > 0.1
    assert not result.reliable
    assert "behind its schedule" in result.unreliable_because[0]


def test_who_answered_is_counted_by_release_and_by_revision() -> None:
    async def answer(request: Request) -> bytes:
        name = b"old" if request.number < 30 else b"new"
        return b"HTTP/1.1 200 OK\r\nX-RELEASE: %s\r\nx-revision:r1\r\nContent-Length: 0\r\n\r\n" % name

    result = load(Server(answer))
    old, new = result.by_release["old"], result.by_release["new"]
    assert (old.count, new.count, result.by_revision["r1"].count) == (30, 10, 40)
    assert 0 <= old.first_seconds < old.last_seconds < new.first_seconds < new.last_seconds
    assert new.first_seconds == pytest.approx(0.075, abs=0.05)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"2;x=y\r\nok\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no content"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, id="early hints"),
    ],
)
def test_an_answer_ends_where_http_says_so_and_its_connection_is_reused(answer: bytes) -> None:
    async def give(_request: Request) -> bytes:
        return answer

    result = load(Server(give), rate=100.0, mix=Mix(1, 0, 0, 0, kept_alive=1))
    assert (result.ok, result.failed) == (10, 0)
    assert result.reused >= 5


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.0 200 OK\r\n\r\nok")

    result = load(Server(answer), rate=100.0, mix=Mix(1, 0, 0, 0, kept_alive=1))
    assert (result.ok, result.failed, result.reused) == (10, 0, 0)


def test_an_answer_without_a_length_that_ends_in_a_reset_is_truncated() -> None:
    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.0 200 OK\r\n\r\nok")
        await asyncio.sleep(0.01)
        request.reset()

    assert kinds(load(Server(answer), seconds=0.0125)) == {"truncated": 5}


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok--0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_malformed(answer: bytes) -> None:
    async def give(_request: Request) -> bytes:
        return answer

    assert kinds(load(Server(give), seconds=0.0125)) == {"malformed": 5}


def test_an_upload_refused_early_is_a_bad_status_at_once() -> None:
    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(3)  # the connection stays open

    started = time.monotonic()
    result = load(Server(answer), seconds=0.005, mix=Mix(0, 0, 0, 1, upload_seconds=2))
    assert kinds(result) == {"status": 2}
    assert time.monotonic() - started < 1.5


def test_percentiles_are_latencies_that_requests_had() -> None:
    assert Latency.of([n / 100 for n in range(1, 101)]) == Latency(100, 0.5, 0.95, 0.99, 1.0)
    result = Result(samples=[(0.0, 1.0, "fast"), (1.0, 5.0, "fast"), (1.5, 9.0, "slow"), (2.0, 3.0, "fast")])
    assert result.fast_latency(1.0, 2.0) == Latency(1, 5.0, 5.0, 5.0, 5.0)
    assert result.latency.p50 == 3.0


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://127.1.2.3", ("127.1.2.3", 80)),
        ("http://[::1]:81/", ("::1", 81)),
        ("http://localhost:82", ("127.0.0.1", 82)),
        ("http://staging.guestbook.localhost:83", ("127.0.0.1", 83)),
    ],
)
def test_loopback_is_a_target_and_no_name_is_looked_up(url: str, address: tuple[str, int]) -> None:
    assert target(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:80",
        "http://0.0.0.0:80",
        "http://example.org",
        "http://localhost.example.org",
        "http://evillocalhost",
        "http://127.0.0.1.nip.io",
        "http://2130706433",
        "http://[::ffff:10.0.0.1]:80",
        "http://127.0.0.1@example.org",
        "ftp://127.0.0.1",
        "http://127.0.0.1:notaport",
        "http://[",
        "127.0.0.1:80",
        "",
    ],
)
def test_any_other_target_is_refused(url: str) -> None:
    with pytest.raises(LoadError):
        Load(url, "app.localhost")


@pytest.mark.parametrize(
    "values",
    [
        {"rate": 0},
        {"rate": math.nan},
        {"seconds": 301},
        {"seconds": 0},
        {"timeout_seconds": -1},
        {"host": "a\r\nX: y"},
    ],
)
def test_numbers_and_hosts_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(LoadError):
        Settings(**{"url": "http://127.0.0.1", "host": "app.localhost", **values})  # type: ignore[arg-type]


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(LoadError, match="add up to 1"):
        Mix(fast=0.5)


def test_a_load_runs_beside_a_block_until_the_block_ends() -> None:
    server = Server(good)
    with in_a_thread(server) as url, Load(url, "app.localhost", rate=100, mix=FAST) as process:
        with pytest.raises(RuntimeError, match="no result yet"):
            process.result  # noqa: B018  # the property is what is tested
        time.sleep(0.2)  # the deploy; the generator goes on meanwhile
        middle = process.elapsed()
    result = process.result
    assert result.reliable, result
    assert result.sent == result.ok == sum(server.seen.values())
    assert 15 <= result.sent <= 60
    assert middle >= 0.2
    assert result.seconds > middle - 0.05, "it ended before the block did"
    assert result.fast_latency(0, middle).count > 10
    assert Result.from_dict(json.loads(json.dumps(result.as_dict(samples=True)))) == result


def test_a_load_gives_its_result_when_the_block_fails() -> None:
    with in_a_thread(Server(good)) as url:
        process = Load(url, "app.localhost", rate=100, mix=FAST)
        with pytest.raises(ZeroDivisionError), process:
            raise ZeroDivisionError
    assert process.result.failed == 0


def test_a_load_that_nobody_stops_ends_by_itself_and_says_so() -> None:
    with (
        in_a_thread(Server(good)) as url,
        Load(url, "a.localhost", 100, max_seconds=0.1, mix=FAST) as process,
    ):
        time.sleep(0.15)
    assert (process.result.sent, process.result.ok) == (10, 10)
    assert not process.result.reliable
    assert "ended by itself" in process.result.unreliable_because[0]


def test_a_load_ends_with_the_process_that_started_it() -> None:
    """Its stdin ends then, however that process died."""
    settings = json.dumps({"url": "http://127.0.0.1:1", "host": "a.localhost", "rate": 10, "mix": {}})
    command = [sys.executable, str(LOAD), "--worker", settings]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=5, check=False)
    assert (done.returncode, done.stdout[:8]) == (0, b"started\n")


def test_the_command_line_says_by_its_exit_status_whether_a_request_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shares = ["--shares", "fast=1", "--seconds", "0.1", "--rate", "100"]
    with in_a_thread(Server(good)) as url:
        assert main(["--url", url, "--json", *shares]) == 0
        assert json.loads(capsys.readouterr().out)["ok"] == 10

    async def bad(_request: Request) -> bytes:
        return b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"

    with in_a_thread(Server(bad)) as url:
        assert main(["--url", url, *shares]) == 1
        assert "failed, status: 10\n  0.000 s, fast, kept-alive: status 500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://192.0.2.1"], "not on this machine"),
        ([], "--url is missing"),
        (["--url", "http://127.0.0.1", "--shares", "quick=1"], "no kind of request is called quick"),
        (["--url", "http://127.0.0.1", "--shares", "fast"], "not of the form"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
