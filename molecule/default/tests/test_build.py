# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever packages do during their build stays in the venv."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import hostile
from tests.support.deployed import APP, Played, Server


@pytest.mark.parametrize("installer", ["uv", pytest.param("pip", marks=pytest.mark.outside)])
def test_hostile_packages_get_access_to_nothing_during_their_build(
    play: Callable[..., Played], in_turns: Server, tmp_path: Path, installer: str
) -> None:
    """The same run installs the project, and its app starts a program: it goes live only if both worked."""
    server = in_turns
    source = hostile.make(tmp_path / "app")
    done = play(
        limit=server.name,
        flask_app_source_directory=str(source),
        flask_app_install_project=True,
        flask_app_installer=installer,
    )
    assert done.code == 0, done.output
    venv = server.root(f"readlink -f /srv/{APP}/live/venv")
    found = {name: json.loads(server.root(f"cat {venv}/{file}")) for name, file in hostile.REPORTS.items()}
    own = [f"write {path}" for path in hostile.OWN]
    assert {name: report["got"] for name, report in found.items()} == dict.fromkeys(hostile.REPORTS, own)
    assert [name for name, report in found.items() if report["user"] == 0] == []
    left = server.root(f"ls -d {shlex.join(hostile.TARGETS)} 2>/dev/null || true")
    assert left == ""
    odd = r"\( ! -user root -o ! -group root -o -perm /6022 ! -type l -o -links +1 ! -type d \)"
    assert server.root(f"find /srv/{APP}/venvs /srv/{APP}/sources /opt/greenlight {odd} -print") == ""
    assert server.root(f"ls -A /srv/{APP}/venvs /srv/{APP}/sources | grep unfinished || true") == ""
    # The build's processes have ended, and its unit is gone.
    assert server.root("systemctl list-units --all --plain --no-legend 'greenlight-build-*'") == ""
    # An app's cache serves only its own builds.
    assert server.root(f"stat -c %a /var/cache/private /var/cache/private/greenlight/{APP}").split() == ["700", "700"]
