# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: an append-only file with one JSON object per line."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .files import Damaged, kind, naming_path, read_bytes
from .printable import printable


def append(path: Path, entry: Mapping[str, object]) -> None:
    """Append ``entry`` with the UTC time under ``at``, in one write that is flushed: a line is complete or absent.

    Start a new line if a crash has cut the last one short.
    """
    stamped = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **entry}
    text = json.dumps(stamped, ensure_ascii=False, separators=(", ", ": "))
    # JSON doesn't escape most of what a terminal obeys, and people also read the file itself.
    line = "".join(each if printable(each) == each else json.dumps(each)[1:-1] for each in text) + "\n"
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise Damaged(path, f"it is {kind(path.lstat().st_mode)}, not a file") from None
        raise
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise Damaged(path, f"it is {kind(mode)}, not a file")
        with naming_path(path):
            end = os.lseek(handle, 0, os.SEEK_END)
            torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
            rest = b"\n" * torn + line.encode()
            while rest:  # on a disk that is nearly full, the first write takes what fits
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
    finally:
        os.close(handle)


def entries(path: Path) -> list[dict[str, object]]:
    """Return the entries, oldest first. Skip lines that can't be read, such as one that a crash cut short."""
    return [entry for entry in map(_entry, _lines(path)) if entry is not None]


def unreadable(path: Path) -> list[int]:
    """Return the numbers of the lines that can't be read, counted from 1."""
    return [number for number, line in enumerate(_lines(path), start=1) if line.strip() and _entry(line) is None]


def _lines(path: Path) -> list[bytes]:
    try:
        return (read_bytes(path) or b"").split(b"\n")
    except Damaged:
        return []


def _entry(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
