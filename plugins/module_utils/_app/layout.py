# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of one app on a server (docs/explanation/protocol.md says why). No other module makes up a path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .processes import DROP_IN, PROCESSES, WEB, Process

#: Also the name of an account, a unit and a directory below /etc; the account has the strictest rule (useradd(8)).
APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
#: ``<UTC time>-<short digest>``, as in ``20261121T094420Z-1a2b3c4d``.
RELEASE_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")

_ENVIRONMENT_NAME = re.compile(r"\S{1,100}\Z")


def is_environment_name(name: str) -> bool:
    """Say whether an environment may have this name: one word, with which a host can be stamped."""
    return bool(_ENVIRONMENT_NAME.match(name)) and name.isprintable()


def release_of(unit: str) -> str:
    """Return the release in the name of a unit, or of a file or directory named after one; empty if there is none."""
    return unit.partition("@")[2].partition(".")[0]


@dataclass(frozen=True)
class Layout:
    """The paths and unit names of one app.

    Args:
        app: the app's name; matches :data:`APP_NAME`.
        root: ``/`` on a server; a temporary directory in tests.
        processes: all that a release of the app may have.
    """

    app: str
    root: Path = Path("/")
    processes: tuple[Process, ...] = PROCESSES

    @cached_property
    def etc(self) -> Path:
        return self.root / "etc" / self.app

    @cached_property
    def environment_id(self) -> Path:
        """The stamp: the environment that this host belongs to. Its presence says that the app is ours."""
        return self.etc / "environment-id"

    @cached_property
    def made(self) -> Path:
        """The record of what the role made under the app's name; a removal removes nothing else."""
        return self.etc / "made.json"

    @cached_property
    def digest_key(self) -> Path:
        """Key of the keyed hash over environments (32 bytes, root only), so that a digest reveals no secret."""
        return self.etc / "digest.key"

    @cached_property
    def tls(self) -> Path:
        """The app's own certificates, one directory each."""
        return self.etc / "tls"

    @cached_property
    def certificate(self) -> Path:
        """Link to the directory of the certificate that Nginx serves."""
        return self.tls / "live"

    @cached_property
    def environment_files(self) -> Path:
        return self.etc / "releases"

    def environment_file(self, release: str) -> Path:
        return self.environment_files / f"{release}.env"

    def credentials(self, release: str) -> Path:
        """The directory with the release's credentials, one file each; missing if it has none."""
        return self.environment_files / f"{release}.credentials"

    @cached_property
    def srv(self) -> Path:
        return self.root / "srv" / self.app

    @cached_property
    def sources(self) -> Path:
        return self.srv / "sources"

    @cached_property
    def git(self) -> Path:
        """Cache of the git repositories that the source comes from."""
        return self.srv / "git"

    @cached_property
    def venvs(self) -> Path:
        return self.srv / "venvs"

    @cached_property
    def releases(self) -> Path:
        return self.srv / "releases"

    def release(self, release: str) -> Path:
        return self.releases / release

    @cached_property
    def live(self) -> Path:
        """Link to the live release, for people and programs that read files; traffic follows :attr:`live_socket`."""
        return self.srv / "live"

    @cached_property
    def live_socket(self) -> Path:
        """Link to the live release's socket: replacing it is the switch."""
        return self.srv / "live.sock"

    @cached_property
    def candidate_socket(self) -> Path:
        """Link to the candidate's socket, while it is proved through Nginx."""
        return self.srv / "candidate.sock"

    @cached_property
    def rehearsal(self) -> Path:
        """Part of an Nginx map: the header value that routes a request to the candidate (32 hex digits)."""
        return self.etc / "rehearsal.map"

    @cached_property
    def site_marker(self) -> Path:
        """Marks that Nginx was seen to serve the app's current site."""
        return self.root / "var/lib/greenlight/nginx" / f"{self.app}.json"

    @cached_property
    def previous(self) -> Path:
        return self.srv / "previous"

    @cached_property
    def trial(self) -> Path:
        """Contains the id of a release that has the traffic but was not proved at the front door yet."""
        return self.srv / "trial"

    @cached_property
    def rollback(self) -> Path:
        """Contains the id of the release that a rollback goes to, until the rollback is done."""
        return self.srv / "rollback"

    @cached_property
    def ledger(self) -> Path:
        return self.srv / "ledger.jsonl"

    @cached_property
    def state(self) -> Path:
        """The one directory the app may write (StateDirectory=)."""
        return self.root / "var/lib" / self.app

    @cached_property
    def cache(self) -> Path:
        """Exists only if the app's settings request it from systemd (CacheDirectory=)."""
        return self.root / "var/cache" / self.app

    @cached_property
    def logs(self) -> Path:
        """Exists only if the settings have LogsDirectory=; see :attr:`cache`."""
        return self.root / "var/log" / self.app

    @cached_property
    def runtime_root(self) -> Path:
        return self.root / "run" / self.app

    @cached_property
    def lock(self) -> Path:
        """Says which run is working here; in /run, so that a reboot removes it."""
        return self.root / "run/greenlight" / f"{self.app}.lock"

    def socket(self, release: str) -> Path:
        return self.runtime_root / f"{release}.sock"

    def runtime(self, release: str, process: Process = WEB) -> Path:
        """The directory that systemd makes for a process at each start and removes at its end (RuntimeDirectory=)."""
        return self.runtime_root / f"{release}{process.infix}"

    @cached_property
    def units(self) -> Path:
        return self.root / "etc/systemd/system"

    def unit(self, release: str, kind: str, process: Process = WEB) -> str:
        """The name of a unit; releases share no template."""
        return f"{self.app}{process.infix}@{release}.{kind}"

    def service_unit(self, release: str, process: Process = WEB) -> str:
        """The service of a process."""
        return self.unit(release, "service", process)

    def socket_unit(self, release: str) -> str:
        """The socket that accepts requests."""
        return self.unit(release, "socket")

    @cached_property
    def unit_globs(self) -> list[str]:
        """Shell patterns that match the names of all units of all releases."""
        return [f"{self.app}{process.infix}@*" for process in self.processes]

    @cached_property
    def unit_name(self) -> str:
        """A regular expression that matches the same names; its only group is the release."""
        names = "|".join(re.escape(f"{self.app}{process.infix}") for process in self.processes)
        kinds = "|".join(sorted({kind for process in self.processes for kind in process.units}))
        return rf"(?:{names})@([^./]+)\.(?:{kinds})"

    def units_of(self, release: str, processes: Sequence[Process] | None = None) -> list[str]:
        """The units of these processes of a release (by default all possible ones), in the order of their start."""
        wanted = self.processes if processes is None else processes
        return [self.unit(release, kind, process) for process in wanted for kind in process.units]

    def part(self, release: str, part: str, process: Process = WEB) -> Path:
        """The file of a process's unit, or of its drop-in."""
        if part == DROP_IN:
            return self.units / f"{self.unit(release, 'service', process)}.d" / "release.conf"
        return self.units / self.unit(release, part, process)

    def parts(self, release: str, processes: Sequence[Process] | None = None) -> dict[tuple[str, str], Path]:
        """The files of these processes of a release (by default all possible ones), by names of process and part."""
        wanted = self.processes if processes is None else processes
        return {(process.name, part): self.part(release, part, process) for process in wanted for part in process.parts}

    def credentials_drop_in(self, release: str, process: Process = WEB) -> Path:
        """Names the release's credentials for a process; missing if there are none."""
        return self.part(release, DROP_IN, process).with_name("credentials.conf")

    def settings_files(self, release: str, process: Process = WEB) -> tuple[Path, ...]:
        """The files with the service's settings, in the order in which systemd reads them (systemd.unit(5))."""
        return (
            self.part(release, "service", process),
            self.credentials_drop_in(release, process),
            self.part(release, DROP_IN, process),
        )
