# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract and its proof: what is refused and why, when the proof waits and when it doesn't."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, GaveUp, NoAnswer
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import (
    INTERVAL_SECONDS,
    Contract,
    Failure,
    Patience,
    Proof,
    prove,
)
from hypothesis import given
from hypothesis import strategies as st

FIELDS = {"environment": "env", "debug": "debug", "revision": "revision", "release": "release"}
PATIENCE = Patience(start_seconds=60, probe_seconds=5, successes=3, probes=5, interval_seconds=0)
CONTRACT = Contract("staging", False, "r1", "20261121T094420Z-1a2b3c4d", fields=FIELDS)
HEALTHY: dict[str, object] = {"status": "ok", "env": "staging", "debug": False, "revision": "r1"}


def answer(document: object = None, status: int = 200) -> Answer:
    return Answer(status, json.dumps(HEALTHY if document is None else document), 0.01)


GOOD = answer()
STARTING = answer({"status": "starting"}, 503)
BROKEN = answer({"status": "broken"}, 500)
WRONG = answer({**HEALTHY, "env": "production"})


def said(contract: Contract, document: object, status: int = 200) -> list[str]:
    return [str(failure) for failure in contract.failures(answer(document, status))]


def test_a_complete_response_meets_the_contract() -> None:
    assert said(CONTRACT, HEALTHY) == []


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"env": "production"}, 'env: expected "staging", got "production"'),
        ({"env": None}, 'env: expected "staging", got null'),
        ({"env": "Staging"}, 'env: expected "staging", got "Staging"'),
        ({"debug": True}, "debug: expected false, got true"),
        ({"debug": 0}, "debug: expected false, got 0"),
        ({"debug": "false"}, 'debug: expected false, got "false"'),
        ({"debug": None}, "debug: expected false, got null"),
        ({"revision": "r0"}, 'revision: expected "r1", got "r0"'),
        ({"release": "20261120T000000Z-00000000"},
         'release: expected "20261121T094420Z-1a2b3c4d", got "20261120T000000Z-00000000"'),
        ({"release": None}, 'release: expected "20261121T094420Z-1a2b3c4d", got null'),
    ],
)  # fmt: skip
def test_each_assertion_fails_separately_and_shows_the_actual_value(change: dict[str, object], failure: str) -> None:
    assert said(CONTRACT, {**HEALTHY, **change}) == [failure]


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_not_a_failure(name: str) -> None:
    document = {key: value for key, value in {**HEALTHY, "release": CONTRACT.release}.items() if key != FIELDS[name]}
    assert said(CONTRACT, document) == []
    assert CONTRACT.said(answer(document)) == [each for each in FIELDS if each != name]


@pytest.mark.parametrize("body", ["", "OK", "<html>Welcome</html>", "[]", "null", "{", "[" * 100_000])
def test_an_empty_response_contradicts_nothing(body: str) -> None:
    assert CONTRACT.failures(Answer(200, body, 0.01)) == []
    assert CONTRACT.said(Answer(200, body, 0.01)) == []
    assert CONTRACT.said(None) == []


STATUSES = [(200, True), (204, True), (302, True), (399, True), (400, False), (500, False)]


@pytest.mark.parametrize(("status", "kept"), STATUSES)
def test_a_page_without_health_data_only_has_to_respond(status: int, kept: bool) -> None:
    contract = replace(CONTRACT, subset={"x": 1}).without_page()
    assert (contract.failures(Answer(status, json.dumps({"env": "elsewhere"}), 0.01)) == []) == kept


def test_all_failures_are_reported_at_once() -> None:
    assert len(said(CONTRACT, {"env": "x", "debug": True, "revision": "r0"})) == 3


@pytest.mark.parametrize("name", ["environment", "debug", "revision"])
def test_an_assertion_without_a_field_is_left_out(name: str) -> None:
    contract = replace(CONTRACT, fields={**FIELDS, name: ""})
    document = {key: value for key, value in HEALTHY.items() if key != FIELDS[name]}
    assert said(contract, document) == []


def test_fields_have_the_configured_names() -> None:
    contract = replace(CONTRACT, fields={"environment": "stage"})
    assert said(contract, {"stage": "staging"}) == []
    assert said(contract, {"stage": "qa", "env": "staging"}) == ['stage: expected "staging", got "qa"']


@pytest.mark.parametrize("status", [500, 503, 404, 302, 204, 201])
def test_a_wrong_status_hides_the_rest(status: int) -> None:
    (failure,) = said(CONTRACT, {"env": "production"}, status)
    assert failure == f'HTTP status: expected 200, got {status} {{"env": "production"}}'


