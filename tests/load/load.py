#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a site, as a load generator that counts every request one by one.

The load is an open loop: request n is due at n / rate seconds, whatever happened to the ones before it, and
its latency is measured from that instant, so that a server that stands still is seen by every request it
would have met. Half of the requests use kept-alive connections from a pool and half a new connection each.

From a test, in a process of its own, so that the deploy beside it doesn't disturb the schedule::

    with Load("http://127.0.0.1:28201", "staging.guestbook.localhost", rate=200) as load:
        deploy()
    assert load.result.failed == 0 and load.result.reliable, load.result

By hand::

    python tests/load/load.py --url http://127.0.0.1:28201 --host staging.guestbook.localhost --seconds 20

Exit status: 0 no request failed, 1 some did, 2 wrong arguments, 3 none failed but the run is unreliable.
The load goes to loopback addresses only; anything else is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import json
import math
import os
import re
import resource
import select
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

PORTS = {"http": 80, "https": 443}
EXAMPLES_PER_KIND = 10
IDLE_CONNECTIONS = 100
UPLOAD_PIECES = 20
UPLOAD_PIECE = b"u" * 1024
SMALL_BODY = b"message=hello"
HEAD_LIMIT_BYTES = 65536
DEFAULT_SHARES = "fast=0.85,slow=0.05,post=0.08,upload=0.02"
LOCALHOST_NAME = re.compile(r"([a-z0-9_-]+\.)*localhost\.?", re.IGNORECASE)
HEADER_SAFE = re.compile(r"[!-~]+")
NOT_THE_SERVER = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


class LoadError(ValueError):
    """The load can't be run as asked; the message says why in one sentence."""


@dataclasses.dataclass(frozen=True)
class Mix:
    """What the requests are.

    The first four are shares of all requests and add up to 1. `kept_alive` is the share, of each kind, that
    uses a kept-alive connection. `slow_seconds` is how long a slow request asks the app to sleep,
    `upload_seconds` how long the body of an upload takes to be sent.
    """

    fast: float = 0.85
    slow: float = 0.05
    post: float = 0.08
    upload: float = 0.02
    kept_alive: float = 0.5
    slow_seconds: float = 1.0
    upload_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Refuse shares that aren't shares (LoadError)."""
        shares = self.shares()
        if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1):
            raise LoadError(f"the shares {shares} are not numbers from 0 that add up to 1")
        if not 0 <= self.kept_alive <= 1:
            raise LoadError(f"the kept-alive share {self.kept_alive} is not between 0 and 1")

    def shares(self) -> dict[str, float]:
        """Share of each kind of request."""
        return {"fast": self.fast, "slow": self.slow, "post": self.post, "upload": self.upload}

    def sequence(self) -> Iterator[tuple[str, bool]]:
        """Yield (kind, kept alive) for ever, evenly spread: each share holds exactly, again and again."""
        weights = {
            (kind, kept): share * (self.kept_alive if kept else 1 - self.kept_alive)
            for kind, share in self.shares().items()
            for kept in (True, False)
        }
        owed = dict.fromkeys(weights, 0.0)
        while True:
            for card, weight in weights.items():
                owed[card] += weight
            card = max(owed, key=lambda name: owed[name])
            owed[card] -= 1
            yield card


#: The mix in two, for a time of many reloads over TLS. A worker of Nginx that goes closes its idle connections at once,
#: and a POST that is on its way to one at that instant is lost by HTTP/1.1 itself (RFC 9112, section 9.5): so only what
#: may be sent again is sent on a connection that was used before. Nginx 1.27.4 can wait a while; Debian's can't.
HALVES = (Mix(kept_alive=0), Mix(fast=0.95, slow=0.05, post=0, upload=0, kept_alive=1))


@dataclasses.dataclass(frozen=True)
class Settings:
    """One load: where to, how much, how long.

    `rate` is in requests per second. `seconds` is the length of the schedule, None for "until told to stop";
    in both cases it ends after `max_seconds`. `timeout_seconds` counts from the instant a request was due.
    `lag_limit_seconds`: a generator that was ever later than this makes the run unreliable.
    Raises LoadError for a target that isn't loopback and for numbers that make no sense.
    """

    url: str
    host: str
    rate: float = 200.0
    seconds: float | None = None
    max_seconds: float = 300.0
    timeout_seconds: float = 30.0
    lag_limit_seconds: float = 0.25
    mix: Mix = dataclasses.field(default_factory=Mix)

    def __post_init__(self) -> None:
        """Refuse what the docstring of the class says."""
        target(self.url)
        if not HEADER_SAFE.fullmatch(self.host):
            raise LoadError(f"the host {self.host!r} can't be a Host header")
        for name in ("rate", "max_seconds", "timeout_seconds", "lag_limit_seconds"):
            if not getattr(self, name) > 0:
                raise LoadError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds <= self.max_seconds:
            raise LoadError(
                f"seconds must be above 0 and at most max_seconds, {self.max_seconds:g}, not {self.seconds:g}"
            )


