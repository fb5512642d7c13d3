# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a server without changing it, and find what stops a deploy."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, names
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.unit_settings import setting_problems
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.file_system import file_system
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, kind
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._base.versions import numbers
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._build.venv import interpreter
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    is_stamp_missing,
    other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import faults

from .claim import claim
from .prune import prunable

#: The oldest version with which the sandbox and the EnvironmentFile rules (systemd.exec(5)) were tested.
OLDEST_SYSTEMD = 252
#: Inodes that must be free where /srv is: a venv has about ten thousand files.
FREE_INODES = 20_000
#: The first version with the option -P, with which the unit starts Gunicorn.
OLDEST_PYTHON = "3.11"


@dataclass(frozen=True)
class Host:
    """Facts of a server that the role's decisions depend on.

    Attributes:
        systemd: its version; 0 if systemd is not the init system.
        python: version of the app's interpreter as ``3.13.5``; empty if there is none.
        interpreter: the facts of the interpreter that a venv depends on.
        packages_missing: which of the wanted Debian packages are not installed.
        nginx_removed: whether the host has sites, but Nginx is not (completely) installed.
        package_module_ready: whether ansible.builtin.apt can run here (python3-apt is installed).
        environment: the stamp of an earlier deploy of this app; empty if there is none.
        sources: digests of the existing sources.
        venvs: digests of the complete venvs.
        claimed: whether stamp, record, key, directories, account, group and owners are all correct.
        leftovers: releases that run but should not, and paths that can be removed.
    """

    systemd: int
    python: str
    interpreter: str
    packages_missing: list[str]
    nginx_removed: bool
    package_module_ready: bool
    environment: str
    sources: list[str]
    venvs: list[str]
    claimed: bool
    leftovers: list[str]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Wanted:
    """What the deploy needs of a server.

    Args:
        environment: the environment of this inventory.
        python: path of the app's interpreter.
        python_minimum: its minimum version, as ``3.11``.
        packages: Debian packages.
        ports: TCP ports of the site, by the variable that sets each.
        free_mb: MiB that must be free where /srv is.
        keep_releases: how many good releases to keep.
        service_settings: settings that the inventory adds to the unit: name -> lines.
    """

    environment: str
    python: str
    python_minimum: str
    packages: Sequence[str]
    ports: Mapping[str, int]
    free_mb: int
    keep_releases: int
    service_settings: Mapping[str, Sequence[str]]


def survey(layout: Layout, wanted: Wanted) -> Host:
    """Read the facts."""
    installed = _installed([*wanted.packages, "python3-apt"])
    version, identity = interpreter(wanted.python)
    return Host(
        systemd=_systemd_version(layout.root),
        python=version,
        interpreter=identity,
        packages_missing=[name for name in wanted.packages if name not in installed],
        nginx_removed="nginx" in {*wanted.packages} - installed and _has_sites(layout.root),
        package_module_ready="python3-apt" in installed,
        environment=_stamp(layout),
        sources=[name for name in _names(layout.sources) if (layout.sources / name).is_dir()],
        venvs=[name for name in _names(layout.venvs) if is_complete(layout.venvs / name)],
        claimed=not claim(layout, wanted.environment, dry=True) and not accounts.missing(layout.app),
        leftovers=[*superfluous(layout), *prunable(layout, wanted.keep_releases)],
    )


def problems(layout: Layout, wanted: Wanted, host: Host) -> list[Finding]:
    """Return everything about the server that stops this deploy."""
    return [
        *setting_problems(wanted.service_settings),
        *_platform_problems(layout.root, host),
        *_python_problems(wanted, host),
        *_room_problems(layout.root, wanted),
        *_state_problems(layout, wanted),
        *_stamp_problems(layout, wanted, host),
        *([] if _is_claimed(layout) else names.problems(layout)),
        *_port_problems(wanted),
    ]


def _platform_problems(root: Path, host: Host) -> list[Finding]:
    found = []
    if not (root / "usr/bin/apt-get").exists():
        what = "This host has no apt-get. The role supports Debian 12 and 13."
        found.append(Finding("unsupported-system", ERROR, "apt-get", what, "Use a host with Debian 12 or 13."))
    if host.systemd == 0:
        what = "systemd does not run on this host (there is no /run/systemd/system), but the app runs as its service."
        fix = "Use a host, virtual machine or container that boots with systemd."
        found.append(Finding("no-systemd", ERROR, "systemd", what, fix))
    elif host.systemd < OLDEST_SYSTEMD:
        what = f"systemd {host.systemd} is too old: version {OLDEST_SYSTEMD} or later is required."
        found.append(Finding("old-systemd", ERROR, "systemd", what, "Upgrade the host to Debian 12 or 13."))
    return found


def _python_problems(wanted: Wanted, host: Host) -> list[Finding]:
    if not host.python:
        what = f"flask_app_python is {wanted.python}, which is not a working interpreter: {_unfit(wanted.python)}."
        fix = "Install it, or set flask_app_python to an installed interpreter."
        return [Finding("no-python", ERROR, "flask_app_python", what, fix)]
    minimum = max(wanted.python_minimum, OLDEST_PYTHON, key=numbers)
    if numbers(host.python) < numbers(minimum):
        what = f"{wanted.python} is Python {host.python}, which is too old: {minimum} or later is required."
        fix = "Set flask_app_python to a newer interpreter on this host, or upgrade the host."
        return [Finding("old-python", ERROR, "flask_app_python", what, fix)]
    place = unreachable(wanted.python, host.interpreter)
    if place:
        what = f"flask_app_python is {wanted.python}, but the app's user can't run it: {place}."
        fix = (
            "Install it where all users can run it, and set flask_app_python to that path, such as"
            " /opt/python/cpython-3.13/bin/python3 (uv python install --install-dir /opt/python 3.13)."
        )
        return [Finding("unreachable-python", ERROR, "flask_app_python", what, fix)]
    return []


