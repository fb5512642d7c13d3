# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a site, as a load generator that counts every request one by one.

The load is an open loop: request n is due at n / rate seconds, whatever happened to the ones before it, and its latency
counts from that instant. So a server that hangs is seen by every request it would have met. Half of the requests use
kept-alive connections from a pool, half a new connection each.

From a test, in a separate process, so that the deploy beside it doesn't disturb the schedule::

    with Load("http://127.0.0.1:28201", "staging.guestbook.localhost", rate=200) as load:
        deploy()
    assert load.result.failed == 0 and load.result.reliable, load.result

By hand, from the root of the repository::

    python -m tests.support.load.load --url http://127.0.0.1:28201 --host staging.guestbook.localhost --seconds 20

Exit status: 0 no request failed, 1 some did, 2 wrong arguments, 3 none failed but the run is unreliable.
The load goes to loopback addresses only; it refuses anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import os
import pickle
import resource
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import h11

from tests.support.load.connection import Connection, RequestError
from tests.support.load.result import Failure, Latency, Result
from tests.support.load.settings import HALVES, LoadError, Mix, Settings, target

__all__ = ["HALVES", "Latency", "Load", "LoadError", "Mix", "Result", "Settings", "run_load"]

ROOT = Path(__file__).resolve().parents[3]
IDLE_CONNECTIONS = 100
UPLOAD_PIECES = 20
UPLOAD_PIECE = b"u" * 1024
SMALL_BODY = b"message=hello"
DEFAULT_SHARES = "fast=0.85,slow=0.05,post=0.08,upload=0.02"
IDEMPOTENT = ("fast", "slow")
NOT_THE_SERVER = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


