# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links that appear whole or not at all, however the run ends.

A file is written beside its destination, flushed to disk and renamed over it; a link is made under another name and
renamed (rename(2): the new path replaces the old one atomically).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Start of the names of unfinished files and directories; anything called so is safe to remove.
UNFINISHED = ".unfinished-"


class HeldElsewhere(Exception):  # noqa: N818  # expected, and no fault
    """Another process holds what :func:`exclusively` was asked for."""


def read(path: Path) -> str | None:
    """Return the file's text with its line ends as they are, or None where there is no file."""
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None


def make_directory(path: Path, mode: int = 0o755) -> bool:
    """Make ``path`` and its parents, owned by us, with exactly ``mode``; say whether that changed anything."""
    missing = not path.is_dir()
    path.mkdir(parents=True, exist_ok=True)
    if missing or (path.stat().st_mode & 0o7777) != mode:
        path.chmod(mode)
        return True
    return False


def write(path: Path, content: str, mode: int = 0o644) -> bool:
    """Write ``content`` to ``path`` with ``mode``, atomically; say whether the file was not so already."""
    if path.is_file() and path.read_bytes() == content.encode() and (path.stat().st_mode & 0o7777) == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")  # what a killed run left is replaced by the next one's
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def link(path: Path, target: str) -> bool:
    """Point the symbolic link ``path`` at ``target``, atomically; say whether it pointed elsewhere."""
    if path.is_symlink() and path.readlink() == Path(target):
        return False
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(target)
    unfinished.replace(path)
    _sync_directory(path.parent)
    return True


def remove(path: Path) -> bool:
    """Remove a file, a link or a whole tree; say whether there was one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return True
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def remove_unfinished(directory: Path) -> list[str]:
    """Remove what a killed run left below ``directory`` (not deeper); return the names."""
    names = sorted(entry.name for entry in directory.glob(f"{UNFINISHED}*")) if directory.is_dir() else []
    for name in names:
        remove(directory / name)
    return names


@contextmanager
def exclusively(path: Path, seconds: float) -> Iterator[None]:
    """Hold ``path`` (made where it is missing) with flock(2), as do the programs that are started meanwhile.

    Raises:
        HeldElsewhere: another process held it for ``seconds``.
    """
    make_directory(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.set_inheritable(handle, True)
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise HeldElsewhere(f"{path} is held by another process") from None
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable (fsync(2): the directory needs its own fsync)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
