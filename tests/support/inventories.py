# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories with other variables for each host, made from that of the scenario."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.deployed import INVENTORY, ROOT, SCENARIO


def inventory(name: str, hosts: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Path:
    """Write an inventory and return its directory; one of the same name is replaced.

    Args:
        name: of its directory.
        hosts: by name in this inventory, the test server that the host is, and its variables.
    """
    # As deep as the inventory that it is a copy of, for paths that begin there.
    place = ROOT / "build" / f"{name}-{SCENARIO}" / "inventory"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(INVENTORY, place)
    text = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    known = text["flask_app"]["hosts"]
    text["flask_app"]["hosts"] = {host: {**known[server], **variables} for host, (server, variables) in hosts.items()}
    (place / "hosts.yml").write_text(yaml.safe_dump(text))
    return place
