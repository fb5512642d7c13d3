# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program like a release's own process: with its environment file, account, limits and sandbox.

systemd-run(1) gets the settings of the release's unit and drop-in, without those that make it a server.
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

#: Settings of a server: start, readiness, restart, stop and output.
_OF_A_SERVER = re.compile(
    r"(Type|Exec(Start|Stop|Reload|Condition)\w*|Restart\w*|KillMode|NotifyAccess|Watchdog\w+|Timeout\w+|RuntimeMaxSec|OOMPolicy|Standard\w+)="
)

#: Specifiers that are the same for all units (systemd.unit(5)).
_PLACES = {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "T": "/tmp", "V": "/var/tmp"}  # noqa: S108


@dataclass(frozen=True)
class Ended:
    """How the program ended: whether it succeeded, systemd's description, and the end of its journal."""

    well: bool
    how: str
    journal: list[str]


def settings(layout: Layout, release: str, unit: str) -> list[str]:
    """Return the release's unit settings for ``unit`` as ``Name=value``, in the order in which systemd reads them."""
    lines = (line.strip() for path in layout.settings_files(release) for line in _service_section(path))
    wanted = (
        line for line in lines if "=" in line and not line.startswith(("#", ";")) and not _OF_A_SERVER.match(line)
    )
    # systemd removes this directory when the unit ends, so it must not be the one that the running release uses.
    own = f"RuntimeDirectory={layout.app}/{unit.removesuffix('.service')}"
    mine = (own if line.startswith("RuntimeDirectory=") else line for line in wanted)
    # systemd expands no specifiers in the properties of systemd-run.
    known = {"%": "%", "i": release, "p": layout.app, "d": credentials.place(unit), **_PLACES}
    return [re.sub("%(.)", lambda found: known.get(found[1], found[0]), line) for line in mine]


def run_in_release(layout: Layout, release: str, unit: str, argv: Sequence[str | Path], seconds: float) -> Ended:
    """Run ``argv`` under the name ``unit`` for at most ``seconds``, and wait until it ends.

    If it still runs under this name, as after a killed run, wait for that first: it never runs twice at once.

    Raises:
        GreenlightError: the earlier one did not end within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while systemd.state(unit).is_running:
        if time.monotonic() > deadline:
            raise GreenlightError(
                f"{unit} of an earlier run is still running on this host. Check it with: systemctl status {unit}"
            )
        time.sleep(0.5)
    options = [*_options(layout, release, unit, seconds), "--service-type=exec"]
    done = run(["systemd-run", *options, *argv], seconds=seconds + systemd.GRACE_SECONDS)
    return Ended(done.code == 0, _outcome(done), systemd.journal(unit))


def ask_in_release(
    layout: Layout, release: str, unit: str, argv: Sequence[str | Path], *, given: str, seconds: float
) -> Finished:
    """Run ``argv`` under the name ``unit`` for at most ``seconds``, with ``given`` as its standard input.

    Return its output, which doesn't go to the journal.
    """
    if systemd.state(unit).is_running:  # left by a killed run
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
    """Return how it ended, in systemd's words."""
    found = re.findall(r"^(?:Finished with result|Main processes terminated with): (.*)$", done.stderr, re.MULTILINE)
    return ", ".join(found) or done.output


def _service_section(path: Path) -> Iterator[str]:
    section = ""
    for line in (readable(path) or "").splitlines():
        if line.startswith("["):
            section = line.strip()
        elif section == "[Service]":
            yield line
