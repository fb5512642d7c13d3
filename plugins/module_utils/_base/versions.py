# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of programs, compared number by number."""

from __future__ import annotations

import re


def numbers(version: str) -> list[int]:
    """Return the numbers of a version, as ``[1, 26, 3]``; an empty list for an empty text."""
    return [int(number) for number in re.findall(r"\d+", version)]
