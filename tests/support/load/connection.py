# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP/1.1 connection of a load: h11 reads the answers, this keeps count of how the connection ended.

A complete client library would be shorter, but hides what is counted here. aiohttp, by its documented API, reports the
same error for a reset before the first byte and after it, takes a body without a length that a reset cut off for
complete, and on Python 3.11, writes a POST one turn of the event loop after it chose the idle connection.
"""

from __future__ import annotations

import asyncio
import select

import h11


class RequestError(Exception):
    """Make a request count as failed, by the kinds that Result names."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Connection(asyncio.Protocol):
    """One connection. Unlike asyncio's streams, it keeps what arrived before a reset."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.http = h11.Connection(h11.CLIENT)
        self.received = 0
        self.closed = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.http.receive_data(data)
        self._news.set()

    def eof_received(self) -> None:
        self.closed = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed, self._error = True, exc
        self._news.set()

    def send(self, *parts: h11.Event, if_alive: bool = False) -> bool:
        """Send parts of a request; optionally only on a connection that isn't closed or about to be."""
        data = b"".join(self.http.send(part) or b"" for part in parts)
        # Look last: what the server closes between the look and the write is lost.
        if if_alive and self.is_closed():
            return False
        self.transport.write(data)
        return True

    def reusable(self) -> bool:
        """Return whether both sides are done, neither wants to close, and the answer didn't end with the connection."""
        return self.http.our_state is self.http.their_state is h11.DONE and not self.http.trailing_data[1]

    def is_closed(self) -> bool:
        """Return whether an idle connection is closed, or will be once the event loop learns what the kernel knows."""
        if self.closed or self.http.trailing_data[0] or self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def read_answer(self) -> h11.Response:
        """Read an answer to its last byte and return its head. Raises RequestError."""
        head: h11.Response | None = None
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            head = event if isinstance(event, h11.Response) else head
        assert head is not None
        return head

    async def _event(self) -> object:
        while True:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError as exc:
                raise RequestError("malformed", f"not an HTTP/1 answer: {exc}") from exc
            if event is not h11.NEED_DATA:
                return event
            if self.closed:
                return self._end()
            self._news.clear()
            await self._news.wait()

    def _end(self) -> object:
        """Return what the end of the connection completes: a body without a length, unless a reset cut it off."""
        reason = f"{type(self._error).__name__}: {self._error}"
        if self._error is None:
            self.http.receive_data(b"")
            try:
                return self.http.next_event()
            except h11.RemoteProtocolError:
                reason = "connection closed"
        kind = "truncated" if self.received else "reset"
        raise RequestError(kind, f"{reason} after {self.received} bytes of the answer")
