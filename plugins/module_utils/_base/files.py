# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links that appear whole or not at all, however the run ends.

A file is written next to its destination, flushed to disk and renamed over it; a link is made under another name and
renamed (rename(2): the new path replaces the old one atomically).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .finding import ERROR, Finding, Refused
from .printable import on_one_line

#: Prefix of unfinished files and directories; anything with this prefix is safe to remove.
UNFINISHED = ".unfinished-"
#: Flags to open a directory that somebody else may replace at any moment.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Longest path that a message shows in full.
_SHOWN = 200
#: ioctl_iflags(2): the request that reads a file's flags, and the flags that keep even root from removing it.
_GET_FLAGS, _IMMUTABLE, _APPEND_ONLY = 0x80006601 | struct.calcsize("l") << 16, 0x10, 0x20


class HeldElsewhere(Exception):  # noqa: N818  # expected, not a fault
    """Another process holds the file that :func:`exclusively` needs."""


#: Mode of a file that is held with flock(2).
GUARD_MODE = 0o600
#: Fix for something that is in the way of a file or directory of Greenlight.
AWAY = "Move it away, and run the same command again."
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


class Damaged(Refused):
    """One of Greenlight's files or directories on the host is damaged.

    Args:
        path: where it is.
        why: what is wrong, as in "it is a directory, not a file".
        fix: what to do.
    """

    def __init__(self, path: Path, why: str, fix: str = AWAY) -> None:
        super().__init__(Finding("damaged-state", ERROR, str(path), f"{path} can't be used: {why}.", fix))
        self.path, self.why, self.fix = path, why, fix


def kind(mode: int) -> str:
    """Name the type of a file by its mode (stat(2))."""
    return _KINDS.get(stat.S_IFMT(mode), "a device")


