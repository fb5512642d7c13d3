# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of Nginx's files that are for some hosts only: the role writes one text for all, each host keeps its lines.

A line that ends in ``#:greenlight if CONDITION`` stays, without that end, where the condition holds. A condition is
``ipv6``, ``nginx >= VERSION`` or ``nginx < VERSION``; several are joined by ``and``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import read
from ansible_collections.greenlight.flask.plugins.module_utils._base.versions import numbers

#: Debian release -> the Nginx that its package brings.
DEBIAN_NGINX = {"12": "1.22.1", "13": "1.26.3"}

_CONDITION = r"(?:ipv6|nginx (?:>=|<) [0-9.]+)"
_MARKED = re.compile(rf"^(.*?) *#:greenlight if ({_CONDITION}(?: and {_CONDITION})*)\n", re.MULTILINE)


@dataclass(frozen=True)
class Abilities:
    """What of a host decides about lines.

    Attributes:
        ipv6: whether the kernel speaks IPv6.
        nginx: version of Nginx as ``1.26.3``; of the one that this Debian release has, where none is installed yet.
    """

    ipv6: bool
    nginx: str

    @classmethod
    def of(cls, root: Path) -> Abilities:
        """Look at the host whose file system is at ``root``."""
        return cls((root / "proc/net/if_inet6").exists(), _nginx_version(root))

    def kept(self, text: str) -> str:
        """Return ``text`` with the lines that this host has."""

        def line(marked: re.Match[str]) -> str:
            return f"{marked[1]}\n" if all(map(self._holds, marked[2].split(" and "))) else ""

        return _MARKED.sub(line, text)

    def _holds(self, condition: str) -> bool:
        if condition == "ipv6":
            return self.ipv6
        _, comparison, version = condition.split()
        return (numbers(self.nginx) >= numbers(version)) == (comparison == ">=")


def _nginx_version(root: Path) -> str:
    match = re.search(r"nginx/([0-9.]+)", run(["/usr/sbin/nginx", "-v"]).stderr)
    release = re.search(r'^VERSION_ID="?(\d+)', read(root / "etc/os-release") or "", re.MULTILINE)
    return match.group(1) if match else DEBIAN_NGINX.get(release.group(1) if release else "", "")
