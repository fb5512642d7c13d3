# SPDX-License-Identifier: GPL-3.0-or-later
"""Check, read and write a tree of files that a less trusted party wrote, without ever leaving the tree.

The same walk serves the controller and the host, directories and archives. It opens each name in its parent directory
and never lets the kernel follow a link: it reads the link and walks to its target the same way. So it finds a link that
leads out through another one, which comparing texts can't find, and a concurrent change can't lead it out either.

openat2(2) with RESOLVE_BENEATH does that in the kernel, but Python has no call for it, and a controller may be a Mac.
The data filter of tarfile (PEP 706) is missing in the Python of Debian 12, and only handles archives.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import on_one_line

#: The kernel's own limit for one path (path_resolution(7)).
MAX_LINKS = 40
#: Maximum number of names in one message.
_NAMES = 5


class RefusedError(GreenlightError):
    """A source can't be deployed: what is wrong, without a full stop, and the fix as a sentence."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}. {cure}")
        self.what, self.fix = what, cure


class OutsideError(GreenlightError):
    """A path leads out of the tree, or isn't a file or a directory."""


@dataclass(frozen=True)
class Entry:
    """A file or link of a source: path relative to it, whether it is executable, link target or None."""

    path: str
    executable: bool
    target: str | None


def named(names: Collection[str]) -> str:
    """List a few names for a message, with control characters escaped, and count the others."""
    first = map(on_one_line, list(names)[:_NAMES])
    return ", ".join(first) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")


def destination(path: str, links: Mapping[str, str]) -> str | None:
    """Resolve ``path``; return None if it leaves the tree or loops.

    Args:
        path: relative to the tree.
        links: all links of the tree, path to target. Any other name counts as a directory, even a missing one: so a
            link stays inside, whatever is made there later.
    """
    return _followed(path, links)[0]


def passes_through(path: str, links: Mapping[str, str], places: Collection[str]) -> bool:
    """Say whether ``path`` passes through one of ``places`` on the way to its :func:`destination`, or ends there."""
    return not _followed(path, links)[1].isdisjoint(places)


def made_later(names: Iterable[str], listed: Collection[str]) -> list[str]:
    """Return those of ``names`` that don't exist in a tree: no ``listed`` path is there or below."""
    return [name for name in names if not any(f"{path}/".startswith(f"{name}/") for path in listed)]


def _followed(path: str, links: Mapping[str, str]) -> tuple[str | None, set[str]]:
    """Return where a path ends, see :func:`destination`, and the places that it passes through."""
    waiting, at, followed, passed = path.split("/")[::-1], list[str](), 0, set[str]()
    while waiting:
        part = waiting.pop()
        target = links.get("/".join([*at, part]))
        if part == "..":
            if not at:
                return None, passed
            at.pop()
        elif target is not None:
            followed += 1
            if followed > MAX_LINKS or not target or target.startswith("/"):
                return None, passed
            waiting += target.split("/")[::-1]
        elif part not in ("", "."):
            at.append(part)
            passed.add("/".join(at))
    return "/".join(at), passed


def check(listed: Iterable[Entry], directories: Collection[str] = (), *, leads_out: Collection[str] = ()) -> None:
    """Reject a tree that can't be made as listed, or that has a link which leads out of it.

    Args:
        listed: its files and links.
        directories: its directories; non-empty ones may be left out.
        leads_out: where we make a link that leads out of the tree, unless the tree has something there.

    Raises:
        RefusedError: with the names.
    """
    kinds: dict[str, str] = {}
    links: dict[str, str] = {}
    wrong: dict[str, dict[str, None]] = {}
    for entry in listed:
        if entry.path in kinds:
            wrong.setdefault("twice in the source", {})[entry.path] = None
        kinds[entry.path] = "file" if entry.target is None else "link"
        if entry.target is not None:
            links[entry.path] = entry.target
    for path in (*kinds, *directories):
        if any(part in ("", ".", "..") for part in path.split("/")):
            wrong.setdefault("not a path below the source", {})[path] = None
    for path in (*kinds, *(f"{path}/" for path in directories)):
        for end in (at for at, letter in enumerate(path) if letter == "/" and path[:at] in kinds):
            wrong.setdefault(f"a {kinds[path[:end]]} and a directory at once", {})[path[:end]] = None
    of_the_app = made_later(leads_out, kinds)
    for path, target in links.items():
        if destination(path, links) is None:
            what = "a link that leads out of the source, or loops"
            wrong.setdefault(what, {})[f"{path} -> {target}"] = None
        elif passes_through(path, links, of_the_app):
            what = f"a link by way of {' or '.join(of_the_app)}, where the app can write on the host"
            wrong.setdefault(what, {})[f"{path} -> {target}"] = None
    if wrong:
        text = "; ".join(f"{named(paths)}: {what}" for what, paths in wrong.items())
        cure = (
            "Make each a file, a directory, or a link to something in the source. Let the app serve what it writes."
        )
        raise RefusedError(text, cure)


