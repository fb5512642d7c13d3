# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of one app on one host: who deploys, since when, and whether that run is still alive.

It is in /run, so a reboot removes it together with all runs. It has two files: the record names the owner. The guard is
locked with flock(2) during a step, by the step and by every program it started, so that a step that outlives its run
is noticed, too. The record changes only under the guard.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
    HeldElsewhere,
    discard,
    exclusively,
    is_ours,
    kind,
    read_facts,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, Refused, refused

from .layout import Layout

#: Seconds to wait for the last step of a run that is known to be dead.
WAIT_SECONDS = 60
#: Seconds to wait for any other run: taking or releasing the lock takes milliseconds, but a step may take long.
MOMENT_SECONDS = 2
#: The fields of a record.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "run": str, "by": str, "place": str, "pid": int, "started": str, "since": str, "step": (int, float),
}  # fmt: skip


@dataclass(frozen=True)
class Owner:
    """A run of a play: a process on a controller.

    Args:
        run: its id, the same for all tasks of the run.
        by: who started it, for people.
        place: where ``pid`` is valid: one boot and process namespace of one machine.
        pid: of the process.
        started: when that process started, as its machine writes it, to tell it from a later process with its pid.
    """

    run: str
    by: str
    place: str
    pid: int
    started: str


class Locked(Refused):
    """Another run holds the lock; the detail ``locked`` is its :class:`Owner` as a dictionary."""

    def __init__(self, app: str, owner: Owner, record: Mapping[str, Any]) -> None:
        what = f"Another run is at work on {app} here: {_described(record)}."
        fix = (
            "Wait until it ends. If you know that it is dead, break its lock: ansible-playbook -i <inventory>"
            " playbooks/unlock.yml"
        )
        super().__init__(Finding("locked", ERROR, app, what, fix), details={"locked": asdict(owner)})


def take(layout: Layout, owner: Owner, stale_seconds: float, *, instead_of: str = "") -> str:
    """Take the lock for ``owner``; return a sentence about the lock that it replaced, or an empty text.

    Args:
        stale_seconds: a run that takes no step for this long counts as dead.
        instead_of: id of a run that the controller knows to be dead.

    Raises:
        Locked: another run holds it.
    """
    with _guard(layout, WAIT_SECONDS if instead_of else MOMENT_SECONDS):
        record = _record(layout)
        held, found = _owner(record), _damaged_record(layout)
        note = ""
        if held and held.run != owner.run:
            if held.run != instead_of and _age(record) < stale_seconds:
                raise Locked(layout.app, held, record)
            note = f"Took over the lock of a run that is dead: {_described(record)}."
        elif not held and found:
            # If a run held it, its next step finds another run's lock and stops.
            note = f"Replaced the damaged lock {found.path}: {found.why}."
        since = record["since"] if held and held.run == owner.run else _now()
        _write(layout, {**asdict(owner), "since": since})
    return note


@contextmanager
def held(layout: Layout, run: str) -> Iterator[None]:
    """Hold the guard during one step of ``run``.

    Raises:
        Refused: this run no longer has the lock.
    """
    with _guard(layout, WAIT_SECONDS):
        record = _record(layout)
        if record.get("run") != run:
            now = f"it belongs to {_described(record)}" if record else "it is gone (did this host reboot?)"
            now = f"it was damaged ({found.why})" if (found := _damaged_record(layout)) else now
            what = f"This run has lost its lock on {layout.app}: {now}. Nothing more was changed."
            raise refused("lock-lost", layout.app, what, "Run the play again.")
        _write(layout, record)
        try:
            yield
        finally:
            # The step may have taken longer than ``stale_seconds``, so renew the lock, unless it was broken meanwhile.
            if _record(layout).get("run") == run:
                _write(layout, record)


def give_back(layout: Layout, run: str, *, done: bool = False) -> None:
    """Release the lock if this run has it.

    Args:
        done: the run is complete, and so is a rollback that it began.
    """
    if layout.lock.exists():
        with _guard(layout, WAIT_SECONDS):
            if _record(layout).get("run") == run:
                if done:
                    discard(layout.rollback)
                discard(layout.lock)


def holder(layout: Layout) -> str:
    """Return who holds the lock, or an empty text."""
    return str(_record(layout).get("by", ""))


def break_lock(layout: Layout, *, dry: bool = False) -> str:
    """Take the lock from its owner; return who that was, or an empty text. With ``dry``, only report.

    Don't take the guard: this must also work while a step of a dead run hangs.
    """
    record = _record(layout)
    found = _damaged_record(layout)
    was = _described(record) if _owner(record) else ""
    if found:
        was = f"unknown, because {found.path} was damaged: {found.why}"
    if was and not dry:
        discard(layout.lock)
    return was


def damage(layout: Layout) -> Damaged | None:
    """Return what is wrong with the lock's files, or None."""
    guard = layout.lock.with_suffix(".guard")
    for path, mode, is_one in ((layout.lock.parent, 0o755, stat.S_ISDIR), (guard, 0o600, stat.S_ISREG)):
        if os.path.lexists(path):
            status = path.lstat()
            if not is_one(status.st_mode):
                return Damaged(path, f"it is {kind(status.st_mode)}")
            if stat.S_IMODE(status.st_mode) != mode or not is_ours(status):
                return Damaged(path, f"it must belong to root with mode {mode:04o}")
    return _damaged_record(layout)


def _damaged_record(layout: Layout) -> Damaged | None:
    try:
        record = read_facts(layout.lock)
    except Damaged as found:
        return found
    return None if record is None or _is_valid_record(record) else Damaged(layout.lock, "it was edited")


def _described(record: Mapping[str, Any]) -> str:
    ago = f"{_age(record):.0f} seconds ago"
    return f"{record.get('by')}, since {record.get('since')}, last step {ago} (process {record.get('pid')})"


@contextmanager
def _guard(layout: Layout, seconds: float) -> Iterator[None]:
    try:
        if layout.lock.parent.is_symlink():
            raise Damaged(layout.lock.parent, "it is a link, not a directory")
        with exclusively(layout.lock.with_suffix(".guard"), seconds):
            yield
    except HeldElsewhere:
        raise _busy(layout) from None


def _busy(layout: Layout) -> Refused:
    record = _record(layout)
    owner = _owner(record)
    if owner:
        return Locked(layout.app, owner, record)
    what = f"A step of another run is still working on {layout.app}."
    return refused("step-at-work", layout.app, what, "Wait until it ends, and run again.")


def _record(layout: Layout) -> dict[str, Any]:
    """Return the record, empty if there is no valid one."""
    try:
        found = read_facts(layout.lock) or {}
    except Damaged:
        return {}
    return found if _is_valid_record(found) else {}


def _is_valid_record(record: Mapping[str, Any]) -> bool:
    return all(isinstance(record.get(name), types) for name, types in _TYPES.items())


def _write(layout: Layout, record: Mapping[str, Any]) -> None:
    write(layout.lock, json.dumps({**record, "step": _clock()}) + "\n", 0o600)


def _owner(record: Mapping[str, Any]) -> Owner | None:
    try:
        return Owner(**{name: record[name] for name in Owner.__dataclass_fields__})
    except KeyError:
        return None


def _age(record: Mapping[str, Any]) -> float:
    """Return the seconds since the owner's last step."""
    return max(0.0, _clock() - float(record.get("step", 0)))


def _clock() -> float:
    # Not the time of day, which somebody may set during a run.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
