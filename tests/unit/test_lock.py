# SPDX-License-Identifier: GPL-3.0-or-later
"""At most one run works on an app, it tells the others who it is, and a dead run doesn't block for long."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, tzinfo
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import lock as _lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import (
    Locked,
    Owner,
    break_lock,
    give_back,
    held,
    take,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import HeldElsewhere, exclusively
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused

from tests.unit.cases import all_named, named
from tests.unit.killing import killed

FORK = multiprocessing.get_context("fork")
STALE = 1800
ANN = Owner(run="a11a", by="ann@laptop", place="here", pid=4711, started="100")
BOB = Owner(run="b0bb", by="bob@desk", place="there", pid=42, started="7")


class Clock:
    """The clocks of a machine; they advance only on request."""

    def __init__(self) -> None:
        self.boot = 5000.0
        self.day = datetime(2026, 11, 21, 9, 44, 20, tzinfo=UTC)

    def advance(self, seconds: float) -> None:
        self.boot += seconds
        self.day += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Day(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.day.astimezone(tz)

    def gettime(which: int = time.CLOCK_REALTIME) -> float:
        return clock.boot if which == time.CLOCK_BOOTTIME else clock.day.timestamp()

    monkeypatch.setattr(time, "clock_gettime", gettime)
    monkeypatch.setattr(time, "time", gettime)
    monkeypatch.setattr(_lock, "datetime", Day)
    return clock


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for a step to end."""
    monkeypatch.setattr(_lock, "WAIT_SECONDS", 0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the lock, unless a test wants it."""
    monkeypatch.setattr(_lock, "MOMENT_SECONDS", 0)


def at_the_first_wait(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen instead of the wait between two attempts at the guard."""
    monkeypatch.setattr(time, "sleep", lambda seconds: happens())


def _step(layout: Layout, run_id: str, work: Callable[[], object] | None, theirs: Connection) -> None:
    with held(layout, run_id):
        theirs.send("at work")
        if work:
            work()
        theirs.recv()


class Step:
    """A step of a run, in a separate process."""

    def __init__(self, layout: Layout, run_id: str, work: Callable[[], object] | None) -> None:
        self._ours, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_step, args=(layout, run_id, work, theirs))
        self._process.start()
        theirs.close()
        assert self._ours.poll(10), "the step did not begin"
        self._ours.recv()

    def end(self) -> None:
        if self._process.exitcode is None:
            self._ours.send("end")
        self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        assert self._process.exitcode in (0, -signal.SIGKILL)


@contextmanager
def at_work(layout: Layout, run_id: str, work: Callable[[], object] | None = None) -> Iterator[Step]:
    step = Step(layout, run_id, work)
    try:
        yield step
    finally:
        step.kill()


def holder(layout: Layout) -> str:
    """Return who has the lock, in words; empty if nobody has it."""
    return break_lock(layout, dry=True)


# Taking the lock


def test_only_the_first_run_gets_the_lock(layout: Layout, clock: Clock) -> None:
    assert take(layout, ANN, STALE) == ""
    assert holder(layout) == "ann@laptop, since 2026-11-21 09:44:20 UTC, last step 0 seconds ago (process 4711)"
    assert layout.lock.stat().st_mode & 0o777 == 0o600
    for other in (BOB, replace(ANN, run="c0c0", pid=4712)):
        with pytest.raises(Locked):
            take(layout, other, STALE)
    assert holder(layout).endswith("(process 4711)")


