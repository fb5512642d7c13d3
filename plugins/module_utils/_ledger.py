# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._printable import printable


def append(path: Path, entry: Mapping[str, object]) -> None:
    """Append ``entry`` with the UTC time under ``at``; one write, flushed to disk, so a line is whole or absent.

    After a line that a crash cut short the entry begins on a line of its own.
    """
    stamped = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **entry}
    text = json.dumps(stamped, ensure_ascii=False, separators=(", ", ": "))
    # JSON leaves most of what a terminal obeys as it is, and people also read the file itself.
    line = "".join(each if printable(each) == each else json.dumps(each)[1:-1] for each in text) + "\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
        os.write(handle, b"\n" * torn + line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def entries(path: Path) -> list[dict[str, object]]:
    """Return the entries, oldest first; a line that a crash cut short is passed over."""
    found = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
