# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for modules that left none: Python failed, the module was killed, or the host had no space for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import on_one_line

#: Errors of Python and shells on a full host.
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|No usable temporary directory")
#: The start of the last line of a Python traceback.
_KIND = re.compile(r"[\w.]*(Error|Exception): (\[Errno \d+\] )?")
#: Exit code of a shell after SIGKILL.
_KILLED = 137
#: Where Ansible unpacks a module on the host (tempfile of Python).
PLACES = ("/tmp", "/var/tmp")  # noqa: S108  # only inspected
#: The deepest existing directory of a path that may not exist yet.
_DEEPEST_THERE = 'while [ ! -e "$p" ]; do p=$(dirname "$p"); done'


def has_own_message(outcome: dict[str, Any]) -> bool:
    """Return whether the module completed, successfully or with its own message."""
    if not outcome.get("failed") and not outcome.get("unreachable"):
        return True
    return bool(outcome.get("msg")) and outcome.get("_ansible_parsed", True) is not False


def described(module: str, outcome: dict[str, Any], ask: Callable[[str], str]) -> tuple[dict[str, Any], str]:
    """Return a module's outcome with a message for people, and the text that only -vvv shows.

    Args:
        ask: runs a shell command on the host and returns its output.
    """
    if has_own_message(outcome):
        return outcome, ""
    whole = "\n".join(str(outcome[name]) for name in ("module_stdout", "module_stderr") if outcome.get(name))
    said = whole if outcome.get("_ansible_parsed") is False else _captured(outcome)
    message = _message(f"greenlight.flask.{module}", outcome, said, ask)
    return {"failed": True, "changed": False, "msg": message}, whole


def _message(module: str, outcome: dict[str, Any], said: str, ask: Callable[[str], str]) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = "".join(char if char.isprintable() else "?" for char in lines[-1]) if lines else "it left no message"
    last = _KIND.sub("", last).rstrip(".")
    if _NO_ROOM.search(said):
        return (
            f"{module} can't run on the host, which has no space for temporary files: {last}. {free(ask(question()))}"
            " Free some space there, and run the same command again."
        )
    if outcome.get("rc") == _KILLED:
        return (
            f"{module} was killed on the host (SIGKILL). Check whether memory ran out (journalctl -k), and run the same"
            " command again."
        )
    return (
        f"{module} failed on the host: {last}. Check the host's Python (ansible_python_interpreter), and run the same"
        " command again, with -vvv for its whole output."
    )


def _captured(outcome: dict[str, Any]) -> str:
    """Return the text of an error that the module didn't catch."""
    event = getattr(outcome.get("exception"), "event", None)
    return str(getattr(event, "msg", "") or "")


def not_copied_message(what: str, said: str, place: str, table: str) -> str:
    """Return a message for something that Ansible couldn't copy to the host.

    Args:
        what: what can't be done, without a full stop.
        said: Ansible's error.
        place: the directory in which Ansible makes its own.
        table: df(1)'s output for it, see :func:`question`.
    """
    lines = [line for line in said.splitlines() if _NO_ROOM.search(line)]
    where = f" {free(table, (place, *PLACES))}"
    if lines:
        last = on_one_line(lines[-1].strip().rstrip("."))
        return f"{what}, which has no space for it: {last}.{where} Free some space, and run the same command again."
    return (
        f"{what}: Ansible can't write to {place}.{where} Check whether it is full, read-only, or not owned by the SSH"
        " user, and run the same command again, with -vvvv for the whole output."
    )


def question(places: Sequence[str] = PLACES) -> str:
    """Return the shell command for the free space at paths on the host: df(1) in kilobytes and in inodes."""
    words = " ".join(map(_word, places))
    return f'for o in k i; do for p in {words}; do {_DEEPEST_THERE}; df -P$o "$p"; done; done'


def _word(path: str) -> str:
    return f'"$HOME"{shlex.quote(path[1:])}' if re.match(r"~(/|\Z)", path) else shlex.quote(path)


def free(table: str, places: Sequence[str] = PLACES) -> str:
    """Return df(1)'s output for ``places`` in sentences: file system and free space; empty if the output is."""
    rows = [line.split() for line in table.splitlines()]
    blocks: list[list[str]] = []
    inodes: list[list[str]] = []
    for row in rows:
        if len(row) >= 6 and row[3].isdigit():  # noqa: PLR2004  # df's columns
            (inodes if len(blocks) == len(places) else blocks).append(row)
    if len(blocks) != len(places) or len(inodes) != len(places):
        return ""
    return " ".join(
        f"{path} is on the file system {block[5]} ({block[0]}, {int(block[3]) // 1024} MiB and {inode[3]} inodes free)."
        for path, block, inode in zip(places, blocks, inodes, strict=True)
    )
