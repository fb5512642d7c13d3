# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether a source and a venv on a host still match their digests. Reads only, bounded in time."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, read_bytes, readable, shown
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import MARKER
from ansible_collections.greenlight.flask.plugins.module_utils._build.instance import is_provided
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest, entries
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import MANIFEST

#: Time limit for the files of one venv, and size limit for those of a source.
SECONDS = 20.0
BYTES = 2**28
_CACHE = "__pycache__"


@dataclass(frozen=True)
class Damage:
    """A damaged file, and a text that names it and says what is wrong."""

    path: Path
    what: str


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    Args:
        faults: what is wrong.
        unchecked: what could not be checked, and why; empty if everything was.
    """

    faults: list[Damage] = field(default_factory=list)
    unchecked: str = ""


def check_venv(venv: Path, seconds: float = SECONDS) -> Checked:
    """Compare a venv with its installer's records of each package (RECORD), and with the time when it was finished.

    If several packages ship the same file, the one that was installed last counts. The record doesn't say which one
    that was, so accept any of their digests.
    """
    marker = venv / MARKER
    if not marker.is_file():
        return Checked([Damage(marker, f"{marker} is missing: the venv was never finished")])
    python = venv / "bin/python"
    if not python.exists():
        return Checked([Damage(python, f"{python} does not point to a Python interpreter")])
    deadline = time.monotonic() + seconds
    faults = list(_additions(venv, marker.stat().st_mtime))
    packages = [path for site in _sites(venv) for path in sorted(site.glob("*.dist-info"))]
    recorded = []
    for package in packages:
        rows, more = _recorded(package, venv)
        recorded.append(rows)
        faults += more
    claims: dict[Path, set[tuple[str, str]]] = {}
    for path, algorithm, expected in (row for rows in recorded for row in rows):
        claims.setdefault(path, set()).add((algorithm, expected))
    for number, rows in enumerate(recorded):
        if time.monotonic() > deadline:
            return Checked(faults, f"{len(packages) - number} packages of {venv} (time ran out)")
        for path in dict.fromkeys(path for path, _, _ in rows):
            faults += _changes(path, claims.pop(path, set()))
    return Checked(faults)


def check_source(layout: Layout, name: str) -> Checked:
    """Compute a source's digest again and compare it.

    That isn't possible if the source came from git, whose digest is the commit's, or with its own bytecode. Then report
    files that are newer than the releases that use it.
    """
    source = layout.sources / name
    if not source.is_dir():
        return Checked([Damage(source, f"{source} is missing")])
    walked = [path for path in _walk(source) if not is_provided(layout, path)]
    files = sorted(str(path.relative_to(source)) for path in walked if not path.is_dir() or path.is_symlink())
    if sum((source / each).lstat().st_size for each in files) > BYTES:
        return Checked(unchecked=f"{source}, which is larger than {BYTES // 2**20} MiB")
    try:
        if digest(source, entries(source, files)) == name:
            return Checked()
    except GreenlightError as error:
        return Checked([Damage(source, f"{source}: {error}")])
    made = _first_use(layout, name)
    newer = sorted(str(path) for path in (source, *walked) if path.lstat().st_mtime > made)
    # A directory's time changes with its entries, so leave out a directory if one of its entries is listed.
    changed = [path for path in newer if not any(other.startswith(f"{path}/") for other in newer)]
    if changed:
        return Checked([Damage(Path(path), f"{path} was changed") for path in changed])
    return Checked(unchecked=f"{source} (it came from git or with bytecode, so only file times were checked)")


def _walk(source: Path) -> Iterator[Path]:
    """Yield everything below ``source`` except bytecode, which is made on the host."""
    for parent, directories, files in os.walk(source):
        directories[:] = [name for name in directories if name != _CACHE]
        yield from (Path(parent) / name for name in (*directories, *files))


def _first_use(layout: Layout, source: str) -> float:
    """Return when the oldest kept release with this source was made (UNIX seconds)."""
    uses = [
        link.parent / MANIFEST
        for link in layout.releases.glob("*/source")
        if link.is_symlink() and link.readlink().name == source
    ]
    return min((path.stat().st_mtime for path in uses if path.exists()), default=float("inf"))


def _sites(venv: Path) -> list[Path]:
    return sorted(venv.glob("lib/python3*/site-packages"))


def _additions(venv: Path, finished: float) -> Iterator[Damage]:
    """Yield what was added next to the packages, or removed, since the venv was finished."""
    for place in (venv / "bin", *_sites(venv)):
        if place.is_dir() and place.stat().st_mtime > finished:
            newer = sorted(path.name for path in place.iterdir() if path.lstat().st_mtime > finished)
            added = [name for name in newer if name != _CACHE]
            if added or not newer:
                yield Damage(place, f"{place} was changed ({', '.join(added) or 'something was removed'})")


def _recorded(package: Path, venv: Path) -> tuple[list[tuple[Path, str, str]], list[Damage]]:
    """Return the files of an installed package with algorithm and digest, as in its RECORD; and the faults of that.

    The RECORD comes with the package: ignore paths in it that are outside of the venv.
    """
    record = package / "RECORD"
    rows, faults = [], []
    try:
        written = list(csv.reader((readable(record) or "").splitlines()))
    except csv.Error:
        return [], [Damage(record, f"{record} isn't a valid RECORD of an installer")]
    for row in filter(None, written):
        name, algorithm, expected = row[0], *(row[1].partition("=")[::2] if row[1:] else ("", ""))
        path = Path(os.path.normpath(package.parent / name))
        # Read nothing through a link: the app can change what its instance folder links to.
        inside = _resolved(path.parent) / path.name
        if not inside.is_relative_to(_resolved(venv)) or inside.is_symlink():
            faults.append(Damage(record, f"{record} names {shown(path)}, which is not a file in the venv"))
        # The RECORD itself and bytecode have no digest.
        elif algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake"):
            rows.append((inside, algorithm, expected.rstrip("=")))
    return rows, faults


@functools.cache
def _resolved(directory: Path) -> Path:
    return directory.resolve()


def _changes(path: Path, digests: set[tuple[str, str]]) -> Iterator[Damage]:
    """Yield the damage if a file is gone or matches none of ``digests``; nothing without digests: it was checked."""
    if not digests:
        return
    try:
        content = read_bytes(path)
    except Damaged as error:
        yield Damage(path, f"{path} can't be used: {error.why}")
        return
    if content is None:
        yield Damage(path, f"{path} is missing")
        return
    found = {
        (name, base64.urlsafe_b64encode(hashlib.new(name, content).digest()).decode().rstrip("="))
        for name in {algorithm for algorithm, _ in digests}
    }
    if not found & digests:
        yield Damage(path, f"{path} was changed")
