# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn an OSError of the host into a sentence: what failed, the path and its file system, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

_AGAIN = "and run the same command again."
_CURES = {
    errno.ENOSPC: f"Free some space there, {_AGAIN}",
    errno.EDQUOT: f"Free some space there or raise the quota, {_AGAIN}",
    errno.EROFS: f"Find out why it is read-only (dmesg shows disk errors), remount it read-write, {_AGAIN}",
    errno.EIO: f"Check the disk (dmesg), {_AGAIN}",
    errno.EACCES: f"Let root write there (lsattr shows attributes set with chattr), {_AGAIN}",
    errno.EPERM: f"Let root write there (lsattr shows attributes set with chattr), {_AGAIN}",
    errno.ENOMEM: f"Free some memory on the host, {_AGAIN}",
}
_ELSE = f"Check it on the host, {_AGAIN}"
#: What programs print about a full file system.
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
#: Errors that concern the whole file system.
_OF_THE_FILE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def refusal(error: OSError) -> str:
    """Return the sentence for an error."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    what = f"The host refused: {error.strerror or 'no reason given'}"
    where = f" ({path})" if path else ""
    if error.errno in _OF_THE_FILE_SYSTEM and path:
        where += f", on the file system {file_system(Path(path))}"
    return f"{what}{where}. {_CURES.get(error.errno or 0, _ELSE)}"


def with_room(text: str, places: Iterable[Path]) -> str:
    """Add the file systems of ``places``, with their free space, to a text about a full disk."""
    if not _NO_ROOM.search(text):
        return text
    found = dict.fromkeys(file_system(place) for place in places)
    return f"{text}\nFile systems of this host: {'; '.join(found)}. Free some space, {_AGAIN}"


def file_system(path: Path) -> str:
    """Describe the file system that a path is on, or would be on: its mount point, type and free space."""
    place = _existing(path)
    mounted = place
    while not os.path.ismount(mounted):
        mounted = mounted.parent
    try:
        space = os.statvfs(place)
    except OSError:
        return str(mounted)
    free = f"{space.f_bavail * space.f_frsize // 2**20} MiB free"
    inodes = f" and {space.f_favail} inodes free" if space.f_files else ""
    return f"{mounted} ({_kind(mounted)}, {free}{inodes})"


def _existing(path: Path) -> Path:
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    return place


def _kind(mounted: Path) -> str:
    """Return the type and device of the topmost mount there (proc(5), mountinfo)."""
    found = "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = rest.split(" ")
        if re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields.split(" ")[4]) == str(mounted):
            found = f"{words[0]} on {words[1]}"
    return found
