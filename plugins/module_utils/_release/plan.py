# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says of a release: all of it but the code, which only the host has.

The controller makes it without asking the host, so what depends on the host, such as the number of workers, is computed
here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.files import read
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import made

from .store import Specification

#: Share of a host's memory for each of the two releases during a deploy.
SHARE = 0.4
#: The setting in gunicorn.conf.py that the host computes: no process runs with no worker.
_COMPUTED = re.compile(r"^workers = 0$", re.MULTILINE)


@dataclass(frozen=True)
class Workers:
    """How a host computes its number of Gunicorn workers: one for each processor, within these limits.

    Two releases run side by side during a deploy. Each gets 40 % of the memory, which leaves 20 % for the rest of the
    host.

    Args:
        most: maximum number of workers.
        memory_mb: memory of one worker in MiB.
    """

    most: int
    memory_mb: int

    def number(self, cpus: int, memory_mb: int) -> int:
        """Return the number for a host with so many processors and MiB of memory; at least 1."""
        return max(1, min(cpus, int(memory_mb * SHARE / self.memory_mb), self.most))


@dataclass(frozen=True)
class Code:
    """The code of a release.

    Args:
        source: digest of the source.
        venv: digest of the venv.
        revision: what the app reports as its revision.
    """

    source: str
    venv: str
    revision: str

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Code:
        """Take the code from a manifest, or from the options of a step."""
        return cls(*(str(values.get(each.name)) for each in fields(cls)))


@dataclass(frozen=True)
class Plan:
    """A release without its code.

    Args:
        environment: name of the environment.
        revision_variable: name of the variable with the revision.
        release_variable: name of the variable with the release's id.
        secret_names: which of the variables are masked in messages.
        command: shell commands to run once for the group before the release gets traffic; empty for none.
        reversible: whether older code works with the changes of the command.
        gunicorn: text of gunicorn.conf.py, in which ``workers = 0`` stands for the number that the host computes.
        workers: how the host computes that number.
        processes: name of each process to the texts of its parts.
        credentials: names of the variables that the process gets as systemd credentials instead.
        variables: the process's environment, without revision and release.
    """

    environment: str
    revision_variable: str
    release_variable: str
    secret_names: list[str]
    command: str
    reversible: bool
    gunicorn: str
    workers: Workers
    processes: Mapping[str, Mapping[str, str]]
    credentials: Sequence[str]
    variables: Mapping[str, object] = field(repr=False)

    @classmethod
    def of(cls, options: Mapping[str, Any], variables: Mapping[str, object]) -> Plan:
        """Make a plan from a step's options, ``options_of(Plan, "variables")``, and the process's variables."""
        return made(cls, {**options, "variables": variables})

    def with_code(self, code: Code, root: Path, time: str = "") -> Specification:
        """Return the release that the host at ``root`` makes of this plan and ``code`` at ``time``."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        revision_variable, workers = given.pop("revision_variable"), given.pop("workers")
        number = workers.number(**measures(root))
        return Specification(
            **{
                **given,
                "time": time,
                "source": code.source,
                "venv": code.venv,
                "revision": code.revision,
                "variables": {**self.variables, revision_variable: code.revision},
                "gunicorn": _COMPUTED.sub(f"workers = {number}", self.gunicorn, count=1),
            }
        )


def measures(root: Path) -> dict[str, int]:
    """Return how many processors this machine may use, and its memory in MiB.

    The memory is rounded down to 256 MiB, so that a kernel update doesn't change it.
    """
    return {"cpus": len(os.sched_getaffinity(0)), "memory_mb": _memory_mb(root)}


def _memory_mb(root: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read(root / "proc/meminfo") or "", re.MULTILINE)
    total = int(match.group(1)) // 1024 if match else 1024
    limit = (read(root / "sys/fs/cgroup/memory.max") or "").strip()
    if limit.isdigit():
        total = min(total, int(limit) // 2**20)
    return max(256, total // 256 * 256)
