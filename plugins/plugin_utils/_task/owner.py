# SPDX-License-Identifier: GPL-3.0-or-later
"""Identify this run for the lock on the hosts, and check whether another run from this machine still lives."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Instead of a start time: the process has ended, but its parent has not reaped it yet.
ENDED = "ended"


def owner(by: str) -> dict[str, Any]:
    """Describe the run that this worker process belongs to, see :class:`Owner` of the lock."""
    # Not getppid(): a worker whose run was just killed has a new, living parent.
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent and parent.pid else os.getppid()
    place, started = _place(), _started(pid)
    run = hashlib.sha256(f"{place} {pid} {started}".encode()).hexdigest()[:12]
    return {"run": run, "by": by, "place": place, "pid": pid, "started": started}


def is_dead(other: Mapping[str, Any]) -> bool:
    """Return whether the run's process is known to be gone. False on other machines, which can't be checked."""
    if other["place"] != _place():
        return False
    pid = int(other["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # exists, and belongs to somebody else
        return False
    now = _started(pid)
    return now == ENDED or bool(now and other["started"] and now != other["started"])


def execute_with_lock(execute: Callable[[dict[str, Any]], dict[str, Any]], by: str) -> dict[str, Any]:
    """Run a module that takes the lock for this run, and take the lock over from a dead run of this machine.

    ``execute`` gets the arguments for the lock. If the module gets the lock, its result also has ``run``.
    """
    mine = owner(by)
    outcome = execute({"owner": mine})
    other = outcome.get("locked")
    if other and is_dead(other):
        outcome = execute({"owner": mine, "instead_of": other["run"]})
    return outcome if outcome.get("failed") else {**outcome, "run": mine["run"]}


def _place() -> str:
    """Return this machine's boot and process namespace, within which a process id is unique."""
    parts = [platform.node()]
    with suppress(OSError):  # not Linux: the machine's name must suffice
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """Return a process's start time in ticks (proc(5)) or in ps(1)'s format; empty if it is unknown."""
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        pass
    else:
        return ENDED if state in "ZX" else fields[18]
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(done.stdout.split())