def target(url: str) -> tuple[str, int]:
    """Address and port of a loopback URL such as http://127.0.0.1:28201 or https://…; no name is ever looked up.

    Raises LoadError for every other URL: load on someone else's machine is an attack.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        name, port = parts.hostname or "", PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError as exc:
        raise LoadError(f"{url!r} is not a URL: {exc}") from exc
    if parts.scheme not in PORTS or parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise LoadError(f"{url!r} is not of the form http(s)://<loopback address>:<port>")
    if LOCALHOST_NAME.fullmatch(name):
        return "127.0.0.1", port
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
        if address in ipaddress.ip_network("127.0.0.0/8") or address == ipaddress.ip_address("::1"):
            return str(address), port
    raise LoadError(f"{url!r} is not on this machine: only 127.0.0.0/8, ::1 and names under localhost can be loaded")


@dataclasses.dataclass(frozen=True)
class Failure:
    """One failed request: when it was due (in seconds), its kind and connection, what happened."""

    at_seconds: float
    request: str
    kept_alive: bool
    detail: str


@dataclasses.dataclass
class Failures:
    """Failures of one kind: how many, and the first ten."""

    count: int = 0
    examples: list[Failure] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Seen:
    """Answers with one value of a header: how many, when the first and the last were complete (seconds)."""

    count: int
    first_seconds: float
    last_seconds: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Latencies in seconds from the instant a request was due to its last byte; nan where there was none."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> Latency:
        """Nearest-rank percentiles, so each is a latency that a request really had."""
        ordered = sorted(values) or [math.nan]
        p50, p95, p99 = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.50, 0.95, 0.99))
        return cls(len(values), p50, p95, p99, ordered[-1])


@dataclasses.dataclass
class Result:
    """What came of a load. Times are seconds; offsets count from the instant the first request was due.

    `sent` = `ok` + `failed`, each request counted once. `failures` by kind: connect, reset (lost without one
    byte of an answer), timeout, status (not 2xx), truncated, malformed. `retried`: idempotent requests lost
    without one byte on a reused connection and sent once more, as every client does. `replaced`: idle
    connections found closed before anything was sent on them. `by_release` and `by_revision` count every
    answer by its X-Release and X-Revision header ("" without one). `samples` holds (due, latency, kind) of each
    good request.
    """

    started_at: float = 0.0
    started_monotonic: float = 0.0
    seconds: float = 0.0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    failures: dict[str, Failures] = dataclasses.field(default_factory=dict)
    sent_by_kind: dict[str, int] = dataclasses.field(default_factory=dict)
    kept_alive: int = 0
    reused: int = 0
    retried: int = 0
    replaced: int = 0
    by_release: dict[str, Seen] = dataclasses.field(default_factory=dict)
    by_revision: dict[str, Seen] = dataclasses.field(default_factory=dict)
    max_schedule_lag: float = 0.0
    unreliable_because: list[str] = dataclasses.field(default_factory=list)
    samples: list[tuple[float, float, str]] = dataclasses.field(default_factory=list)

    @property
    def reliable(self) -> bool:
        """Whether the generator did its part: it kept its schedule and wasn't cut short."""
        return not self.unreliable_because

    @property
    def fast_samples(self) -> list[tuple[float, float]]:
        """(due, latency) of each good fast request."""
        return [(due, latency) for due, latency, kind in self.samples if kind == "fast"]

    @property
    def latency(self) -> Latency:
        """Latency of all good fast requests."""
        return self.fast_latency()

    def fast_latency(self, start: float = 0.0, end: float = math.inf) -> Latency:
        """Latency of the good fast requests due from `start` up to `end`, in seconds (default: all)."""
        return Latency.of([latency for due, latency in self.fast_samples if start <= due < end])

    def as_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """Plain data for JSON, with the latencies and, if asked, each sample."""
        data = dataclasses.asdict(self)
        if not samples:
            del data["samples"]
        latency = dataclasses.asdict(self.latency)
        if not self.latency.count:  # JSON has no nan
            latency.update(dict.fromkeys(("p50", "p95", "p99", "max")))
        return {**data, "reliable": self.reliable, "latency": latency}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """Undo as_dict(samples=True)."""
        values = {field.name: data[field.name] for field in dataclasses.fields(cls)}
        values["failures"] = {
            kind: Failures(group["count"], [Failure(**example) for example in group["examples"]])
            for kind, group in data["failures"].items()
        }
        for name in ("by_release", "by_revision"):
            values[name] = {value: Seen(**seen) for value, seen in data[name].items()}
        values["samples"] = [(due, latency, kind) for due, latency, kind in data["samples"]]
        return cls(**values)

    def __str__(self) -> str:
        """A summary for people, a fact per line."""
        latency = self.latency
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.sent_by_kind.items())
        lines = [
            f"sent {self.sent} in {self.seconds:.1f} s ({kinds}), {self.kept_alive} kept-alive",
            f"ok {self.ok}, failed {self.failed}, retried {self.retried}, replaced {self.replaced}",
            f"fast requests: p50 {latency.p50 * 1e3:.1f} ms, p95 {latency.p95 * 1e3:.1f} ms, "
            f"p99 {latency.p99 * 1e3:.1f} ms, max {latency.max * 1e3:.1f} ms; "
            f"generator at most {self.max_schedule_lag * 1e3:.1f} ms late",
        ]
        for title, table in (("release", self.by_release), ("revision", self.by_revision)):
            for value, seen in table.items():
                if value:
                    times = f"{seen.first_seconds:.2f} s to {seen.last_seconds:.2f} s"
                    lines.append(f"{title} {value}: {seen.count} answers, {times}")
        for kind, group in self.failures.items():
            lines.append(f"failed, {kind}: {group.count}")
            for example in group.examples:
                what = f"{example.request}, {'kept-alive' if example.kept_alive else 'new'}"
                lines.append(f"  {example.at_seconds:.3f} s, {what}: {example.detail}")
        lines.extend(f"UNRELIABLE: {reason}" for reason in self.unreliable_because)
        return "\n".join(lines)


