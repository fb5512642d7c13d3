# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a source and a venv on a host are still what their digests name. Reads only, bounded in time."""

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

#: Seconds that the files of one venv may take, and bytes that those of a source may have.
SECONDS = 20.0
BYTES = 2**28
_CACHE = "__pycache__"


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file, in words that name it."""

    path: Path
    what: str


@dataclass(frozen=True)
class Checked:
    """What was found.

    Args:
        faults: what is wrong.
        unchecked: what could not be checked, and why; empty where all was.
    """

    faults: list[Damage] = field(default_factory=list)
    unchecked: str = ""


def check_venv(venv: Path, seconds: float = SECONDS) -> Checked:
    """Compare a venv with what its installer wrote down of each package (RECORD), and with when it was finished.

    A file that several packages ship is that of the one that was installed last. Which one that was isn't recorded, so
    any of their digests is right.
    """
    marker = venv / MARKER
    if not marker.is_file():
        return Checked([Damage(marker, f"{marker} is missing: the venv was never finished")])
    python = venv / "bin/python"
    if not python.exists():
        return Checked([Damage(python, f"{python} leads to no Python interpreter")])
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
            return Checked(faults, f"{len(packages) - number} packages of {venv}, for which there was no time")
        for path in dict.fromkeys(path for path, _, _ in rows):
            faults += _changes(path, claims.pop(path, set()))
    return Checked(faults)


def check_source(layout: Layout, name: str) -> Checked:
    """Compute a source's digest once more.

    It can't be had again for one that came from git, whose digest is the commit's, and for one that brought bytecode of
    its own: what was written after the releases that use it then tells.
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
    # A directory's time changes with its entries; where one of these tells the same, it says it better.
    telling = [path for path in newer if not any(other.startswith(f"{path}/") for other in newer)]
    if telling:
        return Checked([Damage(Path(path), f"{path} was changed") for path in telling])
    return Checked(unchecked=f"{source}: it came from git or with bytecode, so only the times of its files were")


def _walk(source: Path) -> Iterator[Path]:
    """Yield all below ``source`` but bytecode, which is made on the host."""
    for parent, directories, files in os.walk(source):
        directories[:] = [name for name in directories if name != _CACHE]
        yield from (Path(parent) / name for name in (*directories, *files))


def _first_use(layout: Layout, source: str) -> float:
    """When the oldest of the kept releases with this source was made (UNIX seconds)."""
    uses = [
        link.parent / MANIFEST
        for link in layout.releases.glob("*/source")
        if link.is_symlink() and link.readlink().name == source
    ]
    return min((path.stat().st_mtime for path in uses if path.exists()), default=float("inf"))


def _sites(venv: Path) -> list[Path]:
    return sorted(venv.glob("lib/python3*/site-packages"))


def _additions(venv: Path, finished: float) -> Iterator[Damage]:
    """Yield what was put beside the packages, or taken away, since the venv was finished."""
    for place in (venv / "bin", *_sites(venv)):
        if place.is_dir() and place.stat().st_mtime > finished:
            newer = sorted(path.name for path in place.iterdir() if path.lstat().st_mtime > finished)
            added = [name for name in newer if name != _CACHE]
            if added or not newer:
                yield Damage(place, f"{place} was changed ({', '.join(added) or 'something was removed'})")


def _recorded(package: Path, venv: Path) -> tuple[list[tuple[Path, str, str]], list[Damage]]:
    """Return the files of an installed package, each with algorithm and digest, as its RECORD has them; and its faults.

    The RECORD comes with the package: what it names outside the venv isn't looked at.
    """
    record = package / "RECORD"
    rows, faults = [], []
    try:
        written = list(csv.reader((readable(record) or "").splitlines()))
    except csv.Error:
        return [], [Damage(record, f"{record} isn't what an installer writes")]
    for row in filter(None, written):
        name, algorithm, expected = row[0], *(row[1].partition("=")[::2] if row[1:] else ("", ""))
        path = Path(os.path.normpath(package.parent / name))
        # What is read later is by way of no link: the app can change what is behind the one to its instance folder.
        inside = _resolved(path.parent) / path.name
        if not inside.is_relative_to(_resolved(venv)) or inside.is_symlink():
            faults.append(Damage(record, f"{record} names {shown(path)}, which is not a file of the venv"))
        # The RECORD itself and bytecode have no digest.
        elif algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake"):
            rows.append((inside, algorithm, expected.rstrip("=")))
    return rows, faults


@functools.cache
def _resolved(directory: Path) -> Path:
    return directory.resolve()


def _changes(path: Path, digests: set[tuple[str, str]]) -> Iterator[Damage]:
    """Yield that a file is gone, or is like none of ``digests``; of no digests nothing, for it was checked before."""
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
