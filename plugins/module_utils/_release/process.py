# SPDX-License-Identifier: GPL-3.0-or-later
"""A running process as the kernel shows it (proc(5)), and what its release says that it must be.

Values of variables are compared by keyed hash and never returned: who asks learns names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import keyed_digest
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import readable

from .store import environment_of

#: What systemd itself hands to a service's process, depending on its version (systemd.exec(5), "Environment variables
#: set or propagated by the service manager", up to 257) and on settings of the unit. One that the release sets is
#: compared all the same.
OF_SYSTEMD = re.compile(
    r"""
    (
        PATH | LANG | LANGUAGE | LC_[A-Z]+ | USER | LOGNAME | HOME | SHELL | TERM
        | INVOCATION_ID | DEBUG_INVOCATION | SYSTEMD_EXEC_PID | SYSTEMD_NSS_\w+ | MAINPID(FDID)? | MANAGERPID(FDID)?
        | PIDFILE | XDG_RUNTIME_DIR | (RUNTIME|STATE|CACHE|LOGS|CONFIGURATION|CREDENTIALS)_DIRECTORY
        | LISTEN_(FDS|PID|PIDFDID|FDNAMES) | FDSTORE | NOTIFY_SOCKET | WATCHDOG_(PID|USEC)
        | JOURNAL_STREAM | LOG_NAMESPACE | MEMORY_PRESSURE_(WATCH|WRITE) | REMOTE_(ADDR|PORT)
        | SERVICE_RESULT | EXIT_(CODE|STATUS) | (MONITOR|TRIGGER)_[A-Z_]+
    )\Z
    """,
    re.VERBOSE,
)
#: How Gunicorn calls itself where the package setproctitle is installed. The title is written over the command line
#: and the environment that the kernel shows.
TITLE = "gunicorn: "
#: The kernel's mark on a program that was replaced while it ran.
DELETED = " (deleted)"


@dataclass(frozen=True)
class Running:
    """A process.

    Args:
        argv: its command line.
        program: path of the file that it runs; empty where the kernel doesn't say.
        environment: the variables that it was started with.
    """

    argv: list[str]
    program: str
    environment: Mapping[str, str]

    @property
    def titled(self) -> bool:
        """Whether it has written a title of its own over its command line."""
        return bool(self.argv) and self.argv[0].startswith(TITLE)


@dataclass(frozen=True)
class Declared:
    """The variables that a release's process is to have.

    Args:
        values: by name; None where only systemd can tell the value.
        more: whether the release's own settings let others in (EnvironmentFile=, PassEnvironment=).
    """

    values: Mapping[str, str | None]
    more: bool = False


@dataclass(frozen=True)
class Mismatch:
    """Names of the variables that two environments don't share."""

    changed: list[str]
    missing: list[str]
    extra: list[str]


def look(root: Path, pid: int) -> Running | None:
    """Read a process; None where there is none, as when it has just ended."""
    place = root / "proc" / str(pid)
    try:
        argv = _words(place / "cmdline")
        pairs = (word.partition("=") for word in _words(place / "environ") if "=" in word)
        environment = {name: value for name, _, value in pairs}
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        program = str((place / "exe").readlink())
    except OSError:
        program = ""
    return Running(argv, program, environment)


def declared(layout: Layout, release: str, process: Process = WEB) -> Declared:
    """Read from the unit, its drop-ins and the environment file what a process of ``release`` is to have.

    Raises:
        Damaged: the environment file can't be read as one.
    """
    values: dict[str, str | None] = {}
    more = False
    own = str(layout.environment_file(release))
    for name, value in _service_settings(layout, release, process):
        if name == "Environment":
            values.update(_assignments(value, release))
            if not value:
                values.clear()
        elif name == "PassEnvironment" or (name == "EnvironmentFile" and value and not _is(value, own, release)):
            more = True
    # systemd.exec(5): what is in the file counts, whatever Environment= says.
    values.update(environment_of(layout, release))
    return Declared(values, more)


def command_line(layout: Layout, release: str, process: Process = WEB) -> list[str]:
    """The words that the unit of a release starts its process with (ExecStart=)."""
    found = ""
    for name, value in _service_settings(layout, release, process):
        found = value if name == "ExecStart" else found
    return shlex.split(found.replace("%i", release))


def compare(key: bytes, wanted: Mapping[str, str | None], got: Mapping[str, str]) -> Mismatch:
    """Compare by keyed hash; a wanted value of None is equal to any."""
    known = {name: _fingerprint(key, name, value) for name, value in wanted.items() if value is not None}
    seen = {name: _fingerprint(key, name, value) for name, value in got.items()}
    return Mismatch(
        changed=sorted(name for name in known.keys() & seen.keys() if known[name] != seen[name]),
        missing=sorted(wanted.keys() - seen.keys()),
        extra=sorted(seen.keys() - wanted.keys()),
    )


def compare_process(key: bytes, wanted: Declared, process: Running) -> Mismatch | None:
    """Compare a process's environment with its release's; None where the kernel doesn't show it any more."""
    if process.titled and not wanted.values.keys() & process.environment.keys():
        return None
    found = compare(key, wanted.values, process.environment)
    extra = [] if wanted.more else [name for name in found.extra if not OF_SYSTEMD.match(name)]
    return Mismatch(found.changed, found.missing, extra)


def _fingerprint(key: bytes, name: str, value: str) -> str:
    return keyed_digest(key, {name: value})


def _words(path: Path) -> list[str]:
    """Split what the kernel ends with NUL each; file names and values may be no UTF-8."""
    return [os.fsdecode(word) for word in path.read_bytes().split(b"\0") if word]


def _service_settings(layout: Layout, release: str, process: Process) -> Iterator[tuple[str, str]]:
    """Yield the settings of the Service section of a process's unit and drop-ins, in systemd's order."""
    for path in layout.settings_files(release, process):
        section = ""
        for line in (readable(path) or "").splitlines():
            if line.startswith("["):
                section = line.strip()
            elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
                name, _, value = line.partition("=")
                yield name.strip(), value.strip()


def _assignments(text: str, release: str) -> Iterator[tuple[str, str | None]]:
    """Read the value of Environment=; specifiers other than the instance, and escapes, only systemd resolves."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    for name, equals, raw in (word.partition("=") for word in words):
        value = raw.replace("%%", "\0").replace("%i", release)
        if equals:
            yield name, None if "%" in value or "\\" in text else value.replace("\0", "%")


def _is(value: str, path: str, release: str) -> bool:
    """Say whether a setting names ``path``; in a test all is below another root."""
    return path.endswith(value.lstrip("-").replace("%i", release))
