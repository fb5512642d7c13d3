# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract: what a release must prove, and the proof with N of M health probes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, GaveUp, NoAnswer

#: Seconds between a failed probe and the next one.
INTERVAL_SECONDS = 0.1


@dataclass(frozen=True)
class Failure:
    """One failed assertion; ``expected`` and ``got`` are full texts, so that secrets in them can be masked."""

    assertion: str
    expected: str
    got: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f". Fix: {self.fix}" if self.fix else ""
        return f"{self.assertion}: expected {self.expected}, got {_short(self.got)}{fix}"


@dataclass(frozen=True)
class Contract:
    """What a release must prove.

    Args:
        environment: name of the environment.
        debug: value of DEBUG.
        revision: revision of the release.
        release: id of the release.
        status: HTTP status of the health answer; 0 for any below 400.
        fields: which key of the JSON answer has ``environment``, ``debug``, ``revision`` and ``release``. The answer
            must not contradict them. The workers must prove what has no key.
        subset: further JSON that the answer must contain; mappings are compared key by key, other values as a whole.
    """

    environment: str
    debug: bool
    revision: str
    release: str
    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    subset: Mapping[str, object] = field(default_factory=dict)

    def failures(self, answer: Answer) -> list[Failure]:
        """Return the failed assertions; empty if nothing contradicts. A wrong status hides the others.

        The answer only has to be JSON if there is a subset.
        """
        if not self.accepts_status(answer):
            expected = str(self.status) if self.status else "one below 400"
            return [Failure("HTTP status", expected, f"{answer.status} {answer.body}".strip())]
        document = _document(answer)
        if document is None:
            got = answer.body.strip() or "an empty body"
            return [Failure("health answer", "a JSON object", got)] if self.subset else []
        pairs = {self.fields[name]: getattr(self, name) for name in self.said(answer)}
        return _differences({**self.subset, **pairs}, document, "")

    def accepts_status(self, answer: Answer) -> bool:
        return answer.status == self.status or (self.status == 0 and answer.status < HTTPStatus.BAD_REQUEST)

    def said(self, answer: Answer | None) -> list[str]:
        """Return which of ``environment``, ``debug``, ``revision`` and ``release`` the answer has."""
        document = (_document(answer) if answer else None) or {}
        names = ("environment", "debug", "revision", "release")
        return [name for name in names if self.fields.get(name) and self.fields[name] in document]

    def without_page(self) -> Contract:
        """Return the contract for a page that isn't a health page: it must answer, and its content doesn't matter."""
        return replace(self, status=0, fields={}, subset={})


def _document(answer: Answer) -> dict[str, object] | None:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _differences(expected: Mapping[str, object], got: Mapping[str, object], prefix: str) -> list[Failure]:
    found: list[Failure] = []
    for key, value in expected.items():
        name = f"{prefix}{key}"
        actual = got.get(key)
        if key not in got:
            found.append(Failure(name, json.dumps(value), "nothing"))
        elif isinstance(value, Mapping) and isinstance(actual, Mapping):
            found += _differences(value, actual, f"{name}.")
        elif type(value) is not type(actual) or value != actual:
            found.append(Failure(name, json.dumps(value), json.dumps(actual)))
    return found


@dataclass(frozen=True)
class Proof:
    """The result of probing: contract kept or not, last answer, failures, seconds until the first and last probe."""

    kept: bool
    failures: list[Failure]
    answer: Answer | None
    probes: int
    first_answer_seconds: float
    seconds: float


@dataclass(frozen=True)
class Patience:
    """How long and how often to probe.

    Args:
        start_seconds: seconds until the first answer.
        probe_seconds: seconds for one answer.
        successes: how many probes must keep the contract, N.
        probes: maximum number of probes, M.
        interval_seconds: seconds between a good answer and the next probe. More than 0 also detects an app that dies
            soon after its start.

    Raises:
        GreenlightError: N of M can't be reached, or needs no proof at all.
    """

    start_seconds: float
    probe_seconds: float
    successes: int
    probes: int
    interval_seconds: float

    def __post_init__(self) -> None:
        if not 1 <= self.successes <= self.probes:
            raise GreenlightError(
                f"{self.successes} of {self.probes} probes prove nothing. Require at least 1 and at most all of them."
            )


def prove(
    ask: Callable[[float, Callable[[], bool]], Answer],
    contract: Contract,
    patience: Patience,
    *,
    alive: Callable[[], bool] = lambda: True,
    started: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Proof:
    """Probe until N of M answers keep the contract, or that has become impossible, or ``alive`` returns False.

    Until the app's first answer, a missing answer and HTTP 503 mean "still starting": only ``start_seconds`` limits
    them. From then on, or at once if the app has ``started``, each probe counts.
    """
    began = clock()
    deadline = began + patience.start_seconds
    kept = missed = 0
    first = 0.0
    answer: Answer | None = None
    failures: list[Failure] = []
    while kept < patience.successes and missed <= patience.probes - patience.successes:
        starting = not (started or first)
        seconds = max(0.1, deadline - clock()) if starting else patience.probe_seconds
        if not alive():
            failures = [Failure("process", "running", "ended by itself")]
            break
        try:
            answer, failures = _probed(ask, contract, seconds, alive)
        except GaveUp as died:
            failures = [Failure("process", "running", str(died))]
            break
        if answer and not (starting and answer.status == HTTPStatus.SERVICE_UNAVAILABLE):
            first = first or clock() - began
        if started or first or clock() >= deadline:
            kept, missed = (kept, missed + 1) if failures else (kept + 1, missed)
        if starting and failures and clock() >= deadline:
            break
        if failures:
            sleep(INTERVAL_SECONDS)
        elif kept < patience.successes and patience.interval_seconds:
            sleep(patience.interval_seconds)
    good = kept >= patience.successes
    return Proof(good, [] if good else failures, answer, kept + missed, first, clock() - began)


def _probed(
    ask: Callable[[float, Callable[[], bool]], Answer], contract: Contract, seconds: float, alive: Callable[[], bool]
) -> tuple[Answer | None, list[Failure]]:
    """Probe once; return the answer, if there is one, and the failures."""
    try:
        answer = ask(seconds, alive)
    except GaveUp:
        raise
    except NoAnswer as silence:
        return None, [Failure("health answer", f"within {seconds:g} seconds", str(silence))]
    return answer, contract.failures(answer)


def _short(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
