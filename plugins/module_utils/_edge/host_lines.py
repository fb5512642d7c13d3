# SPDX-License-Identifier: GPL-3.0-or-later
"""Host-specific lines of Nginx's files: the role writes one text for all hosts, and each host keeps its own lines.

A line that ends in ``#:greenlight if CONDITION`` is kept, without that ending, if the condition holds. A condition is
``ipv6``, ``nginx >= VERSION`` or ``nginx < VERSION``; several are joined by ``and``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import read
from ansible_collections.greenlight.flask.plugins.module_utils._base.versions import numbers

#: Debian release -> the version of its Nginx package.
DEBIAN_NGINX = {"12": "1.22.1", "13": "1.26.3"}

_CONDITION = r"(?:ipv6|nginx (?:>=|<) [0-9.]+)"
_MARKED = re.compile(rf"^(.*?) *#:greenlight if ({_CONDITION}(?: and {_CONDITION})*)\n", re.MULTILINE)


@dataclass(frozen=True)
class Abilities:
    """The properties of a host that the conditions depend on.

    Attributes:
        ipv6: whether the kernel supports IPv6.
        nginx: version of Nginx as ``1.26.3``; if none is installed yet, that of the Debian release's package.
    """

    ipv6: bool
    nginx: str

    @classmethod
    def of(cls, root: Path) -> Abilities:
        """Read the properties of the host whose file system is at ``root``."""
        return cls((root / "proc/net/if_inet6").exists(), _nginx_version(root))

    def kept(self, text: str) -> str:
        """Return ``text`` with only the lines for this host."""

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
