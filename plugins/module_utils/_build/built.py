# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether a venv is complete. Separate from building one, which would load ten other files."""

from __future__ import annotations

from pathlib import Path

#: Written into a venv last. It contains the versions of what is installed.
MARKER = "greenlight.json"


def is_complete(venv: Path) -> bool:
    return (venv / MARKER).is_file() and (venv / "bin/python").exists()
