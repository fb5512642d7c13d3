# SPDX-License-Identifier: GPL-3.0-or-later
"""Where secrets are. test_leaks.py checks where they must not be."""

from __future__ import annotations

from tests.support.deployed import APP, Server


def test_only_root_can_read_the_environment_file(server: Server) -> None:
    found = server.root(f"stat --format='%U:%G %a' /etc/{APP}/releases /etc/{APP}/releases/{server.live}.env")
    assert found.splitlines() == ["root:root 700", "root:root 600"]
