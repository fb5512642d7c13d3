# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a piece of work, as SIGKILL or a power cut does, just before each of the changes it makes to the disk."""

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
#: What the dead do no longer, beside the changes before which they are killed.
_ACTS = {"os.utime", "os.setxattr", "os.fork", "os.posix_spawn", "os.kill", "subprocess.Popen", "socket.connect"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def _open_files() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # what listed them is closed again
            os.fstat(int(name))
            found.add(int(name))
    return found


class _KilledError(BaseException):
    """Unwinds what was killed; nothing that it does on the way has an effect."""


@dataclass
class _Work:
    """A piece of work that is killed before its ``change``-th change to the disk."""

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
        """What was not written yet never is: closing a file would write it."""
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
    """A hook stays for good, so it is one for all."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if _at_work:
            _at_work[0].watch(event, arguments)

    sys.addaudithook(hook)


def killed(change: int, work: Callable[[], object]) -> bool:
    """Do ``work``, which is killed before its ``change``-th change to the disk (the first is 1).

    No process is started for it: from that change on nothing has an effect, whatever the work does while it unwinds.
    Returns False where the work ended before, so that a test can go through all of them.
    """
    _hook()
    _at_work.append(doomed := _Work(change))
    try:
        with contextlib.suppress(_KilledError):
            work()
    finally:
        _at_work.clear()
    return doomed.dead