def test_another_status_can_be_expected() -> None:
    assert said(replace(CONTRACT, status=204), HEALTHY, 204) == []
    assert len(said(replace(CONTRACT, status=204), HEALTHY, 200)) == 1


BODIES = ["", "OK", "<html>Welcome</html>", "[]", "null", "{", json.dumps({"env": "elsewhere", "debug": True})]


@pytest.mark.parametrize("fields", [{}, {"environment": "", "debug": "", "revision": "", "release": ""}])
@pytest.mark.parametrize("body", BODIES)
def test_a_response_without_assertions_need_not_be_json(body: str, fields: dict[str, str]) -> None:
    assert replace(CONTRACT, fields=fields).failures(Answer(200, body, 0.01)) == []


@pytest.mark.parametrize("status", [500, 503, 404, 302, 204])
def test_a_response_without_assertions_needs_the_right_status(status: int) -> None:
    bare = replace(CONTRACT, fields={})
    (failure,) = bare.failures(Answer(status, "OK", 0.01))
    assert str(failure) == f"HTTP status: expected 200, got {status} OK"
    assert replace(bare, status=status).failures(Answer(status, "", 0.01)) == []
    assert len(replace(bare, status=status).failures(Answer(200, "OK", 0.01))) == 1


def test_a_response_with_assertions_must_be_json() -> None:
    (failure,) = replace(CONTRACT, subset={"status": "ok"}).failures(Answer(200, "OK", 0.01))
    assert str(failure) == "health answer: expected a JSON object, got OK"


@pytest.mark.parametrize(
    ("subset", "got", "failures"),
    [
        ({"database": {"up": True}}, {"database": {"up": True, "lag": 3}}, []),
        ({"database": {"up": True}}, {"database": {"up": False}}, ["database.up: expected true, got false"]),
        ({"database": {"up": True}}, {"database": {"up": 1}}, ["database.up: expected true, got 1"]),
        ({"database": {"up": True}}, {"database": {}}, ["database.up: expected true, got nothing"]),
        ({"database": {"up": True}}, {"database": "up"}, ['database: expected {"up": true}, got "up"']),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c: expected 1, got 2"]),
        ({"workers": 1}, {"workers": True}, ["workers: expected 1, got true"]),
        ({"workers": 1}, {"workers": "1"}, ['workers: expected 1, got "1"']),
        ({"queues": ["a", "b"]}, {"queues": ["a", "b"]}, []),
        ({"queues": ["a", "b"]}, {"queues": ["b", "a"]}, ['queues: expected ["a", "b"], got ["b", "a"]']),
        ({"queues": ["a"]}, {"queues": ["a", "b"]}, ['queues: expected ["a"], got ["a", "b"]']),
        ({"nothing": None}, {"nothing": None}, []),
        ({"nothing": None}, {}, ["nothing: expected null, got nothing"]),
        ({"status": "ok"}, {}, []),
        ({"status": "fine"}, {}, ['status: expected "fine", got "ok"']),
    ],
)
def test_a_subset_is_compared_with_the_response(
    subset: dict[str, object], got: dict[str, object], failures: list[str]
) -> None:
    assert said(replace(CONTRACT, subset=subset), {**HEALTHY, **got}) == failures


def test_a_subset_cannot_weaken_the_contract() -> None:
    contract = replace(CONTRACT, subset={"debug": True, "env": "production"})
    assert said(contract, HEALTHY) == []
    assert len(said(contract, {**HEALTHY, "debug": True, "env": "production"})) == 2


def test_a_long_response_is_truncated_in_the_message() -> None:
    (failure,) = CONTRACT.failures(Answer(500, "x" * 10_000, 0.01))
    assert len(str(failure)) < 300
    assert str(failure).endswith("…")


# The proof