def _unfit(python: str) -> str:
    """Return why the interpreter at this path doesn't run."""
    try:
        mode = Path(shutil.which(python) or python).stat().st_mode
    except OSError as error:
        return "there is no such file" if isinstance(error, FileNotFoundError) else f"the host says {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"it is {kind(mode)}"
    return "it isn't Python" if mode & 0o111 else f"it may not be run (its mode is {stat.S_IMODE(mode):04o})"


#: Directories hidden by ProtectHome= and PrivateTmp=, which the units of releases, release commands and builds have.
_UNSEEN = ("/root", "/home", "/run/user", "/tmp", "/var/tmp")  # noqa: S108  # only compared


def unreachable(python: str, identity: str) -> str:
    """Return why the app's own process can't run an interpreter that root can run, or an empty text.

    Args:
        python: path of the interpreter.
        identity: its facts, see :func:`venv.interpreter`; the last one is its real path.
    """
    really = str(json.loads(identity)[-1]) if identity else ""
    for path in dict.fromkeys(filter(None, (python, os.path.realpath(python), really))):
        for directory in _UNSEEN:
            if os.path.normpath(path).startswith(f"{directory}/"):
                return f"the sandbox hides {directory}, which contains {path}"
        closed = [parent for parent in reversed(Path(path).parents) if _closed(parent)]
        if closed:
            return f"other users may not enter {closed[0]}, which contains {path}"
        if _closed(Path(path)):
            return f"other users may not run {path}"
    return ""


def _closed(path: Path) -> bool:
    """Say whether others may not enter a directory, or run a program."""
    try:
        return not path.stat().st_mode & 0o001
    except OSError:
        return False


def _room_problems(root: Path, wanted: Wanted) -> list[Finding]:
    place = root / "srv" if (root / "srv").is_dir() else root
    space = os.statvfs(place)
    free_mb = space.f_bavail * space.f_frsize // 2**20
    found = []
    if free_mb < wanted.free_mb:
        what = (
            f"/srv has {free_mb} MiB free, but flask_app_free_space_mb requires {wanted.free_mb}."
            f" Its file system: {file_system(place)}."
        )
        fix = "Free some space, or lower flask_app_keep_releases or flask_app_free_space_mb."
        found.append(Finding("no-space", ERROR, "/srv", what, fix))
    if space.f_files and space.f_favail < FREE_INODES:
        what = (
            f"/srv has {space.f_favail} inodes free, but {FREE_INODES} are required. Its file system:"
            f" {file_system(place)}."
        )
        found.append(Finding("no-inodes", ERROR, "/srv", what, "Remove files that are no longer needed."))
    return found


def _state_problems(layout: Layout, wanted: Wanted) -> list[Finding]:
    """Return the damage to the app's own state that a deploy can't repair."""
    if not _is_claimed(layout):
        return []
    return [fault.finding for fault in faults(layout, wanted.environment) if not fault.repair]


def _is_claimed(layout: Layout) -> bool:
    """Say whether this app was deployed here, even if its stamp is damaged."""
    try:
        return stamped(layout) is not None or is_stamp_missing(layout)
    except Damaged:
        return True


def _stamp(layout: Layout) -> str:
    try:
        return stamped(layout) or ""
    except Damaged:
        return ""


def _stamp_problems(layout: Layout, wanted: Wanted, host: Host) -> list[Finding]:
    # If the wanted environment is empty, the controller reports that, and the stamp isn't the problem.
    if "" in (host.environment, wanted.environment) or host.environment == wanted.environment:
        return []
    what = other_environment(layout, wanted.environment)
    place = layout.environment_id
    fix = f"If you mean to move this host to another environment, write {wanted.environment} into {place} on it."
    return [Finding("wrong-environment", ERROR, str(layout.environment_id), what, fix)]


def _port_problems(wanted: Wanted) -> list[Finding]:
    found = []
    for variable, port in wanted.ports.items():
        done = run(["ss", "-ltnpH", f"sport = :{port}"])
        owners = set(re.findall(r'\(\("([^"]+)",pid=', done.stdout)) - {"nginx"}
        if done.code == 0 and owners:
            what = f"{variable} is {port}, but {', '.join(sorted(owners))} already listens on that port."
            found.append(Finding("port-in-use", ERROR, variable, what, f"Stop it, or choose another {variable}."))
    return found


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def _systemd_version(root: Path) -> int:
    if not (root / "run/systemd/system").is_dir():
        return 0
    match = re.match(r"systemd (\d+)", run(["systemctl", "--version"]).stdout)
    return int(match.group(1)) if match else 0


def _installed(packages: Sequence[str]) -> set[str]:
    done = run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages])
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0] for row in rows if row[1:] == ["installed"]}


def _has_sites(root: Path) -> bool:
    """Say whether Nginx has any site other than Debian's default one."""
    places = [root / "etc/nginx" / name for name in ("sites-enabled", "conf.d")]
    return any(path.name != "default" for place in places for path in place.glob("[!.]*"))