class _RequestError(Exception):
    """A request that counts as failed."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class _LostError(Exception):
    """The connection ended before the answer was complete."""


@dataclasses.dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    reusable: bool


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; unlike in asyncio's streams, what arrived before its end stays readable."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.buffer = bytearray()
        self.received = 0
        self.closed = False
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.buffer += data
        self._wake()

    def eof_received(self) -> None:
        self.closed = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed, self.error = True, exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self.closed:
            reason = f"{type(self.error).__name__}: {self.error}" if self.error else "connection closed"
            raise _LostError(f"{reason} after {self.received} bytes of the answer")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def spent(self) -> bool:
        """Whether an idle connection can't be used again: closed, or (asking the kernel) about to be."""
        if self.closed or self.buffer or self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def until(self, separator: bytes) -> bytes:
        """Take everything up to and with the separator."""
        while (end := self.buffer.find(separator)) < 0:
            if len(self.buffer) > HEAD_LIMIT_BYTES:
                raise _RequestError("malformed", f"no end of a line or head in {len(self.buffer)} bytes")
            await self._more()
        taken = bytes(self.buffer[: end + len(separator)])
        del self.buffer[: len(taken)]
        return taken

    async def skip(self, count: int) -> bytes:
        """Take `count` bytes and give back the last two."""
        last = b""
        while count:
            if not self.buffer:
                await self._more()
            taken = bytes(self.buffer[:count])
            del self.buffer[: len(taken)]
            count -= len(taken)
            last = (last + taken[-2:])[-2:]
        return last

    async def skip_to_end(self) -> None:
        """Take everything up to a clean end of the connection."""
        while not self.closed:
            self.buffer.clear()
            await self._more()
        if self.error:
            await self._more()
        self.buffer.clear()


def _size(line: bytes, base: int) -> int:
    """Read the length of a body or chunk; unlike int(), takes no sign and no underscore."""
    text = line.split(b";")[0].strip()
    if not re.fullmatch(rb"[0-9]+" if base == 10 else rb"[0-9A-Fa-f]+", text):
        raise ValueError(f"the length {text!r}")
    return int(text, base)


