# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of this scenario are those of all scenarios."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
pytest_plugins = ["tests.deployed"]

# As in tests/conftest.py, for the one test that renders with the collection's own function.
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()