class Server:
    """Gives answers one after another, on a simulated clock; the last one repeats.

    Each is an answer or an exception, optionally with the seconds it takes. ``ask`` keeps to its bound: an answer that
    would take longer becomes a NoAnswer at the bound, as with a real socket.
    """

    def __init__(self, *plays: object, dies_at: float = 1e9) -> None:
        self.plays = [play if isinstance(play, tuple) else (play, 0.01) for play in plays]
        self.now = 100.0
        self.asked: list[float] = []
        self.bounds: list[float] = []
        self.pauses: list[float] = []
        self.dies_at = dies_at + self.now

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def alive(self) -> bool:
        return self.now < self.dies_at

    def ask(self, seconds: float, worth: Callable[[], bool]) -> Answer:
        play, takes = self.plays[min(len(self.asked), len(self.plays) - 1)]
        self.asked.append(self.now)
        self.bounds.append(seconds)
        end = self.now + min(takes, seconds)
        if self.dies_at < end:
            self.now = max(self.now, self.dies_at)
            assert not worth()
            raise GaveUp("the process ended before it answered")
        self.now = end
        if takes > seconds:
            raise NoAnswer(f"no complete answer within {seconds:g} seconds")
        if isinstance(play, Exception):
            raise play
        assert isinstance(play, Answer)
        return play

    def proof(self, patience: Patience | None = None) -> Proof:
        patience = patience or PATIENCE
        proof = prove(self.ask, CONTRACT, patience, alive=self.alive, clock=self.clock, sleep=self.sleep)
        assert set(self.pauses) <= {INTERVAL_SECONDS, patience.interval_seconds}
        return proof

    @property
    def seconds(self) -> float:
        return self.now - 100


def test_three_good_responses_prove_a_release_at_once() -> None:
    server = Server(GOOD)
    proof = server.proof()
    assert (proof.kept, proof.failures, proof.probes, proof.answer) == (True, [], 3, GOOD)
    assert len(server.asked) == 3
    assert server.seconds == pytest.approx(0.03)
    assert 0 < proof.first_answer_seconds <= proof.seconds == pytest.approx(server.seconds)


@pytest.mark.parametrize(
    ("plays", "kept", "probes"),
    [
        ("GGG", True, 3),
        ("BGGG", True, 4),
        ("BBGGG", True, 5),
        ("GBGBG", True, 5),
        ("BBB", False, 3),
        ("GBGBB", False, 5),
        ("GGBBB", False, 5),
        ("BGBGB", False, 5),
        ("GSGG", True, 4),
        ("GSSS", False, 4),
    ],
)  # G good, B broken, S silent for longer than its bound
def test_three_of_five_responses_must_be_good(plays: str, kept: bool, probes: int) -> None:
    meaning = {"G": GOOD, "B": BROKEN, "S": (GOOD, 10.0)}
    server = Server(*(meaning[play] for play in plays))
    proof = server.proof(replace(PATIENCE, probe_seconds=5))
    assert (proof.kept, proof.probes, len(server.asked)) == (kept, probes, probes)
    assert bool(proof.failures) is not kept


@given(
    st.lists(st.booleans(), min_size=9, max_size=9),
    st.integers(1, 6).flatmap(lambda probes: st.tuples(st.integers(1, probes), st.just(probes))),
)
def test_a_release_is_proved_if_n_of_the_first_m_responses_are_good(good: list[bool], bounds: tuple[int, int]) -> None:
    successes, probes = bounds
    server = Server(*(GOOD if one else BROKEN for one in good))
    proof = server.proof(replace(PATIENCE, successes=successes, probes=probes))
    assert proof.kept is (sum(good[:probes]) >= successes)
    assert proof.probes == len(server.asked) <= probes


def test_one_slow_response_does_not_fail_a_release() -> None:
    server = Server((GOOD, 55.0))
    server.plays.append((GOOD, 0.01))
    assert server.proof(replace(PATIENCE, start_seconds=60)).kept
    late = Server(GOOD, (GOOD, 20.0), GOOD)
    assert late.proof(replace(PATIENCE, probe_seconds=5)).kept


def test_a_503_or_no_response_is_tolerated_during_startup() -> None:
    silence = NoAnswer("no connection (Connection refused)")
    server = Server(silence, silence, *[STARTING] * 100, GOOD)
    proof = server.proof()
    assert proof.kept
    assert proof.probes == 3
    assert proof.first_answer_seconds == pytest.approx(server.asked[102] - 100 + 0.01)


def test_a_503_after_the_first_response_counts_as_a_failure() -> None:
    server = Server(GOOD, STARTING)
    proof = server.proof()
    assert not proof.kept
    assert len(server.asked) == 4


@pytest.mark.parametrize("fault", [BROKEN, WRONG, answer(HEALTHY, 404)], ids=["500", "env", "404"])
def test_a_wrong_response_fails_quickly(fault: Answer) -> None:
    server = Server(fault)
    proof = server.proof()
    assert not proof.kept
    assert proof.answer is fault
    assert len(server.asked) == 3
    assert 2 * INTERVAL_SECONDS < server.seconds < 1