async def _read_head(connection: _Connection) -> tuple[str, int, dict[str, str]]:
    """Read version, status and headers (names in lower case). Raises ValueError for what isn't HTTP/1."""
    status = 0
    while status < 200:  # 100 Continue, 103 Early Hints
        lines = (await connection.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, code = lines[0].split(" ")[:2]
        status = int(code)
        if not version.startswith("HTTP/1.") or not 100 <= status <= 599 or status == 101:
            raise ValueError(lines[0])
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(line)
        headers[name.lower()] = value.strip()
    return version, status, headers


async def _skip_body(connection: _Connection, status: int, headers: dict[str, str]) -> bool:
    """Read the body; False when only the connection's end could end it. Raises ValueError for bad framing."""
    if status in (204, 304):
        return True
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := _size(await connection.until(b"\r\n"), 16):
            if await connection.skip(size + 2) != b"\r\n":
                raise ValueError("a chunk without its end")
        while await connection.until(b"\r\n") != b"\r\n":
            pass  # trailers
        return True
    if "content-length" in headers:
        await connection.skip(_size(headers["content-length"].encode("latin-1"), 10))
        return True
    await connection.skip_to_end()
    return False


async def _read_answer(connection: _Connection) -> _Answer:
    """Read one answer to its last byte. Raises _LostError, or _RequestError for what isn't HTTP/1."""
    try:
        version, status, headers = await _read_head(connection)
        framed = await _skip_body(connection, status, headers)
    except ValueError as exc:
        raise _RequestError("malformed", f"not an HTTP/1 answer: {exc}") from exc
    close = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return _Answer(status, headers, framed and version == "HTTP/1.1" and "close" not in close)


class _Generator:
    """One run of a load, in the event loop that runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.result = Result(sent_by_kind=dict.fromkeys(settings.mix.shares(), 0))
        self.stop = asyncio.Event()
        self.address, self.port = target(settings.url)
        self.tls: dict[str, Any] = {}
        if settings.url.startswith("https:"):
            context = ssl.create_default_context()  # what is proved here is that each request is answered, not by whom
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.tls = {"ssl": context, "server_hostname": settings.host.partition(":")[0]}
        self.idle: list[_Connection] = []
        self.start = 0.0

    async def run(self) -> Result:
        """Send the whole schedule, wait for each answer, and give the result."""
        settings, result = self.settings, self.result
        loop = asyncio.get_running_loop()
        bound = settings.max_seconds if settings.seconds is None else settings.seconds
        total = max(1, round(settings.rate * bound))
        tasks: set[asyncio.Task[None]] = set()
        result.started_at, result.started_monotonic = time.time(), time.monotonic()
        self.start = loop.time()
        for kind, kept_alive in settings.mix.sequence():
            due = result.sent / settings.rate
            if result.sent == total or self.stop.is_set():
                break
            if (wait := self.start + due - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), wait)
                    break
            elif result.sent % 50 == 0:
                await asyncio.sleep(0)  # behind the schedule: send at once, but let answers be read
            result.max_schedule_lag = max(result.max_schedule_lag, self._now() - due)
            result.sent += 1
            task = asyncio.create_task(self._count(kind, kept_alive, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        result.seconds = self._now()
        if settings.seconds is None and not self.stop.is_set():
            result.unreliable_because.append(f"the load ended by itself after {bound:g} s, before it was told")
        if tasks:
            await asyncio.gather(*tasks)
        for connection in self.idle:
            connection.transport.close()
        if result.max_schedule_lag > settings.lag_limit_seconds:
            result.unreliable_because.append(
                f"the generator was {result.max_schedule_lag:.3f} s behind its schedule "
                f"(limit {settings.lag_limit_seconds:g} s): "
                f"this machine is too busy for {settings.rate:g} requests per second"
            )
        if result.ok + result.failed != result.sent:
            raise AssertionError(f"{result.sent} requests were sent, {result.ok} + {result.failed} counted")
        return result

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.start

    async def _count(self, kind: str, kept_alive: bool, due: float) -> None:
        """Do one request and count it, once."""
        result = self.result
        result.sent_by_kind[kind] += 1
        result.kept_alive += kept_alive
        limit = self.settings.timeout_seconds
        try:
            async with asyncio.timeout_at(self.start + due + limit):
                await self._request(kind, kept_alive)
        except TimeoutError:
            self._fail("timeout", Failure(due, kind, kept_alive, f"no complete answer within {limit:g} s"))
        except _RequestError as exc:
            self._fail(exc.kind, Failure(due, kind, kept_alive, exc.detail))
        else:
            result.ok += 1
            result.samples.append((due, self._now() - due, kind))

    def _fail(self, kind: str, failure: Failure) -> None:
        self.result.failed += 1
        group = self.result.failures.setdefault(kind, Failures())
        group.count += 1
        if len(group.examples) < EXAMPLES_PER_KIND:
            group.examples.append(failure)

    async def _request(self, kind: str, kept_alive: bool) -> None:
        """Do one request, with the one retry that a reused connection deserves. Raises _RequestError."""
        connection = self._reuse() if kept_alive else None
        if connection is not None:
            self.result.reused += 1
            try:
                return await self._exchange(connection, kind, kept_alive)
            except _LostError as exc:
                # The server may close an idle connection at any time; the request met that on its way.
                if connection.received or kind not in ("fast", "slow"):
                    raise self._lost(connection, exc) from exc
                self.result.retried += 1
        connection = await self._connect()
        try:
            return await self._exchange(connection, kind, kept_alive)
        except _LostError as exc:
            raise self._lost(connection, exc) from exc

    @staticmethod
    def _lost(connection: _Connection, exc: _LostError) -> _RequestError:
        return _RequestError("truncated" if connection.received else "reset", str(exc))

    def _reuse(self) -> _Connection | None:
        """Give the connection that has been idle longest, so that all stay in use, or None."""
        while self.idle:
            connection = self.idle.pop(0)
            if not connection.spent():
                connection.received = 0
                return connection
            connection.transport.close()
            self.result.replaced += 1
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            return (await loop.create_connection(_Connection, self.address, self.port, **self.tls))[1]
        except TimeoutError as exc:  # the kernel's, ETIMEDOUT; ours arrives as a cancellation
            raise _RequestError("connect", f"TimeoutError: {exc}") from exc
        except OSError as exc:
            reason = f"the generator itself had no resources left: {os.strerror(exc.errno or 0)}"
            if exc.errno in NOT_THE_SERVER and reason not in self.result.unreliable_because:
                self.result.unreliable_because.append(reason)
            raise _RequestError("connect", f"{type(exc).__name__}: {exc}") from exc

    async def _exchange(self, connection: _Connection, kind: str, kept_alive: bool) -> None:
        """Send the request and read its answer, which may come before the end of an upload."""
        # No await between the look at an idle connection and this write: nothing can close it unseen.
        connection.transport.write(self._head(kind, kept_alive) + (SMALL_BODY if kind == "post" else b""))
        sender = asyncio.create_task(self._send_slowly(connection)) if kind == "upload" else None
        reusable = False
        try:
            answer = await _read_answer(connection)
            reusable = kept_alive and answer.reusable and len(self.idle) < IDLE_CONNECTIONS
        finally:
            if sender is not None and not sender.done():
                sender.cancel()
                reusable = False
            if reusable:
                self.idle.append(connection)
            else:
                connection.transport.abort()
        self._see(answer)
        if not 200 <= answer.status <= 299:
            raise _RequestError("status", f"status {answer.status}")

    def _head(self, kind: str, kept_alive: bool) -> bytes:
        slow_seconds = self.settings.mix.slow_seconds
        path = {"fast": "/", "slow": f"/slow?seconds={slow_seconds:g}"}.get(kind, "/upload")
        length = {"post": len(SMALL_BODY), "upload": UPLOAD_PIECES * len(UPLOAD_PIECE)}.get(kind)
        lines = [
            f"{'GET' if length is None else 'POST'} {path} HTTP/1.1",
            f"Host: {self.settings.host}",
            f"Connection: {'keep-alive' if kept_alive else 'close'}",
            "User-Agent: greenlight-load",
        ]
        if length is not None:
            lines += [f"Content-Length: {length}", "Content-Type: application/x-www-form-urlencoded"]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    async def _send_slowly(self, connection: _Connection) -> None:
        for _ in range(UPLOAD_PIECES):
            await asyncio.sleep(self.settings.mix.upload_seconds / UPLOAD_PIECES)
            if connection.closed:
                return
            connection.transport.write(UPLOAD_PIECE)

    def _see(self, answer: _Answer) -> None:
        """Count who answered, whatever the status."""
        now = self._now()
        result = self.result
        for header, table in (("x-release", result.by_release), ("x-revision", result.by_revision)):
            seen = table.setdefault(answer.headers.get(header, ""), Seen(0, now, now))
            seen.count += 1
            seen.last_seconds = now


async def run_load(settings: Settings, *, stop_on_stdin_end: bool = False) -> Result:
    """Run a load in this event loop until its schedule, a signal or, if asked, stdin ends."""
    generator = _Generator(settings)
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: no signals there
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, generator.stop.set)
            handled.append(number)

    def read_stdin() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            generator.stop.set()

    try:
        if stop_on_stdin_end:
            loop.add_reader(0, read_stdin)
            print("started", flush=True)
        return await generator.run()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


class Load:
    """A load in a process of its own, from entering the block to leaving it; `result` is there afterwards.

    Takes what Settings takes. Raises LoadError at once for a target that isn't loopback, and RuntimeError
    when the process couldn't be started or left no result. The process also ends when this one dies.
    """

    def __init__(
        self,
        url: str,
        host: str,
        rate: float = 200.0,
        *,
        max_seconds: float = 300.0,
        timeout_seconds: float = 30.0,
        lag_limit_seconds: float = 0.25,
        mix: Mix | None = None,
    ) -> None:
        self.settings = Settings(url, host, rate, None, max_seconds, timeout_seconds, lag_limit_seconds, mix or Mix())
        self._process: subprocess.Popen[bytes] | None = None
        self._result: Result | None = None
        self._started = 0.0

    @property
    def result(self) -> Result:
        """The result; RuntimeError while the load still runs."""
        if self._result is None:
            raise RuntimeError("the load has no result yet: it is there after the with block")
        return self._result

    def elapsed(self) -> float:
        """Seconds since the start, the clock of every offset in the result: for Result.fast_latency()."""
        return time.monotonic() - self._started

    def __enter__(self) -> Load:
        """Start the process, and come back when it sends."""
        settings = json.dumps(dataclasses.asdict(self.settings))
        # A session of its own: the terminal's Ctrl-C goes to the caller, who then ends the block.
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"started\n":
            self._process.communicate()
            raise RuntimeError(f"the load generator didn't start: exit status {self._process.returncode}")
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop sending, wait for every answer, and read the result."""
        assert self._process is not None
        try:
            output, _ = self._process.communicate(timeout=self.settings.timeout_seconds + 30)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode != 0:
            raise RuntimeError(f"the load generator failed: exit status {self._process.returncode}")
        self._result = Result.from_dict(json.loads(output))
        self._started = self._result.started_monotonic


def _allow_many_connections() -> None:
    """Lift the soft limit of open files: a server that hangs for 30 s meets 6,000 connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _worker(text: str) -> int:
    data = json.loads(text)
    settings = Settings(**{**data, "mix": Mix(**data["mix"])})
    result = asyncio.run(run_load(settings, stop_on_stdin_end=True))
    print(json.dumps(result.as_dict(samples=True)))
    return 0


def _parse_shares(text: str) -> dict[str, float]:
    known = Mix().shares()
    try:
        shares = {name: float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise LoadError(f"the shares {text!r} are not of the form {DEFAULT_SHARES}") from None
    if unknown := set(shares) - set(known):
        raise LoadError(f"no kind of request is called {' or '.join(sorted(unknown))}: use {', '.join(known)}")
    return {**dict.fromkeys(known, 0.0), **shares}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit status that the module's docstring names."""
    parser = argparse.ArgumentParser(description="A load that counts every request, for sites on loopback.")
    parser.add_argument("--url", help="where to, e.g. http://127.0.0.1:28201")
    parser.add_argument("--host", help="the Host header (default: the host and port of the URL)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default: 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the schedule (default: 20)")
    parser.add_argument("--max-seconds", type=float, default=300.0, help="the longest --seconds (default: 300)")
    parser.add_argument("--timeout-seconds", type=float, default=30.0, help="per request (default: 30)")
    parser.add_argument("--shares", default=DEFAULT_SHARES, help="of all requests (default: %(default)s)")
    parser.add_argument("--kept-alive", type=float, default=0.5, help="share on kept-alive connections (0.5)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    _allow_many_connections()
    if options.worker:
        return _worker(options.worker)
    try:
        if not options.url:
            raise LoadError("--url is missing")
        settings = Settings(
            url=options.url,
            host=options.host or urllib.parse.urlsplit(options.url).netloc,
            rate=options.rate,
            seconds=options.seconds,
            max_seconds=options.max_seconds,
            timeout_seconds=options.timeout_seconds,
            mix=Mix(**_parse_shares(options.shares), kept_alive=options.kept_alive),
        )
    except ValueError as exc:
        parser.error(str(exc))
    result = asyncio.run(run_load(settings))
    print(json.dumps(result.as_dict(), indent=2) if options.json else result)
    return 1 if result.failed else 0 if result.reliable else 3


if __name__ == "__main__":
    sys.exit(main())
