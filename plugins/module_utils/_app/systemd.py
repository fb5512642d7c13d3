# SPDX-License-Identifier: GPL-3.0-or-later
"""Control and query systemd with systemctl(1), journalctl(1) and ss(8)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import discard, remove_empty_target

from .layout import RELEASE_ID, Layout

#: Seconds that systemctl may take in addition to the limits of the units.
GRACE_SECONDS = 30
#: Number of lines of a journal to read, and to show.
JOURNAL_LINES, SHOWN_LINES = 400, 40
#: Exit code of systemctl for an unknown unit, such as one that doesn't run and whose file is gone.
NOT_LOADED = 5
_MASTER_TRACEBACK = re.compile(
    r"(During handling of the above exception, another exception occurred:\n\n?)?"
    r"^Traceback \(most recent call last\):\n(?:[ ].*\n|\n)*gunicorn\.errors\.HaltServer.*\n?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Bounds:
    """How long stopping a release may take.

    Args:
        stop_seconds: seconds that systemd gives a release to finish its requests (TimeoutStopSec=).
        drain_seconds: seconds that the queue of a retiring socket may take to empty.
    """

    stop_seconds: float
    drain_seconds: float


@dataclass(frozen=True)
class UnitState:
    """The properties of a unit that decide whether a release runs (systemctl show)."""

    active: str
    sub: str
    restarts: int

    @property
    def is_active(self) -> bool:
        return self.active == "active"

    @property
    def is_running(self) -> bool:
        """Whether there is a process; False while systemd waits to restart it."""
        return self.active not in ("failed", "inactive") and self.sub != "auto-restart"


def state(unit: str) -> UnitState:
    """Return one unit's state; a unit that systemd doesn't know is ``inactive``."""
    names = ("ActiveState", "SubState", "NRestarts")
    done = run(["systemctl", "show", unit, *(f"--property={name}" for name in names)])
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return UnitState(
        active=values.get("ActiveState") or "inactive",
        sub=values.get("SubState", ""),
        restarts=int(values.get("NRestarts") or 0),
    )


def runs_since(service: str, restarts: int) -> bool:
    """Say whether the service runs and systemd has restarted it no more than ``restarts`` times."""
    now = state(service)
    return now.is_running and now.restarts <= restarts


def reload_units() -> None:
    require(["systemctl", "daemon-reload"], "systemctl daemon-reload")


def start(units: Sequence[str], seconds: float) -> bool:
    """Start ``units`` in systemd's order; say whether all of them came up. If one didn't, its journal says why."""
    return run(["systemctl", "start", *units], seconds=seconds + GRACE_SECONDS).code == 0


def ask_to_stop(units: Sequence[str]) -> None:
    """Let systemd stop ``units``; don't wait for it."""
    run(["systemctl", "stop", "--no-block", *units])


def stop(units: Sequence[str], seconds: float) -> None:
    """Stop ``units`` in order and reset their failed state. A unit that systemd doesn't know counts as stopped."""
    for unit in units:
        done = run(["systemctl", "stop", unit], seconds=seconds + GRACE_SECONDS)
        if done.code not in (0, NOT_LOADED):
            raise GreenlightError(f"systemctl stop {unit} failed (exit code {done.code}):\n{done.output}")
    run(["systemctl", "reset-failed", *units])


def enabled(layout: Layout) -> set[str]:
    """Return the releases with an enabled unit: those that a reboot would start."""
    found = (path.name for glob in layout.unit_globs for path in layout.units.glob(f"*.wants/{glob}"))
    return _releases_of(layout, found)


def starts_at_boot(layout: Layout, unit: str) -> bool:
    """Say whether a target has a link to the unit; systemd ignores anything but links there."""
    return any(path.is_symlink() for path in _wants(layout, unit))


def _wants(layout: Layout, unit: str) -> list[Path]:
    """Return the unit's entries in the ``.wants`` directories of targets: links, even dangling ones."""
    paths = (directory / unit for directory in layout.units.glob("*.wants"))
    return [path for path in paths if os.path.lexists(path)]


def enable(layout: Layout, units: Sequence[str]) -> None:
    for unit in units:
        for path in _wants(layout, unit):
            remove_empty_target(path)
    # systemd reads the links at boot, so a reload, which takes half a second, isn't needed.
    require(["systemctl", "enable", "--quiet", "--no-reload", *units], f"systemctl enable {' '.join(units)}")


def disable(layout: Layout, units: Sequence[str]) -> None:
    run(["systemctl", "disable", "--quiet", "--no-reload", *units])
    # It fails for a unit whose file is gone or unreadable, but a reboot would still start it.
    for unit in units:
        for path in _wants(layout, unit):
            discard(path)


def loaded(layout: Layout) -> set[str]:
    """Return the releases that have a unit which is running, starting, stopping or failed."""
    patterns = layout.units_of("*")
    done = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", *patterns])
    rows = (line.split() for line in done.stdout.splitlines())  # unit, load, active, sub, description
    return _releases_of(layout, (row[0] for row in rows if row[2:] and row[2] != "inactive"))


def slices_of(layout: Layout) -> list[str]:
    """Return the slices that systemd makes for the instances of the app's units (systemd.slice(5))."""
    names = [glob.partition("@")[0].replace("-", r"\x2d") for glob in layout.unit_globs]
    return [f"system-{name}.slice" for name in names]


def memory_events(unit: str, root: Path = Path("/")) -> list[str]:
    """Return how often the unit's processes reached their memory limit or were killed for it, if the kernel counts.

    Lines look like ``memory.events: oom_kill 2`` (cgroup v2). Leave out zeros; after the unit's end there are none.
    """
    place = run(["systemctl", "show", unit, "--property=ControlGroup", "--value"]).stdout.strip()
    try:
        counted = (root / f"sys/fs/cgroup{place}/memory.events").read_text(encoding="ascii")
    except OSError:
        return []
    return [f"memory.events: {line}" for line in counted.splitlines() if place and not line.endswith(" 0")]


def journal(unit: str, lines: int = SHOWN_LINES) -> list[str]:
    """Return the newest non-empty ``lines`` of the unit's journal, without times and names.

    Leave out the traceback of Gunicorn's master after a worker failed to boot: it would bury the worker's own.
    """
    options = [f"--lines={JOURNAL_LINES}", "--output=cat", "--no-pager", "--quiet"]
    said = run(["journalctl", f"--unit={unit}", *options]).stdout
    said = _MASTER_TRACEBACK.sub("", said)
    return [line.rstrip() for line in said.splitlines() if line.strip()][-lines:]


def waiting_connections(path: Path) -> int:
    """Return how many connections wait in the listening unix socket's queue (ss, column Recv-Q)."""
    done = run(["ss", "-xlH"])
    for line in done.stdout.splitlines():
        columns = line.split()
        if columns[4:5] == [str(path)]:
            return int(columns[2])
    return 0


def wait_until_queue_is_empty(path: Path, seconds: float) -> float:
    """Wait until the socket's queue is empty, at most ``seconds``; return the seconds it took."""
    began = time.monotonic()
    while waiting_connections(path) > 0 and time.monotonic() - began < seconds:
        time.sleep(0.05)
    return time.monotonic() - began


def _releases_of(layout: Layout, units: Iterable[str]) -> set[str]:
    pattern = re.compile(layout.unit_name)
    names = (match.group(1) for match in map(pattern.fullmatch, units) if match)
    return {name for name in names if RELEASE_ID.match(name)}