class Generator:
    """One run of a load, in the event loop that runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.result = Result(sent_by_kind=dict.fromkeys(settings.mix.shares(), 0))
        self.stop = asyncio.Event()
        self.address, self.port = target(settings.url)
        self.tls: dict[str, Any] = {}
        if settings.url.startswith("https:"):
            context = ssl.create_default_context()  # a load proves that somebody answers, not who
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.tls = {"ssl": context, "server_hostname": settings.host.partition(":")[0]}
        self.heads = {(kind, kept): self._head(kind, kept) for kind in settings.mix.shares() for kept in (True, False)}
        self.idle: list[Connection] = []
        self.start = 0.0

    def _head(self, kind: str, kept_alive: bool) -> h11.Request:
        path = {"fast": "/", "slow": f"/slow?seconds={self.settings.mix.slow_seconds:g}"}.get(kind, "/upload")
        headers = [
            ("Host", self.settings.host),
            ("Connection", "keep-alive" if kept_alive else "close"),
            ("User-Agent", "greenlight-load"),
        ]
        if kind not in IDEMPOTENT:
            length = len(SMALL_BODY) if kind == "post" else UPLOAD_PIECES * len(UPLOAD_PIECE)
            headers += [("Content-Length", str(length)), ("Content-Type", "application/x-www-form-urlencoded")]
        return h11.Request(method="GET" if kind in IDEMPOTENT else "POST", target=path, headers=headers)

    async def run(self) -> Result:
        """Send the whole schedule, wait for each answer, and return the result."""
        settings, result = self.settings, self.result
        loop = asyncio.get_running_loop()
        bound = settings.max_seconds if settings.seconds is None else settings.seconds
        total = max(1, round(settings.rate * bound))
        tasks: set[asyncio.Task[None]] = set()
        result.started_monotonic = time.monotonic()
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
            task = asyncio.create_task(self.count(kind, kept_alive, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        result.seconds = self._now()
        if settings.seconds is None and not self.stop.is_set():
            result.unreliable_because.append(f"the load ended by itself after {bound:g} s, before it was stopped")
        await asyncio.gather(*tasks)
        for connection in self.idle:
            connection.transport.close()
        if result.max_schedule_lag > settings.lag_limit_seconds:
            result.unreliable_because.append(
                f"the generator was {result.max_schedule_lag:.3f} s behind its schedule (limit "
                f"{settings.lag_limit_seconds:g} s): this machine is too busy for {settings.rate:g} requests per second"
            )
        if result.ok + result.failed != result.sent:
            raise AssertionError(f"{result.sent} requests were sent, {result.ok} + {result.failed} counted")
        return result

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.start

    async def count(self, kind: str, kept_alive: bool, due: float) -> None:
        """Do one request and count it, once."""
        result = self.result
        result.sent_by_kind[kind] += 1
        result.kept_alive += kept_alive
        limit = self.settings.timeout_seconds
        try:
            async with asyncio.timeout_at(self.start + due + limit):
                await self._request(kind, kept_alive)
        except TimeoutError:
            result.fail("timeout", Failure(due, kind, kept_alive, f"no complete answer within {limit:g} s"))
        except RequestError as exc:
            result.fail(exc.kind, Failure(due, kind, kept_alive, str(exc)))
        else:
            result.ok += 1
            result.samples.append((due, self._now() - due, kind))

    async def _request(self, kind: str, kept_alive: bool) -> None:
        """Make one request, with the single retry that a reused connection needs. Raises RequestError."""
        end = h11.EndOfMessage()
        rest = {"post": [h11.Data(data=SMALL_BODY), end], "upload": []}.get(kind, [end])
        request = [self.heads[kind, kept_alive], *rest]
        if kept_alive and (connection := self._reuse(request)):
            self.result.reused += 1
            try:
                return await self._finish(connection, kind)
            except RequestError as exc:
                # The server may close an idle connection at any time; this request met that on its way.
                if exc.kind != "reset" or kind not in IDEMPOTENT:
                    raise
                self.result.retried += 1
        connection = await self._connect()
        connection.send(*request)
        return await self._finish(connection, kind)

    def _reuse(self, request: list[h11.Event]) -> Connection | None:
        """Send on the connection that has been idle longest, so that all stay in use, and return it if there is one."""
        while self.idle:
            connection = self.idle.pop(0)
            connection.received = 0
            if connection.send(*request, if_alive=True):
                return connection
            connection.transport.close()
            self.result.replaced += 1
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            return (await loop.create_connection(Connection, self.address, self.port, **self.tls))[1]
        except OSError as exc:  # the kernel's TimeoutError too; ours arrives as a cancellation
            reason = f"the generator itself had no resources left: {os.strerror(exc.errno or 0)}"
            if exc.errno in NOT_THE_SERVER and reason not in self.result.unreliable_because:
                self.result.unreliable_because.append(reason)
            raise RequestError("connect", f"{type(exc).__name__}: {exc}") from exc

    async def _finish(self, connection: Connection, kind: str) -> None:
        """Read the answer, which may come before the end of an upload."""
        upload = asyncio.create_task(self._upload(connection)) if kind == "upload" else None
        try:
            answer = await connection.read_answer()
        finally:
            if upload is not None:
                upload.cancel()
            if connection.reusable() and len(self.idle) < IDLE_CONNECTIONS:
                connection.http.start_next_cycle()
                self.idle.append(connection)
            else:
                connection.transport.abort()
        headers = dict(answer.headers)
        release, revision = (headers.get(name, b"").decode("latin-1") for name in (b"x-release", b"x-revision"))
        self.result.see(release, revision, self._now())
        if not 200 <= answer.status_code <= 299:
            raise RequestError("status", f"status {answer.status_code}")

    async def _upload(self, connection: Connection) -> None:
        for _ in range(UPLOAD_PIECES):
            await asyncio.sleep(self.settings.mix.upload_seconds / UPLOAD_PIECES)
            if connection.closed:
                return
            connection.send(h11.Data(data=UPLOAD_PIECE))
        connection.send(h11.EndOfMessage())


async def run_load(settings: Settings, *, stop_on_stdin_end: bool = False) -> Result:
    """Run a load in this event loop until its schedule, a signal or, if asked, stdin ends."""
    generator = Generator(settings)
    loop = asyncio.get_running_loop()

    def read_stdin() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            generator.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, generator.stop.set)
    if stop_on_stdin_end:
        loop.add_reader(0, read_stdin)
        print("started", flush=True)
    return await generator.run()


class Load:
    """A load in a separate process, from entering the block to leaving it; afterwards `result` is set.

    Takes what Settings takes. Raises LoadError at once for a target that isn't loopback, and RuntimeError when the
    process didn't start or left no result. The process also ends when this one dies.
    """

    def __init__(self, url: str, host: str, rate: float = 200.0, **more: Any) -> None:
        self.settings = Settings(url, host, rate, **more)
        self._process: subprocess.Popen[bytes] | None = None
        self._result: Result | None = None
        self._started = 0.0

    @property
    def result(self) -> Result:
        """Return the result; RuntimeError while the load still runs."""
        if self._result is None:
            raise RuntimeError("the load has no result yet: it is there after the with block")
        return self._result

    def elapsed(self) -> float:
        """Seconds since the start, on the clock of every offset in the result."""
        return time.monotonic() - self._started

    def __enter__(self) -> Load:
        """Start the process, and return when it sends."""
        # A separate session: the terminal's Ctrl-C goes to the caller, who then ends the block.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, "--worker", json.dumps(asdict(self.settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            cwd=ROOT,
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
        self._result = pickle.loads(output)
        self._started = self.result.started_monotonic


def _worker(text: str) -> int:
    data = json.loads(text)
    result = asyncio.run(run_load(Settings(**{**data, "mix": Mix(**data["mix"])}), stop_on_stdin_end=True))
    pickle.dump(result, sys.stdout.buffer)
    return 0


def _parse_shares(text: str) -> dict[str, float]:
    """Read "fast=0.9,post=0.1": a kind that isn't named has no share."""
    shares = {name: float(value) for name, value in (part.split("=") for part in text.split(","))}
    if unknown := shares.keys() - Mix().shares():
        raise ValueError(unknown)
    return {**dict.fromkeys(Mix().shares(), 0.0), **shares}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status that the module's docstring names."""
    parser = argparse.ArgumentParser(description="A load that counts every request, for sites on loopback.")
    parser.add_argument("--url", default="", help="where to, e.g. http://127.0.0.1:28201")
    parser.add_argument("--host", help="the Host header (default: the host and port of the URL)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default: 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the schedule (default: 20)")
    parser.add_argument("--max-seconds", type=float, default=300.0, help="the longest --seconds (default: 300)")
    parser.add_argument("--timeout-seconds", type=float, default=30.0, help="per request (default: 30)")
    parser.add_argument("--shares", type=_parse_shares, default=DEFAULT_SHARES, help="of all (default: %(default)s)")
    parser.add_argument("--kept-alive", type=float, default=0.5, help="share on kept-alive connections (0.5)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return _worker(options.worker)
    try:
        settings = Settings(
            url=options.url,
            host=options.host or urllib.parse.urlsplit(options.url).netloc,
            rate=options.rate,
            seconds=options.seconds,
            max_seconds=options.max_seconds,
            timeout_seconds=options.timeout_seconds,
            mix=Mix(**options.shares, kept_alive=options.kept_alive),
        )
    except ValueError as exc:
        parser.error(str(exc))
    result = asyncio.run(run_load(settings))
    print(json.dumps(result.as_dict(), indent=2) if options.json else result)
    return 1 if result.failed else 0 if result.reliable else 3


def _prepare_process() -> None:
    """Allow many connections, as a server that hangs for 30 s meets 6,000, and keep the schedule on a busy machine."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    _prepare_process()
    sys.exit(main())
