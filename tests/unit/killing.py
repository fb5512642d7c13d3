# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a piece of work, as SIGKILL or a power cut does, just before each of the changes it makes to the disk."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable

KILLED = 9
_CHANGES = {
    "os.rename", "os.symlink", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.chown", "os.truncate",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def killed(change: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed before its ``change``-th change to the disk (the first is 1).

    Returns False where the work ended before, so that a test can go through all of them.
    """
    child = os.fork()
    if child == 0:
        gc.disable()  # a collection would copy all the memory that the child shares with us
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            flags = arguments[2] if event == "open" else 0
            if event in _CHANGES or (isinstance(flags, int) and flags & _WRITING):
                seen += 1
                if seen == change:
                    os._exit(KILLED)

        try:
            sys.addaudithook(watch)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), "the work failed by itself; its traceback stands above"
    return code == KILLED
