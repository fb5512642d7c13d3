# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program as a release's own process runs: its environment file, account, limits and sandbox.

systemd-run(1) gets the settings of the release's unit and drop-in, less those that make it a server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import readable

from . import credentials, systemd
from .layout import Layout

#: Settings of a server: how it starts, says that it is ready, comes back and ends, and where its output goes.
_OF_A_SERVER = re.compile(
    r"(Type|Exec(Start|Stop|Reload|Condition)\w*|Restart\w*|KillMode|NotifyAccess|Watchdog\w+|Timeout\w+|RuntimeMaxSec|OOMPolicy|Standard\w+)="
)

#: Specifiers that are the same for all units (systemd.unit(5)).
_PLACES = {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "T": "/tmp", "V": "/var/tmp"}  # noqa: S108


@dataclass(frozen=True)
class Ended:
    """How the program ended: whether well, how in systemd's words, and what its journal ends with."""

    well: bool
    how: str
    journal: list[str]


def settings(layout: Layout, release: str, unit: str) -> list[str]:
    """Return the release's unit settings as ``Name=value``, in the order in which systemd reads them, for ``unit``."""
    lines = (line.strip() for path in layout.settings_files(release) for line in _service_section(path))
    wanted = (
        line for line in lines if "=" in line and not line.startswith(("#", ";")) and not _OF_A_SERVER.match(line)
    )
    # systemd removes it when this unit ends, so it isn't the one that the release uses meanwhile.
    own = f"RuntimeDirectory={layout.app}/{unit.removesuffix('.service')}"
    mine = (own if line.startswith("RuntimeDirectory=") else line for line in wanted)
    # Of what systemd-run is given, systemd expands nothing.
    known = {"%": "%", "i": release, "p": layout.app, "d": credentials.place(unit), **_PLACES}
    return [re.sub("%(.)", lambda found: known.get(found[1], found[0]), line) for line in mine]


def run_in_release(layout: Layout, release: str, unit: str, argv: Sequence[str | Path], seconds: float) -> Ended:
    """Run ``argv`` under the name ``unit`` for at most ``seconds``, and wait for its end.

    One that still runs under this name, as after a killed run, is waited for first: it is never run twice at once.

    Raises:
        GreenlightError: the one before did not end within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while systemd.state(unit).is_running:
        if time.monotonic() > deadline:
            raise GreenlightError(
                f"{unit} still runs on this host, started by an earlier run. Look at it with: systemctl status {unit}"
            )
        time.sleep(0.5)
    options = [*_options(layout, release, unit, seconds), "--service-type=exec"]
    done = run(["systemd-run", *options, *argv], seconds=seconds + systemd.GRACE_SECONDS)
    return Ended(done.code == 0, _outcome(done), systemd.journal(unit))


def ask_in_release(
    layout: Layout, release: str, unit: str, argv: Sequence[str | Path], *, given: str, seconds: float
) -> Finished:
    """Run ``argv`` under the name ``unit`` for at most ``seconds``, with ``given`` as its standard input.

    What it prints comes to us and not into the journal.
    """
    if systemd.state(unit).is_running:  # of a run that was killed
        systemd.stop([unit], seconds)
    options = [*_options(layout, release, unit, seconds), "--pipe", "--quiet"]
    return run(["systemd-run", *options, *argv], seconds=seconds + systemd.GRACE_SECONDS, given=given)


def _options(layout: Layout, release: str, unit: str, seconds: float) -> list[str]:
    properties = [
        *settings(layout, release, unit),
        f"RuntimeMaxSec={seconds:g}",
    ]
    options = ["--wait", "--collect", f"--unit={unit}", f"--description=Flask app {layout.app}"]
    return [*options, *(f"--property={line}" for line in properties)]


def _outcome(done: Finished) -> str:
    """How it ended, in systemd's words."""
    told = re.findall(r"^(?:Finished with result|Main processes terminated with): (.*)$", done.stderr, re.MULTILINE)
    return ", ".join(told) or done.output


def _service_section(path: Path) -> Iterator[str]:
    section = ""
    for line in (readable(path) or "").splitlines():
        if line.startswith("["):
            section = line.strip()
        elif section == "[Service]":
            yield line
