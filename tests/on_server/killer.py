# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test server: kill a step of the collection with SIGKILL just before one of its changes to the host.

Python imports this file at each start, through a .pth file. An audit hook sees every change to the disk and every
program start; the stack shows which step is running. tests/support/faults.py copies this file to the server and removes
it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import sys
from types import FrameType

CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "subprocess.Popen"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
ORDER = "/run/greenlight-kill.json"
COUNTS = "/run/greenlight-kill.counts"
STEP = re.compile(r"greenlight/flask/plugins/module_utils/_steps/(\w+)\.py$")


def _step() -> str:
    """Return the collection's step that makes this change; empty if none does."""
    frame: FrameType | None = sys._getframe(2)
    while frame:
        match = STEP.search(frame.f_code.co_filename)
        if match and frame.f_code.co_name == "run":
            return match.group(1)
        frame = frame.f_back
    return ""


def _arm(order: dict[str, object]) -> None:
    seen: dict[str, int] = {}

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        flags = arguments[2] if event == "open" and len(arguments) > 2 else 0
        if event not in CHANGES and not (isinstance(flags, int) and flags & WRITING):
            return
        step = _step()
        if not step:
            return
        seen[step] = seen.get(step, 0) + 1
        if step == order["step"] and seen[step] == order["change"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_counts() -> None:
        if seen and not order["change"]:
            with open(COUNTS, "a", encoding="ascii") as stream:
                stream.writelines(f"{step} {count}\n" for step, count in seen.items())

    atexit.register(write_counts)
    sys.addaudithook(watch)


if os.geteuid() == 0:
    with contextlib.suppress(OSError, ValueError), open(ORDER, encoding="utf-8") as _stream:
        _arm(json.load(_stream))
