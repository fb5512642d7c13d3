# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a piece of work, like SIGKILL or a power cut, just before each of the changes it makes to the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

_CHANGES = {
    "os.rename", "os.symlink", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.chown", "os.truncate",
}  # fmt: skip
#: Acts that a killed process can't do either; work isn't killed before them.
_ACTS = {"os.utime", "os.setxattr", "os.fork", "os.posix_spawn", "os.kill", "subprocess.Popen", "socket.connect"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def _open_files() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the directory listing's own handle is already closed
            os.fstat(int(name))
            found.add(int(name))
    return found


class _KilledError(BaseException):
    """Unwinds the killed work; nothing that it does on the way has an effect."""


@dataclass
class _Work:
    """A piece of work to kill before its ``change``-th change to the disk."""

    change: int
    seen: int = 0
    before: set[int] = field(default_factory=_open_files)

    @property
    def dead(self) -> bool:
        return self.seen >= self.change

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        changes = event in _CHANGES or (isinstance(flags, int) and bool(flags & _WRITING))
        if changes and not self.dead:
            self.seen += 1
            if self.dead:
                self._lose_buffers()
        if self.dead and (changes or event in _ACTS):
            raise _KilledError

    def _lose_buffers(self) -> None:
        """Lose unwritten data: closing the files would write it."""
        _at_work.clear()
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for handle in _open_files() - self.before - {nowhere}:
            writing = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if writing and stat.S_ISREG(os.fstat(handle).st_mode):
                os.dup2(nowhere, handle, inheritable=False)
        os.close(nowhere)
        _at_work.append(self)


_at_work: list[_Work] = []


@cache
def _hook() -> None:
    """Install one audit hook for all, because a hook can't be removed."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if _at_work:
            _at_work[0].watch(event, arguments)

    sys.addaudithook(hook)


def killed(change: int, work: Callable[[], object]) -> bool:
    """Do ``work``, and kill it before its ``change``-th change to the disk (the first is 1).

    It needs no separate process: from that change on nothing has an effect, whatever the work does while it unwinds.
    Returns False if the work ended earlier, so that a test can iterate over all changes.
    """
    _hook()
    _at_work.append(doomed := _Work(change))
    try:
        with contextlib.suppress(_KilledError):
            work()
    finally:
        _at_work.clear()
    return doomed.dead
