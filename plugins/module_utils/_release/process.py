# SPDX-License-Identifier: GPL-3.0-or-later
"""A running process as the kernel shows it (proc(5)), and as its release defines it.

Values of variables are compared by keyed hash and never returned: callers only get names.
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

#: Variables that systemd itself passes to a service's process, depending on its version (systemd.exec(5), "Environment
#: variables set or propagated by the service manager", up to 257) and on settings of the unit. If the release sets one
#: of them, it is still compared.
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
#: Gunicorn's process title if the package setproctitle is installed. The title overwrites the command line and the
#: environment that the kernel shows.
TITLE = "gunicorn: "
#: Suffix by which the kernel marks a program that was replaced while it ran.
DELETED = " (deleted)"


@dataclass(frozen=True)
class Running:
    """A process.

    Args:
        argv: its command line.
        program: path of its executable; empty if the kernel doesn't show it.
        environment: the variables that it was started with.
    """

    argv: list[str]
    program: str
    environment: Mapping[str, str]

    @property
    def titled(self) -> bool:
        """Whether it has overwritten its command line with a title."""
        return bool(self.argv) and self.argv[0].startswith(TITLE)


@dataclass(frozen=True)
class Declared:
    """The variables that a release's process should have.

    Args:
        values: by name; None if only systemd knows the value.
        more: whether the release's own settings add others (EnvironmentFile=, PassEnvironment=).
    """

    values: Mapping[str, str | None]
    more: bool = False


@dataclass(frozen=True)
class Mismatch:
    """Names of the variables in which two environments differ."""

    changed: list[str]
    missing: list[str]
    extra: list[str]


def look(root: Path, pid: int) -> Running | None:
    """Read a process; return None if there is none, for example because it has just ended."""
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
    """Read the variables of a process of ``release`` from the unit, its drop-ins and the environment file.

    Raises:
        Damaged: the environment file can't be parsed.
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
    # systemd.exec(5): the file overrides Environment=.
    values.update(environment_of(layout, release))
    return Declared(values, more)


def command_line(layout: Layout, release: str, process: Process = WEB) -> list[str]:
    """Return the command line in the unit of a release (ExecStart=)."""
    found = ""
    for name, value in _service_settings(layout, release, process):
        found = value if name == "ExecStart" else found
    return shlex.split(found.replace("%i", release))


def compare(key: bytes, wanted: Mapping[str, str | None], got: Mapping[str, str]) -> Mismatch:
    """Compare values by keyed hash; a wanted value of None matches any."""
    known = {name: _fingerprint(key, name, value) for name, value in wanted.items() if value is not None}
    seen = {name: _fingerprint(key, name, value) for name, value in got.items()}
    return Mismatch(
        changed=sorted(name for name in known.keys() & seen.keys() if known[name] != seen[name]),
        missing=sorted(wanted.keys() - seen.keys()),
        extra=sorted(seen.keys() - wanted.keys()),
    )


def compare_process(key: bytes, wanted: Declared, process: Running) -> Mismatch | None:
    """Compare a process's environment with its release's; return None if the kernel no longer shows it."""
    if process.titled and not wanted.values.keys() & process.environment.keys():
        return None
    found = compare(key, wanted.values, process.environment)
    extra = [] if wanted.more else [name for name in found.extra if not OF_SYSTEMD.match(name)]
    return Mismatch(found.changed, found.missing, extra)


def _fingerprint(key: bytes, name: str, value: str) -> str:
    return keyed_digest(key, {name: value})


def _words(path: Path) -> list[str]:
    """Split a file of NUL-terminated words; file names and values may not be UTF-8."""
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
    """Parse a value of Environment=; only systemd can resolve escapes, and specifiers other than the instance."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    for name, equals, raw in (word.partition("=") for word in words):
        value = raw.replace("%%", "\0").replace("%i", release)
        if equals:
            yield name, None if "%" in value or "\\" in text else value.replace("\0", "%")


def _is(value: str, path: str, release: str) -> bool:
    """Say whether a setting names ``path``; in tests, everything is below another root."""
    return path.endswith(value.lstrip("-").replace("%i", release))
