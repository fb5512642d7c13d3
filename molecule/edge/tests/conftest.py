# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of this scenario are those of all scenarios."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
pytest_plugins = ["tests.deployed"]
