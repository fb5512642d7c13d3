# SPDX-License-Identifier: GPL-3.0-or-later
"""Many wrong inputs in one play: each is a separate host in the inventory, and all hosts are one server.

The preflight refuses input before it takes the lock, so the hosts don't get in each other's way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.deployed import Played, run_play
from tests.support.inventories import inventory


@dataclass(frozen=True)
class Refusals:
    """The result of one play of many cases.

    Attributes:
        output: everything that it printed.
        of: by case, the result of its host, see :func:`of_host`.
    """

    output: str
    of: dict[str, Played]


def host_name(case: str) -> str:
    """Return the inventory's name for a case with this title."""
    return re.sub(r"[^a-z0-9]+", "-", case.lower()).strip("-")


def refusals(server: str, cases: Mapping[str, Mapping[str, Any]]) -> Refusals:
    """Deploy to ``server`` once for each case in one play; a case's variables override the inventory's."""
    hosts = {host_name(case): (server, variables) for case, variables in cases.items()}
    done = run_play(inventory=inventory("refusals", hosts))
    return Refusals(done.output, {case: of_host(host_name(case), done) for case in cases})


def of_host(name: str, done: Played) -> Played:
    """Return how one host of a play ended: code 1 if it failed, and the play's output about this host."""
    said = re.findall(rf"^fatal: \[{name}\].*?(?=^\S)", done.output, re.MULTILINE | re.DOTALL)
    [recap] = re.findall(rf"^{name} +: .*$", done.output, re.MULTILINE)
    failed = not re.search(r"\bfailed=0\b", recap)
    return Played(int(failed), "\n".join([*said, recap]))