def holds(listed: Collection[Entry], path: str) -> bool:
    """Say whether a path of a tree is, or links to, a non-empty directory."""
    end = destination(path, {entry.path: entry.target for entry in listed if entry.target is not None})
    return end is not None and any(entry.path.startswith(f"{end}/" if end else "") for entry in listed)


def _walk(top: Path, name: str, *, links: bool) -> tuple[int, list[str]]:
    """Open ``name`` below ``top`` for reading; return its descriptor, and its path without links.

    Raises:
        OutsideError: it leads out, or passes through a link although ``links`` is False.
        OSError: it is missing or can't be read.
    """
    opened, at, waiting, followed = [os.open(top, os.O_RDONLY | os.O_DIRECTORY)], list[str](), [name], 0
    try:
        while waiting:
            part = waiting.pop()
            if "/" in part:
                if part.startswith("/"):
                    raise OutsideError(f"{named([name])} leads out of {top}")
                waiting += part.split("/")[::-1]
            elif part == "..":
                if not at:
                    raise OutsideError(f"{named([name])} leads out of {top}")
                at.pop()
                os.close(opened.pop())
            elif part not in ("", "."):
                mode = os.stat(part, dir_fd=opened[-1], follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    followed += 1
                    if not links or followed > MAX_LINKS:
                        raise OutsideError(f"{named([name])} passes through links, or loops")
                    waiting.append(os.readlink(part, dir_fd=opened[-1]))
                elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                    opened.append(os.open(part, flags, dir_fd=opened[-1]))
                    at.append(part)
                else:
                    raise OutsideError(f"{named([name])} is neither a file nor a directory")
        return opened.pop(), at
    finally:
        for handle in opened:
            os.close(handle)


def directory_below(top: Path, name: str) -> Path:
    """Return the directory ``name`` in ``top``, with all links resolved.

    Raises:
        GreenlightError: it is missing, or leads out.
    """
    missing = GreenlightError(f"there is no directory {top / name}")
    try:
        handle, at = _walk(top, name, links=True)
    except OSError:
        raise missing from None
    kind = os.fstat(handle).st_mode
    os.close(handle)
    if not stat.S_ISDIR(kind):
        raise missing
    return top.joinpath(*at)


def read_text(top: Path, name: str, *, most: int = 2**26, links: bool = True) -> str | None:
    """Return the text of the file; see :func:`read_bytes`."""
    content = read_bytes(top, name, most=most, links=links)
    return None if content is None else content.decode(errors="replace")


def read_bytes(top: Path, name: str, *, most: int = 2**26, links: bool = True) -> bytes | None:
    """Return the content of a file below ``top``, or None if it is missing, leads out, or exceeds ``most`` bytes.

    The controller reads a source only with this function; it follows links inside the source if ``links`` is True.
    """
    with suppress(OSError, OutsideError):
        handle, _ = _walk(top, name, links=links)
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_size <= most:
            with os.fdopen(handle, "rb") as file:
                return file.read()
        os.close(handle)
    return None


class Below:
    """Opens files of a tree without following links. The directories of the last path stay open for the next one.

    Args:
        top: the tree's directory.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        self._at: list[str] = []
        self._opened: list[int] = []

    def __enter__(self) -> Below:
        self._opened = [os.open(self._top, os.O_RDONLY | os.O_DIRECTORY)]
        return self

    def __exit__(self, *_: object) -> None:
        while self._opened:
            os.close(self._opened.pop())

    def open(self, path: str) -> BufferedReader:
        """Open a regular file for reading.

        Raises:
            GreenlightError: it no longer exists, or can't be read.
        """
        *parents, name = path.split("/")
        try:
            # Opening a pipe would wait for somebody to write.
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._enter(parents))
        except OSError as error:
            raise GreenlightError(f"{named([path])} can't be read: {error.strerror}") from error
        file = os.fdopen(handle, "rb")
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            file.close()
            raise GreenlightError(f"{named([path])} is no longer a file")
        return file

    def write(self, entry: Entry, content: IO[bytes], time: float) -> None:
        """Make a file or a link, and its parent directories: 0755 or 0644, with this time (UNIX seconds).

        Raises:
            OSError: the name is taken, or a part of its path isn't a directory.
        """
        *parents, name = entry.path.split("/")
        parent = self._enter(parents, make=True)
        if entry.target is not None:
            os.symlink(entry.target, name, dir_fd=parent)
            os.utime(name, (time, time), dir_fd=parent, follow_symlinks=False)
            return
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        with os.fdopen(made, "wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fchmod(made, 0o755 if entry.executable else 0o644)
            os.utime(made, (time, time))

    def _enter(self, parents: list[str], *, make: bool = False) -> int:
        while self._at != parents[: len(self._at)]:
            self._at.pop()
            os.close(self._opened.pop())
        for part in parents[len(self._at) :]:
            missing = False
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=self._opened[-1])
                    missing = True
            handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._opened[-1])
            self._opened.append(handle)
            self._at.append(part)
            if missing:
                os.fchmod(handle, 0o755)  # whatever the umask
        return self._opened[-1]
