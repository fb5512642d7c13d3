# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of this scenario."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SCENARIO = Path(__file__).resolve().parents[1]
os.environ["MOLECULE_SCENARIO_NAME"] = SCENARIO.name
sys.path.insert(0, str(SCENARIO.parents[1]))
pytest_plugins = ["tests.support.deployed"]
