# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program, bounded in time, and describe its failure in one sentence."""

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
#: Errors of execve(2) for a path without a file, and for a file that can't be run. Others, such as a lack of memory,
#: are not the program's fault.
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
    """The output and the exit code of a program.

    We set the codes :data:`OUT_OF_TIME`, :data:`NOT_RUNNABLE` and :data:`NOT_INSTALLED` ourselves.
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
    """Run ``argv`` for at most ``seconds``, with ``environment`` added to our own; never raise for a bad exit.

    ``given`` is its standard input. ``errors`` says how to decode output that isn't UTF-8; file names need
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
            # Only the lock's guard is inheritable: a program that outlives us still holds it.
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
    """Run ``argv`` as :func:`run` does; raise :class:`GreenlightError` with ``what`` and the last lines if it fails."""
    done = run(argv, **options)  # type: ignore[arg-type]
    if done.code != 0:
        tail = "\n".join(done.output.splitlines()[-20:])
        raise GreenlightError(f"{what} failed (exit code {done.code}):\n{tail}")
    return done