@pytest.mark.parametrize("play", [STARTING, NoAnswer("no connection")], ids=["503", "refused"])
def test_a_release_that_never_starts_fails_at_the_time_limit(play: object) -> None:
    server = Server(play)
    proof = server.proof(replace(PATIENCE, start_seconds=7))
    assert not proof.kept
    assert proof.failures
    assert 7 <= server.seconds < 7.5


def test_the_failure_of_a_silent_start_says_there_was_no_response() -> None:
    proof = Server((GOOD, 100.0)).proof(replace(PATIENCE, start_seconds=7))
    assert str(proof.failures[0]) == (
        "health answer: expected within 7 seconds, got no complete answer within 7 seconds"
    )


def test_a_process_that_dies_before_the_first_probe_is_reported_at_once() -> None:
    server = Server(GOOD, dies_at=0)
    proof = server.proof()
    assert not proof.kept
    assert proof.failures == [Failure("process", "running", "ended by itself")]
    assert server.asked == []


def test_a_process_that_dies_during_a_probe_is_reported_at_once() -> None:
    server = Server((GOOD, 50.0), dies_at=3)
    proof = server.proof()
    assert [failure.assertion for failure in proof.failures] == ["process"]
    assert "ended before it answered" in str(proof.failures[0])
    assert server.seconds == pytest.approx(3)


def test_a_process_that_dies_between_two_good_responses_is_not_proved() -> None:
    server = Server((GOOD, 0.1), dies_at=0.15)
    proof = server.proof()
    assert not proof.kept
    assert proof.failures[0].assertion == "process"


def test_the_first_response_may_take_the_whole_start_time() -> None:
    server = Server((GOOD, 2.0), GOOD)
    server.proof(replace(PATIENCE, start_seconds=60, probe_seconds=5))
    assert server.bounds == [pytest.approx(60), 5, 5]


def test_the_interval_separates_good_responses_but_does_not_follow_the_last() -> None:
    server = Server(GOOD)
    assert server.proof(replace(PATIENCE, interval_seconds=2)).kept
    assert server.pauses == [2, 2]
    assert server.asked == [pytest.approx(100 + each * 2.01) for each in range(3)]


def test_a_failed_probe_is_repeated_at_once_whatever_the_interval() -> None:
    silence = NoAnswer("no connection")
    server = Server(silence, STARTING, GOOD, BROKEN, GOOD, silence, GOOD)
    assert server.proof(replace(PATIENCE, interval_seconds=2)).kept
    assert server.pauses == [INTERVAL_SECONDS, INTERVAL_SECONDS, 2, INTERVAL_SECONDS, 2, INTERVAL_SECONDS]


def test_only_an_interval_catches_an_app_that_dies_soon_after_start() -> None:
    assert Server(GOOD, dies_at=1).proof().kept
    server = Server(GOOD, dies_at=1)
    proof = server.proof(replace(PATIENCE, interval_seconds=2))
    assert not proof.kept
    assert proof.failures == [Failure("process", "running", "ended by itself")]
    assert len(server.asked) == 1


plays = st.tuples(
    st.sampled_from([GOOD, BROKEN, STARTING, WRONG, NoAnswer("no connection")]),
    st.floats(0.001, 30),
)


@given(
    st.lists(plays, min_size=1, max_size=8),
    st.floats(0.5, 20),
    st.floats(0.1, 5),
    st.integers(1, 5).flatmap(lambda probes: st.tuples(st.integers(1, probes), st.just(probes))),
    st.floats(0, 5),
)
def test_a_proof_never_exceeds_its_time_limit(
    played: Iterable[tuple[object, float]], start: float, each: float, bounds: tuple[int, int], interval: float
) -> None:
    successes, probes = bounds
    server = Server(*played)
    proof = server.proof(Patience(start, each, successes, probes, interval))
    # The start, then M probes with a pause before each; a probe that begins in time gets at least 0.1 s.
    pause = max(INTERVAL_SECONDS, interval)
    assert server.seconds <= start + 0.1 + probes * (each + pause) + INTERVAL_SECONDS + 1e-6
    assert proof.kept or proof.failures


@pytest.mark.parametrize(("successes", "probes"), [(0, 5), (-1, 5), (6, 5), (1, 0)])
def test_zero_or_impossible_probe_counts_are_refused(successes: int, probes: int) -> None:
    with pytest.raises(GreenlightError, match=f"{successes} of {probes} probes prove nothing"):
        replace(PATIENCE, successes=successes, probes=probes)
