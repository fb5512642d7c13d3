# SPDX-License-Identifier: GPL-3.0-or-later
"""What a load counted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES_PER_KIND = 10


@dataclass(frozen=True)
class Failure:
    """One failed request: when it was due (in seconds), its kind and connection, what happened."""

    at_seconds: float
    request: str
    kept_alive: bool
    detail: str


@dataclass
class Failures:
    """Failures of one kind: how many, and the first ten."""

    count: int = 0
    examples: list[Failure] = field(default_factory=list)


@dataclass
class Seen:
    """Answers with one value of a header: how many, and when the first and the last were complete (seconds)."""

    count: int
    first_seconds: float
    last_seconds: float


@dataclass(frozen=True)
class Latency:
    """Latencies in seconds, from the instant a request was due to the last byte of its answer; nan without any."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> Latency:
        """Compute nearest-rank percentiles, so that each is a latency that some request had."""
        ordered = sorted(values) or [math.nan]
        p50, p95, p99 = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.50, 0.95, 0.99))
        return cls(len(values), p50, p95, p99, ordered[-1])


@dataclass
class Result:
    """All counts of a load. Times are seconds; offsets count from the instant the first request was due.

    Attributes:
        sent: requests, each counted once in `ok` or `failed`.
        failures: by kind: connect, reset (lost without one byte of an answer), timeout, status (not 2xx), truncated,
            malformed.
        kept_alive: requests that asked for a kept-alive connection; `reused` ones got one that was used before.
        retried: GETs lost without one byte on a reused connection and sent once more, as every client does.
        replaced: idle connections found closed before anything was sent on them.
        by_release: every complete answer by its X-Release header ("" without one); `by_revision` by X-Revision.
        samples: (due, latency, kind) of each good request.
    """

    started_monotonic: float = 0.0
    seconds: float = 0.0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    failures: dict[str, Failures] = field(default_factory=dict)
    sent_by_kind: dict[str, int] = field(default_factory=dict)
    kept_alive: int = 0
    reused: int = 0
    retried: int = 0
    replaced: int = 0
    by_release: dict[str, Seen] = field(default_factory=dict)
    by_revision: dict[str, Seen] = field(default_factory=dict)
    max_schedule_lag: float = 0.0
    unreliable_because: list[str] = field(default_factory=list)
    samples: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def reliable(self) -> bool:
        """Return whether the generator kept its schedule and nothing cut it short."""
        return not self.unreliable_because

    @property
    def latency(self) -> Latency:
        """Return the latency of the good fast requests."""
        return Latency.of([latency for _, latency, kind in self.samples if kind == "fast"])

    def fail(self, kind: str, failure: Failure) -> None:
        """Count a request as failed."""
        self.failed += 1
        group = self.failures.setdefault(kind, Failures())
        group.count += 1
        if len(group.examples) < EXAMPLES_PER_KIND:
            group.examples.append(failure)

    def see(self, release: str, revision: str, now: float) -> None:
        """Count an answer, whatever its status, by the release that gave it."""
        for value, table in ((release, self.by_release), (revision, self.by_revision)):
            seen = table.setdefault(value, Seen(0, now, now))
            seen.count += 1
            seen.last_seconds = now

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, which has no nan, with the latencies in place of the samples."""
        latency = {name: None if math.isnan(value) else value for name, value in asdict(self.latency).items()}
        return {**asdict(self), "samples": len(self.samples), "reliable": self.reliable, "latency": latency}

    def __str__(self) -> str:
        """Return a summary for people, a fact per line."""
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
