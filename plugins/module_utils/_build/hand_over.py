# SPDX-License-Identifier: GPL-3.0-or-later
"""Take over what a less trusted account made: afterwards it is ours, and nobody else can write it.

The account's processes have ended, and its files are where only root can go. Even so, follow no link: open each entry
through its directory. Check everything before the first change, because an unsafe entry could be somebody else's file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from .tree import passes_through, made_later

#: Maximum depth of directories in a package. Deeper ones would only serve to exhaust whoever walks them.
DEEPEST = 60
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hand_over(tree: Path, outside: str = "", leads_out: Collection[str] = ()) -> None:
    """Make ``tree`` ours: directories and programs 0755, files 0644.

    Args:
        tree: the directory.
        outside: the only path outside of it that a link may lead to, fully resolved, such as the interpreter.
        leads_out: where we make a link that leads out of the tree, unless the tree has something there.

    Raises:
        GreenlightError: there is an unsafe entry: a link out of the tree, a hard link to a file outside of it, a
            socket or a device. Nothing was changed.
    """
    top = os.open(tree, _DIRECTORY)
    try:
        _refuse_unsafe_entries(top, tree, outside, leads_out)
        _take(top, os.fstat(top))
        for directory, path, status in _entries(top, ""):
            name = path.rpartition("/")[2]
            if stat.S_ISLNK(status.st_mode):
                os.chown(name, os.geteuid(), os.getegid(), dir_fd=directory, follow_symlinks=False)
                continue
            flags = _DIRECTORY if stat.S_ISDIR(status.st_mode) else _FILE
            handle = os.open(name, flags, dir_fd=directory)
            try:
                _take(handle, status)
            finally:
                os.close(handle)
    finally:
        os.close(top)


def _take(handle: int, status: os.stat_result) -> None:
    now = os.fstat(handle)
    if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
        raise GreenlightError("The build changed while it was taken over. Run again.")
    if (now.st_uid, now.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(handle, os.geteuid(), os.getegid())
    # This also clears setuid, setgid and write access by ACLs: without the group's write bit they have no effect.
    os.fchmod(handle, 0o755 if stat.S_ISDIR(now.st_mode) or now.st_mode & 0o111 else 0o644)


def _refuse_unsafe_entries(top: int, tree: Path, outside: str, leads_out: Collection[str]) -> None:
    names: dict[int, tuple[str, int]] = {}
    links: dict[str, str] = {}
    for directory, path, status in _entries(top, ""):
        if stat.S_ISLNK(status.st_mode):
            links[path] = os.readlink(path.rpartition("/")[2], dir_fd=directory)
            end = os.path.realpath(tree / path)
            if end != outside and not f"{end}/".startswith(f"{os.path.realpath(tree)}/"):
                raise _unsafe_entry(path, "a link to a path outside of it")
        elif stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                names[status.st_ino] = (path, names.get(status.st_ino, ("", status.st_nlink))[1] - 1)
        elif not stat.S_ISDIR(status.st_mode):
            raise _unsafe_entry(path, "neither a file nor a directory")
    for path, elsewhere in names.values():
        if elsewhere:
            raise _unsafe_entry(path, "a hard link to a file outside of it")
    of_the_app = made_later(leads_out, os.listdir(top))
    for path in links:
        if passes_through(path, links, of_the_app):
            raise _unsafe_entry(path, f"a link by way of {' or '.join(of_the_app)}, which the app can write")


def _entries(directory: int, inside: str, depth: int = 0) -> Iterator[tuple[int, str, os.stat_result]]:
    """Yield each entry below an open directory: its open parent, its path below the top, its status."""
    if depth > DEEPEST:
        raise _unsafe_entry(inside[:80], f"more than {DEEPEST} directories deep")
    for name in sorted(os.listdir(directory)):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        path = f"{inside}/{name}" if inside else name
        yield directory, path, status
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                yield from _entries(below, path, depth + 1)
            finally:
                os.close(below)


def _unsafe_entry(path: str, what: str) -> GreenlightError:
    return GreenlightError(f"The build contains {path!r}, which is {what}. No package needs that. It was removed.")


def move_files(tree: Path, into: Path, suffix: str) -> None:
    """Move the files with this suffix to the ``__pycache__`` of their directory: ``a/b.pyc`` to ``a/__pycache__/b.pyc``.

    Both trees are ours. Skip directories that are missing in ``into``, or are links there.
    """
    source, destination = os.open(tree, _DIRECTORY), os.open(into, _DIRECTORY)
    try:
        _move(source, destination, suffix)
    finally:
        os.close(source)
        os.close(destination)


def _move(source: int, destination: int, suffix: str) -> None:
    names = sorted(os.listdir(source))
    files = [name for name in names if name.endswith(suffix) and _is(stat.S_ISREG, name, source)]
    cache = _open_cache(destination) if files else None
    if cache is not None:
        try:
            for name in files:
                if not _is(stat.S_ISDIR, name, cache):
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=cache)
        finally:
            os.close(cache)
    for name in names:
        if _is(stat.S_ISDIR, name, source) and _is(stat.S_ISDIR, name, destination):
            below = os.open(name, _DIRECTORY, dir_fd=source)
            target = os.open(name, _DIRECTORY, dir_fd=destination)
            try:
                _move(below, target, suffix)
            finally:
                os.close(below)
                os.close(target)


def _open_cache(directory: int) -> int | None:
    with suppress(FileExistsError):
        os.mkdir("__pycache__", 0o755, dir_fd=directory)
    try:
        handle = os.open("__pycache__", _DIRECTORY, dir_fd=directory)
    except OSError:  # a link, or a file
        return None
    os.fchmod(handle, 0o755)
    return handle


def _is(kind: Callable[[int], bool], name: str, directory: int) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return kind(status.st_mode)
