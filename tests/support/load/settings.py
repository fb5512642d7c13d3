# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a load: its target, its size, its requests."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

PORTS = {"http": 80, "https": 443}
LOCALHOST_NAME = re.compile(r"([a-z0-9_-]+\.)*localhost\.?", re.IGNORECASE)
HEADER_SAFE = re.compile(r"[!-~]+")


class LoadError(ValueError):
    """Say in one sentence why the load can't run as asked."""


@dataclass(frozen=True)
class Mix:
    """The mix of requests.

    The first four are shares of all requests and add up to 1. `kept_alive` is the share, of each kind, that uses a
    kept-alive connection. A slow request tells the app to sleep for `slow_seconds`; the body of an upload takes
    `upload_seconds` to send.
    """

    fast: float = 0.85
    slow: float = 0.05
    post: float = 0.08
    upload: float = 0.02
    kept_alive: float = 0.5
    slow_seconds: float = 1.0
    upload_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Reject shares that don't add up."""
        shares = self.shares()
        if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1):
            raise LoadError(f"the shares {shares} are not numbers from 0 that add up to 1")
        if not 0 <= self.kept_alive <= 1:
            raise LoadError(f"the kept-alive share {self.kept_alive} is not between 0 and 1")

    def shares(self) -> dict[str, float]:
        """Return the share of each kind of request."""
        return {"fast": self.fast, "slow": self.slow, "post": self.post, "upload": self.upload}

    def sequence(self) -> Iterator[tuple[str, bool]]:
        """Yield (kind, kept alive) without end, evenly spread, so that the shares hold in every interval."""
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


#: The mix in two halves, for many reloads over TLS. An exiting worker of Nginx closes its idle connections at once, and
#: HTTP/1.1 loses a POST on its way to one (RFC 9112, section 9.5). So a reused connection carries only requests that
#: may be repeated. Nginx 1.27.4 can wait before it closes them; Debian's can't.
HALVES = (Mix(kept_alive=0), Mix(fast=0.95, slow=0.05, post=0, upload=0, kept_alive=1))


@dataclass(frozen=True)
class Settings:
    """One load. Raises LoadError for a target that isn't loopback and for numbers that make no sense.

    `rate` is in requests per second. `seconds` is the length of the schedule, None for "until told to stop"; it ends
    after `max_seconds` either way. `timeout_seconds` counts from the instant a request was due. A generator that was
    ever later than `lag_limit_seconds` makes the run unreliable.
    """

    url: str
    host: str
    rate: float = 200.0
    seconds: float | None = None
    max_seconds: float = 300.0
    timeout_seconds: float = 30.0
    lag_limit_seconds: float = 0.25
    mix: Mix = field(default_factory=Mix)

    def __post_init__(self) -> None:
        """Reject what the class's docstring rules out."""
        target(self.url)
        if not HEADER_SAFE.fullmatch(self.host):
            raise LoadError(f"the host {self.host!r} can't be a Host header")
        for name in ("rate", "max_seconds", "timeout_seconds", "lag_limit_seconds"):
            if not getattr(self, name) > 0:
                raise LoadError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds <= self.max_seconds:
            raise LoadError(f"seconds must be above 0 and at most {self.max_seconds:g}, not {self.seconds:g}")


def target(url: str) -> tuple[str, int]:
    """Return address and port of a loopback URL such as http://127.0.0.1:28201. Looks up no name.

    Raises LoadError for every other URL: load on someone else's machine is an attack.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        name, port = parts.hostname or "", PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError as exc:
        raise LoadError(f"{url!r} is not a URL: {exc}") from exc
    if parts.scheme not in PORTS or parts.path not in ("", "/") or parts.query:
        raise LoadError(f"{url!r} is not of the form http(s)://<loopback address>:<port>")
    if LOCALHOST_NAME.fullmatch(name):
        return "127.0.0.1", port
    with contextlib.suppress(ValueError):
        if (address := ipaddress.ip_address(name)).is_loopback:
            return str(address), port
    raise LoadError(f"{url!r} is not on this machine: use 127.0.0.0/8, ::1 or a name under localhost")
