# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request over a unix socket or TCP, with a deadline."""

from __future__ import annotations

import io
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

#: Maximum number of bytes that are read of an answer.
MAXIMUM_BODY = 256 * 1024


class NoAnswer(Exception):  # noqa: N818  # expected while an app starts
    """There was no HTTP answer; the text says why."""


class GaveUp(NoAnswer):
    """The caller's ``still_worth_waiting`` returned False."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response: status, headers (lower-case names), body as text, seconds it took."""

    status: int
    body: str
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Where to send a request.

    Args:
        address: path of a unix socket (starts with ``/``), or a URL ``http://address:port`` / ``https://…``.
        host: the Host header (and TLS server name): the public name of the site.
        path: the request's path, starting with ``/``.
        headers: further headers.
    """

    address: str
    host: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        where = f"unix:{self.address}:" if self.address.startswith("/") else self.address
        # A value may be secret. The headers of a proxy are part of each request, so they are left out.
        more = "".join(f", with {name}" for name in self.headers if not name.startswith("X-Forwarded-"))
        return f"{where}{self.path} (Host: {self.host}{more})"

    def connect(self, seconds: float) -> socket.socket:
        if self.address.startswith("/"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(seconds)
            try:
                connection.connect(self.address)
            except OSError:
                connection.close()
                raise
            return connection
        parts = urlsplit(self.address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = socket.create_connection((parts.hostname or "localhost", port), seconds)
        if parts.scheme != "https":
            return connection
        import ssl  # only here: most modules never need it, and loading it takes time

        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname=self.host)


def get(target: Target, seconds: float, still_worth_waiting: Callable[[], bool] = lambda: True) -> Answer:
    """Send GET and return the answer, after at most about ``seconds``.

    Call ``still_worth_waiting`` five times a second while there is no answer.

    Raises:
        NoAnswer: no connection, no HTTP, or no complete answer in time.
        GaveUp: ``still_worth_waiting`` returned False.
    """
    began = time.monotonic()
    headers = {
        "Host": target.host,
        "User-Agent": "greenlight",
        "Accept": "application/json",
        "Connection": "close",
        **target.headers,
    }
    lines = [f"GET {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = "\r\n".join([*lines, "", ""])
    try:
        connection = target.connect(seconds)
    except OSError as error:
        raise NoAnswer(f"no connection ({error.strerror or error})") from error
    with connection:
        try:
            connection.sendall(request.encode())
            _wait_for_bytes(connection, began + seconds, still_worth_waiting)
            response = HTTPResponse(_Bounded(connection, began + seconds), method="GET")  # type: ignore[arg-type]
            response.begin()
            body = response.read(MAXIMUM_BODY)
            if response.length and len(body) < MAXIMUM_BODY:
                raise IncompleteRead(body, response.length)
        except TimeoutError as error:
            raise NoAnswer(f"no complete answer within {seconds:g} seconds") from error
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"the connection ended without an HTTP answer ({error or type(error).__name__})") from error
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, body.decode(errors="replace"), time.monotonic() - began, got)


class _Bounded(io.RawIOBase):
    """A socket for HTTPResponse with one deadline for all reads together, so that a slow trickle can't extend it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _wait_for_bytes(connection: socket.socket, deadline: float, still_worth_waiting: Callable[[], bool]) -> None:
    while not select.select([connection], [], [], 0.2)[0]:
        if time.monotonic() > deadline:
            raise TimeoutError
        if not still_worth_waiting():
            raise GaveUp("the process ended before it answered")