def test_taking_its_own_lock_again_refreshes_it(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    clock.advance(STALE + 1)
    assert take(layout, ANN, STALE) == ""
    assert holder(layout) == "ann@laptop, since 2026-11-21 09:44:20 UTC, last step 0 seconds ago (process 4711)"


def test_a_refusal_names_the_lock_holder_and_the_fix(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    clock.advance(12)
    with pytest.raises(Locked) as refused:
        take(layout, BOB, STALE)
    [finding] = refused.value.findings
    assert named(finding) == ("locked", "shop")
    for fact in ("ann@laptop", "2026-11-21 09:44:20 UTC", "12 seconds", "4711"):
        assert fact in finding.what
    assert "ansible-playbook -i <inventory> playbooks/unlock.yml" in finding.fix
    assert refused.value.details == {"locked": asdict(ANN)}


def test_a_refusal_changes_nothing(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    before = layout.lock.read_bytes()
    clock.advance(12)
    with pytest.raises(Locked):
        take(layout, BOB, STALE)
    assert layout.lock.read_bytes() == before


def test_each_app_has_its_own_lock(layout: Layout, impatient: None) -> None:
    blog = replace(layout, app="blog")
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run):
        assert take(blog, BOB, STALE) == ""
        with held(blog, BOB.run):
            assert holder(layout).startswith("ann@laptop")
        give_back(blog, BOB.run)
    assert holder(layout).startswith("ann@laptop")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{", b'{"run": "a11a", "by": "an', b"null", b"[]", b'"a11a"', b"{}", b'{"by": "ann"}'],
)
def test_a_torn_or_empty_lock_file_does_not_count(layout: Layout, content: bytes) -> None:
    layout.lock.parent.mkdir(parents=True)
    layout.lock.write_bytes(content)
    with pytest.raises(Refused) as lost, held(layout, ANN.run):
        pass
    assert all_named(lost) == [("lock-lost", "shop")]
    give_back(layout, ANN.run)
    assert str(layout.lock) in take(layout, BOB, STALE)
    assert holder(layout).startswith("bob@desk")
    layout.lock.write_bytes(content)
    assert break_lock(layout)
    assert not layout.lock.exists()


def test_a_run_killed_while_taking_the_lock_leaves_it_complete_or_absent(layout: Layout) -> None:
    for change in range(1, 20):
        ended = not killed(change, lambda: take(layout, ANN, STALE))
        found = holder(layout)
        assert found.startswith("ann@laptop") if found else not layout.lock.exists()
        assert bool(take(layout, BOB, STALE, instead_of=ANN.run)) is bool(found)
        break_lock(layout)
        if ended:
            break
    assert change > 3


def test_a_reader_always_sees_the_complete_lock(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    with layout.lock.open() as reader:
        before = layout.lock.read_text()
        clock.advance(1)
        with held(layout, ANN.run):
            assert layout.lock.read_text() != before
        take(layout, BOB, STALE, instead_of=ANN.run)
        assert reader.read() == before


def test_the_lock_is_read_and_changed_under_the_guard_only(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that exactly one of two simultaneous runs gets it, even if chance would hide a mistake."""
    seen = []

    def guarded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def under_the_guard(path: Path, *rest: Any) -> Any:
            with pytest.raises(HeldElsewhere), exclusively(layout.lock.with_suffix(".guard"), 0):
                pass
            seen.append(name)
            return work(path, *rest)

        return under_the_guard

    for name in ("read_facts", "write", "discard"):
        monkeypatch.setattr(_lock, name, guarded(name, getattr(_lock, name)))
    take(layout, ANN, STALE)
    with held(layout, ANN.run):
        pass
    give_back(layout, ANN.run)
    assert set(seen) == {"read_facts", "write", "discard"}


def _race(turns: mmap.mmap, me: int, layouts: list[Layout], owner: Owner, told: Connection) -> None:
    got = []
    for turn, layout in enumerate(layouts, start=1):
        turns[me] = turn
        while turns[1 - me] < turn:
            os.sched_yield()
        try:
            take(layout, owner, STALE)
        except GreenlightError:
            got.append(False)
        else:
            got.append(True)
    told.send(got)


def test_exactly_one_of_two_simultaneous_runs_gets_the_lock(tmp_path: Path, clock: Clock) -> None:
    """Fifty times. In every second case a long-dead run holds the lock."""
    layouts = [Layout("shop", tmp_path / str(turn)) for turn in range(50)]
    dead = replace(ANN, run="dead")
    for layout in layouts[::2]:
        take(layout, dead, STALE)
    clock.advance(STALE)
    turns = mmap.mmap(-1, 2)
    pipes = [FORK.Pipe() for _ in (ANN, BOB)]
    runs = [
        FORK.Process(target=_race, args=(turns, me, layouts, owner, theirs))
        for me, (owner, (_, theirs)) in enumerate(zip((ANN, BOB), pipes, strict=True))
    ]
    try:
        for one in runs:
            one.start()
        assert all(ours.poll(20) for ours, _ in pipes)
        ann, bob = (ours.recv() for ours, _ in pipes)
    finally:
        for one in runs:
            one.kill()
            one.join()
    assert [one + other for one, other in zip(ann, bob, strict=True)] == [1] * 50
    assert [holder(layout).startswith("ann@laptop") for layout in layouts] == ann


# Taking it over


@pytest.mark.parametrize(("seconds", "dead"), [(0, False), (STALE - 1, False), (STALE, True), (STALE * 10, True)])
def test_a_run_without_a_recent_step_counts_as_dead(layout: Layout, clock: Clock, seconds: float, dead: bool) -> None:
    take(layout, ANN, STALE)
    clock.advance(seconds)
    if not dead:
        with pytest.raises(Locked):
            take(layout, BOB, STALE)
        return
    assert take(layout, BOB, STALE) == (
        "Took over the lock of a run that is dead: ann@laptop, since 2026-11-21 09:44:20 UTC,"
        f" last step {seconds} seconds ago (process 4711)."
    )
    assert holder(layout) == f"bob@desk, since {clock.day:%Y-%m-%d %H:%M:%S} UTC, last step 0 seconds ago (process 42)"


@pytest.mark.parametrize("hours", [-5, 5])
def test_changing_the_clock_does_not_age_a_lock(layout: Layout, clock: Clock, hours: int) -> None:
    take(layout, ANN, STALE)
    clock.day += timedelta(hours=hours)
    clock.boot += 12
    with pytest.raises(Locked, match=r"\b12 seconds"):
        take(layout, BOB, STALE)
    clock.boot += STALE
    assert take(layout, BOB, STALE)


def test_the_age_of_a_lock_is_never_negative(layout: Layout, clock: Clock) -> None:
    """As in a container whose /run outlives its machine."""
    take(layout, ANN, STALE)
    clock.boot = 1
    with pytest.raises(Locked, match=r"\b0 seconds"):
        take(layout, BOB, STALE)


def test_a_run_with_a_running_step_is_alive_whatever_its_age(
    layout: Layout, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(layout, ANN, STALE)
    clock.advance(100)
    with at_work(layout, ANN.run) as step:
        clock.advance(STALE * 10)
        at_the_first_wait(monkeypatch, lambda: pytest.fail("it is refused at once"))
        with pytest.raises(Locked, match=r"ann@laptop, .* 18000 seconds"):
            take(layout, BOB, STALE)
        step.end()
        assert take(layout, BOB, STALE)


def test_the_lock_of_a_known_dead_run_is_taken_over_at_once(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    clock.advance(1)
    with pytest.raises(Locked):
        take(layout, BOB, STALE, instead_of="c0c0")
    assert take(layout, BOB, STALE, instead_of=ANN.run) == (
        "Took over the lock of a run that is dead: ann@laptop, since 2026-11-21 09:44:20 UTC,"
        " last step 1 seconds ago (process 4711)."
    )
    assert holder(layout).startswith("bob@desk, since 2026-11-21 09:44:21 UTC")


def test_the_last_step_of_a_dead_run_is_waited_for(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run) as step:
        at_the_first_wait(monkeypatch, step.end)
        assert take(layout, BOB, STALE, instead_of=ANN.run)
    assert holder(layout).startswith("bob@desk")


def test_the_last_step_of_a_dead_run_is_not_awaited_forever(layout: Layout, impatient: None) -> None:
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run), pytest.raises(Locked, match="ann@laptop"):
        take(layout, BOB, STALE, instead_of=ANN.run)
    assert holder(layout).startswith("ann@laptop")


# Its steps


def test_a_step_refreshes_the_lock_time(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    for _ in range(5):
        clock.advance(STALE - 1)
        with held(layout, ANN.run):
            pass
    clock.advance(STALE - 1)
    with pytest.raises(Locked, match=r"2026-11-21 09:44:20 UTC, .*\b1799 seconds"):
        take(layout, BOB, STALE)


def refused_step(layout: Layout) -> Finding:
    """Return the finding that stops a step of Ann's from starting."""
    with pytest.raises(Refused) as refused, held(layout, ANN.run):
        pytest.fail("it was begun")
    [finding] = refused.value.findings
    assert finding.subject == "shop"
    return finding


def test_a_step_without_its_lock_does_not_start(layout: Layout) -> None:
    take(layout, ANN, STALE)
    break_lock(layout)
    assert refused_step(layout).id == "lock-lost"
    assert holder(layout) == ""


def test_a_step_does_not_start_or_refresh_the_lock_of_another_run(layout: Layout, clock: Clock) -> None:
    take(layout, ANN, STALE)
    take(layout, BOB, STALE, instead_of=ANN.run)
    clock.advance(30)
    told = "bob@desk, since 2026-11-21 09:44:20 UTC, last step 30 seconds ago (process 42)"
    refusal = refused_step(layout)
    assert refusal.id == "lock-lost"
    assert told in refusal.what
    assert holder(layout) == told


def test_a_step_waits_for_the_one_before(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run) as before, ExitStack() as stack:
        at_the_first_wait(monkeypatch, before.end)
        stack.enter_context(held(layout, ANN.run))
        at_the_first_wait(monkeypatch, lambda: pytest.fail("it has the guard"))
        with pytest.raises(Locked):
            take(layout, BOB, STALE)


def test_a_step_does_not_start_while_another_is_running(layout: Layout, impatient: None) -> None:
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run):
        refusal = refused_step(layout)
    assert refusal.id == "locked"
    assert "ann@laptop" in refusal.what


@pytest.mark.parametrize("error", [GreenlightError("no"), KeyboardInterrupt()], ids=repr)
def test_a_failed_step_keeps_the_lock_and_releases_the_guard(
    layout: Layout, impatient: None, error: BaseException
) -> None:
    take(layout, ANN, STALE)
    with pytest.raises(type(error)), held(layout, ANN.run):
        raise error
    with held(layout, ANN.run):
        pass
    assert holder(layout).startswith("ann@laptop")


def test_a_killed_step_releases_the_guard(layout: Layout, impatient: None) -> None:
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run) as step:
        step.kill()
        assert take(layout, BOB, STALE, instead_of=ANN.run)
    with held(layout, BOB.run):
        pass


def test_a_program_that_outlives_its_step_counts_as_a_running_step(layout: Layout, clock: Clock) -> None:
    started = layout.root / "started"
    os.mkfifo(started)
    handle = os.open(started, os.O_RDWR)
    take(layout, ANN, STALE)
    program = 0
    with at_work(layout, ANN.run, lambda: run(["sh", "-c", f"echo $$ >{started}; exec sleep 100"])) as step:
        try:
            assert select.select([handle], [], [], 10)[0], "the program was not started"
            program = int(os.read(handle, 20))
            step.kill()
            clock.advance(STALE * 10)
            with pytest.raises(Locked, match="ann@laptop"):
                take(layout, BOB, STALE)
        finally:
            os.close(handle)
            if program:
                os.kill(program, signal.SIGKILL)
    assert take(layout, BOB, STALE, instead_of=ANN.run)


# Releasing or breaking it


def test_a_run_gives_back_its_own_lock(layout: Layout) -> None:
    take(layout, ANN, STALE)
    give_back(layout, ANN.run)
    assert holder(layout) == ""
    assert take(layout, BOB, STALE) == ""


def test_a_run_gives_back_only_its_own_lock(layout: Layout) -> None:
    give_back(layout, ANN.run)
    assert not layout.lock.parent.exists()
    take(layout, BOB, STALE)
    give_back(layout, ANN.run)
    assert holder(layout).startswith("bob@desk")


def test_a_lock_is_not_given_back_during_a_step(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    take(layout, ANN, STALE)
    seen = []
    with at_work(layout, ANN.run) as step:

        def look() -> None:
            seen.append(holder(layout))
            step.end()

        at_the_first_wait(monkeypatch, look)
        give_back(layout, ANN.run)
    assert [found[:10] for found in seen] == ["ann@laptop"]
    assert holder(layout) == ""


def test_a_run_waits_briefly_for_a_lock_that_is_being_given_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lock, "MOMENT_SECONDS", 2)
    take(layout, ANN, STALE)
    with at_work(layout, ANN.run, lambda: break_lock(layout)) as step:
        at_the_first_wait(monkeypatch, step.end)
        assert take(layout, BOB, STALE) == ""


def test_a_lock_can_be_broken_while_a_step_hangs(layout: Layout, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    take(layout, ANN, STALE)
    told = "ann@laptop, since 2026-11-21 09:44:20 UTC, last step 3 seconds ago (process 4711)"
    at_the_first_wait(monkeypatch, lambda: pytest.fail("nobody waits"))
    with at_work(layout, ANN.run):
        clock.advance(3)
        assert break_lock(layout) == told
        assert break_lock(layout) == ""
        # A hanging step may still change the host, so no other run may begin.
        with pytest.raises(Refused) as refused:
            take(layout, BOB, STALE)
        assert all_named(refused) == [("step-at-work", "shop")]
    assert take(layout, BOB, STALE) == ""


def test_breaking_a_lock_has_a_dry_run(layout: Layout, clock: Clock) -> None:
    assert break_lock(layout, dry=True) == ""
    assert not layout.lock.parent.exists()
    take(layout, ANN, STALE)
    before = layout.lock.read_bytes()
    clock.advance(3)
    assert "ann@laptop, since 2026-11-21 09:44:20 UTC, last step 3 seconds ago" in break_lock(layout, dry=True)
    assert layout.lock.read_bytes() == before
    with held(layout, ANN.run):
        pass