def read_bytes(path: Path) -> bytes | None:
    """Return the file's content, or None if there is no file.

    Raises:
        Damaged: it isn't a file, such as a pipe that nobody writes to, or the host can't read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except OSError as error:
        raise Damaged(path, _why_unreadable(path, error)) from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise Damaged(path, f"it is {kind(mode)}, not a file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read()
    except ProcessLookupError:  # a file in /proc whose process has just ended
        return None
    except OSError as error:
        raise Damaged(path, _why_unreadable(path, error)) from None
    finally:
        os.close(handle)


def read(path: Path) -> str | None:
    """Return the file's text with its line endings unchanged, or None if there is no file.

    Raises:
        Damaged: it can't be read as text.
    """
    content = read_bytes(path)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise Damaged(path, "it isn't UTF-8 text") from None


def readable(path: Path, errors: str = "replace") -> str | None:
    """Return as much of the file's text as can be read; None if there is no file, or it isn't one."""
    try:
        content = read_bytes(path)
    except Damaged:
        return None
    return None if content is None else content.decode(errors=errors)


def read_facts(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if there is no file.

    Raises:
        Damaged: the file contains no JSON object.
    """
    text = read(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Damaged(path, "it is empty" if not text.strip() else "it isn't a JSON object")
    return found


def _why_unreadable(path: Path, error: OSError) -> str:
    """Say why the host can't open a file. For sockets and link loops, the system's own text is unclear."""
    with suppress(OSError):
        mode = os.lstat(path).st_mode
        if error.errno in (errno.ENXIO, errno.ELOOP):
            return f"it is {kind(mode)}, not a file"
    return f"the host says {error.strerror or error}"


@contextmanager
def naming_path(path: Path) -> Iterator[None]:
    """Add ``path`` to an OSError that names no file, such as that of a failed write."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def is_ours(status: os.stat_result) -> bool:
    """Say whether we own it; on a server we are root."""
    return status.st_uid == os.geteuid()


def own(path: Path, mode: int | None = None, group: int | None = None) -> None:
    """Take ownership of a file or directory and set its ``mode``, if given; links are not followed."""
    os.chown(path, os.geteuid(), os.getegid() if group is None else group, follow_symlinks=False)
    if mode is not None and not path.is_symlink():
        path.chmod(mode)


def occupied(path: Path) -> bool:
    """Say whether a directory with files in it is in the place of one of Greenlight's files or links."""
    return path.is_dir() and not path.is_symlink() and any(path.iterdir())


def entries(directory: Path) -> list[Path]:
    """Return the sorted entries of a directory; none if there is no directory."""
    return sorted(directory.iterdir()) if directory.is_dir() else []


def discard(path: Path) -> bool:
    """Remove one of Greenlight's files or links, or an empty directory in its place; say whether there was one.

    Raises:
        Damaged: a directory with files is in its place.
    """
    if occupied(path):
        raise Damaged(path, "it is a directory with files in it")
    return remove(path)


def make_directory(path: Path, mode: int = 0o755) -> bool:
    """Make ``path`` and its parents, owned by us, with exactly ``mode``; say whether that changed anything.

    Raises:
        Damaged: it isn't a directory.
    """
    missing = not path.is_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise Damaged(path, f"it is {kind(path.lstat().st_mode)}, not a directory") from None
    if missing or (path.stat().st_mode & 0o7777) != mode:
        path.chmod(mode)
        missing = True
    if not is_ours(path.stat()):
        os.chown(path, os.geteuid(), os.getegid())
        missing = True
    return missing


def write(path: Path, content: str, mode: int = 0o644) -> bool:
    """Write ``content`` to ``path`` with ``mode``, atomically; say whether that changed anything.

    Raises:
        Damaged: a directory with files is there.
    """
    encoded = content.encode(errors="surrogateescape")
    if is_file_of_ours(path, mode) and path.read_bytes() == encoded:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_empty_target(path)
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")  # replaces what a killed run left
    remove(unfinished)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with naming_path(path), os.fdopen(handle, "wb") as stream:
            stream.write(encoded)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def is_file_of_ours(path: Path, mode: int) -> bool:
    """Say whether ``path`` is a file that we own, with exactly ``mode``; a link isn't."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == mode and is_ours(status)


def remove_empty_target(path: Path) -> None:
    """Remove an empty directory in the place of a file or link; a rename replaces anything else.

    Raises:
        Damaged: the directory isn't empty.
    """
    if path.is_dir() and not path.is_symlink():
        discard(path)


def link(path: Path, target: str) -> bool:
    """Point the symbolic link ``path`` at ``target``, atomically; say whether it pointed elsewhere.

    Raises:
        Damaged: a directory with files is there.
    """
    if leads(path, target):
        return False
    remove_empty_target(path)
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    remove(unfinished)
    unfinished.symlink_to(target)
    unfinished.replace(path)
    _sync_directory(path.parent)
    return True


def leads(path: Path, target: str) -> bool:
    """Say whether ``path`` is a symbolic link to exactly ``target``."""
    try:
        return path.readlink() == Path(target)
    except OSError:
        return False


def rename(path: Path, target: Path) -> None:
    """Give a complete file or directory its final name, durably."""
    path.rename(target)
    _sync_directory(target.parent)


def remove(path: Path) -> bool:
    """Remove a file, a link or a whole tree, of any depth and with any names; say whether there was one.

    Follow no link, and enter no mounted file system.

    Raises:
        OSError: something can't be removed; ``filename`` is its path, fit for a message.
    """
    if path.is_dir() and not path.is_symlink():
        _walk(path, _take)
        path.rmdir()
        return True
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def locked_down(path: Path) -> str:
    """Return the first path in a tree that is immutable or append-only (chattr(1)), fit for a message, or ``""``."""

    def look(directory: int, entry: os.DirEntry[str]) -> None:
        # Only files and directories: opening a pipe wakes up whoever waits at its other end.
        if not entry.is_symlink() and (entry.is_dir() or entry.is_file()) and _flags(entry.name, directory):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), entry.name)

    if not path.is_dir() or path.is_symlink():
        return ""
    if _flags(str(path), None):
        return shown(path)
    try:
        _walk(path, look)
    except OSError as error:
        # We only look, so ignore any other error, such as that of a directory that was moved meanwhile.
        return str(error.filename) if error.errno == errno.EPERM else ""
    return ""


def shown(path: Path | str) -> str:
    """Return a path as a message may show it: shortened if it is long, and with control characters escaped."""
    text = on_one_line(os.fsencode(path).decode(errors="backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"


def mount_points(root: Path) -> list[Path]:
    """Return the mount points of the host at ``root``."""
    try:
        # A name may have any byte. The kernel writes line feed, space, tab and the backslash itself as \ooo.
        lines = (root / "proc/self/mountinfo").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    places = [fields[4] for fields in (line.split(b" ") for line in lines) if len(fields) > 4]  # noqa: PLR2004
    plain = [re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match.group(1), 8)]), place) for place in places]
    return [root / os.fsdecode(place).lstrip("/") for place in plain]


def remove_unfinished(directory: Path) -> list[str]:
    """Remove what a killed run left directly in ``directory``; return the names."""
    names = sorted(entry.name for entry in directory.glob(f"{UNFINISHED}*")) if directory.is_dir() else []
    for name in names:
        remove(directory / name)
    return names


@contextmanager
def exclusively(path: Path, seconds: float) -> Iterator[None]:
    """Hold ``path`` with flock(2), and make it if it is missing; programs that are started meanwhile hold it too.

    Raises:
        HeldElsewhere: another process held it for ``seconds``.
        Damaged: it isn't a file.
    """
    make_directory(path.parent)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, GUARD_MODE)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise Damaged(path, f"it is {kind(path.lstat().st_mode)}, not a file") from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged(path, f"it is {kind(status.st_mode)}, not a file")
        if not is_ours(status) or stat.S_IMODE(status.st_mode) != GUARD_MODE:
            os.fchown(handle, os.geteuid(), os.getegid())  # or somebody else could hold it forever
            os.fchmod(handle, GUARD_MODE)
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


def _walk(path: Path, leave: Callable[[int, os.DirEntry[str]], None]) -> None:
    """Call ``leave`` with each entry below a directory and its open parent, contents before their directory.

    Open one name at a time from an open directory: so no path is too long, no tree too deep, and no link that somebody
    swaps in is followed.

    Raises:
        OSError: also those of ``leave``; ``filename`` is the path, fit for a message.
    """
    way: list[tuple[os.DirEntry[str], os.stat_result, list[os.DirEntry[str]]]] = []
    here = os.open(path, _DIRECTORY)
    try:
        mount = _mount_id(here)
        waiting = _leave_files(here, leave)
        while waiting or way:
            if waiting:
                entry = waiting.pop()
                above = os.fstat(here)
                try:
                    here = _moved(here, entry.name, mount)
                except FileNotFoundError:
                    continue
                way.append((entry, above, waiting))
                waiting = _leave_files(here, leave)
            else:
                entry, above, waiting = way.pop()
                here = _moved(here, "..", mount, above)
                leave(here, entry)
    except OSError as error:
        names = [str(path), *(entry.name for entry, _, _ in way)]
        names += [error.filename] if isinstance(error.filename, str) else []
        raise OSError(error.errno, error.strerror, shown("/".join(names))) from None
    finally:
        os.close(here)


def _moved(here: int, name: str, mount: str, expected: os.stat_result | None = None) -> int:
    """Open the directory ``name`` in ``here`` if it is in the same mount, and close ``here``."""
    there = os.open(name, _DIRECTORY, dir_fd=here)
    fault = 0
    if _mount_id(there) != mount:
        fault = errno.EBUSY
    elif expected and not os.path.samestat(os.fstat(there), expected):  # somebody moved the directory we came from
        fault = errno.ESTALE
    if fault:
        os.close(there)
        raise OSError(fault, os.strerror(fault), name)
    os.close(here)
    return there


def _leave_files(directory: int, leave: Callable[[int, os.DirEntry[str]], None]) -> list[os.DirEntry[str]]:
    """Call ``leave`` for each entry of a directory that isn't a directory; return the directories."""
    with os.scandir(directory) as entries:
        found = list(entries)
    directories = []
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry)
        else:
            leave(directory, entry)
    return directories


def _take(directory: int, entry: os.DirEntry[str]) -> None:
    with suppress(FileNotFoundError):
        if entry.is_dir(follow_symlinks=False):
            os.rmdir(entry.name, dir_fd=directory)
        else:
            os.unlink(entry.name, dir_fd=directory)


def _mount_id(handle: int) -> str:
    """Return the mount that an open directory is in (proc_pid_fdinfo(5)): a bind mount has the same device number."""
    text = Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii")
    return next((line for line in text.splitlines() if line.startswith("mnt_id:")), "")


def _flags(name: str, directory: int | None) -> int:
    """Return the flags that keep a file or directory from being removed; 0 if its file system has none."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return 0
    try:
        (found,) = struct.unpack_from("i", fcntl.ioctl(handle, _GET_FLAGS, bytes(8)))
        return int(found) & (_IMMUTABLE | _APPEND_ONLY)
    except OSError:
        return 0
    finally:
        os.close(handle)


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable (fsync(2): the directory needs its own fsync)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
