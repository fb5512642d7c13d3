# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program, bounded in time, with its failure told in one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GreenlightError

#: Exit codes as timeout(1) and env(1) give them.
OUT_OF_TIME = 124
NOT_RUNNABLE = 126
NOT_INSTALLED = 127
#: What the system says of a path at which there is no file, and of one that it can't run (execve(2)). Others, such as
#: a lack of memory, are not the program's fault.
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_NO_PROGRAM = (
    errno.EACCES,
    errno.EPERM,
    errno.ENOEXEC,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ELIBBAD,
    errno.ETXTBSY,
)


@dataclass(frozen=True)
class Finished:
    """What a program left: its output, and its exit code.

    Of the latter, :data:`OUT_OF_TIME`, :data:`NOT_RUNNABLE` and :data:`NOT_INSTALLED` are ours.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return "\n".join(part for part in (self.stdout.strip(), self.stderr.strip()) if part)


def run(
    argv: Sequence[str | Path],
    *,
    seconds: float = 60,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    errors: str = "replace",
    given: str = "",
) -> Finished:
    """Run ``argv`` for at most ``seconds`` with ``environment`` laid over our own; never raises for a bad exit.

    ``given`` is its standard input. ``errors`` says what becomes of output that is not UTF-8; file names need
    ``surrogateescape``.
    """
    merged = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            env=merged,
            cwd=directory,
            capture_output=True,
            text=True,
            errors=errors,
            input=given,
            # What is inheritable is the guard of the lock: a program that outlives us still holds it.
            close_fds=False,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        partial = late.stderr or b""
        text = partial.decode(errors="replace") if isinstance(partial, bytes) else partial
        return Finished(OUT_OF_TIME, "", f"{text.strip()}\n{argv[0]} took longer than {seconds:g} seconds".strip())
    except OSError as error:
        if directory and str(error.filename) == str(directory):
            raise
        if error.errno in _ABSENT:
            return Finished(NOT_INSTALLED, "", f"{argv[0]} is not installed on this host")
        if error.errno in _NO_PROGRAM:
            return Finished(NOT_RUNNABLE, "", f"{argv[0]} can't be run on this host: {error.strerror}")
        raise
    return Finished(done.returncode, done.stdout, done.stderr)


def require(argv: Sequence[str | Path], what: str, **options: object) -> Finished:
    """Like :func:`run`, but a bad exit raises :class:`GreenlightError` that says ``what`` failed and the last lines."""
    done = run(argv, **options)  # type: ignore[arg-type]
    if done.code != 0:
        tail = "\n".join(done.output.splitlines()[-20:])
        raise GreenlightError(f"{what} failed (exit code {done.code}):\n{tail}")
    return done
