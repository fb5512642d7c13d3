#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old releases, and the venvs and sources that no release uses."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: prune
short_description: Remove old releases, and the venvs and sources that no release uses
description:
  - Keeps the live and the previous release, the newest good ones, the newest bad one, and everything these use.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  keep:
    description: Number of good releases to keep.
    type: int
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Remove old releases
  greenlight.flask.prune:
    app: guestbook
    keep: 5
"""

RETURN = r"""
removed:
  description: Paths that were removed.
  returned: always
  type: list
  elements: str
"""
