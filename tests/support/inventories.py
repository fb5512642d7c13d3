# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories with different variables for each host, made from the scenario's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.deployed import INVENTORY, ROOT, SCENARIO


def inventory(name: str, hosts: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Path:
    """Write an inventory and return its directory; it replaces one of the same name.

    Args:
        name: of its directory.
        hosts: by name in this inventory, the test server behind the host, and its variables.
    """
    # At the same depth as the original, because of its relative paths.
    place = ROOT / "build" / f"{name}-{SCENARIO}" / "inventory"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(INVENTORY, place)
    text = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    known = text["flask_app"]["hosts"]
    text["flask_app"]["hosts"] = {host: {**known[server], **variables} for host, (server, variables) in hosts.items()}
    (place / "hosts.yml").write_text(yaml.safe_dump(text))
    return place
