#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a run: stop every release but the live one, remove old ones, and give the lock back if asked to."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: finish
short_description: "End a run: stop every release but the live one, and remove old ones"
description:
  - Does in one round trip what M(greenlight.flask.retire), M(greenlight.flask.prune) and, on request,
    M(greenlight.flask.purge_old_secrets) do.
  - Then gives the lock back if O(give_back), unless one of them fails.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  keep:
    description: Number of good releases to keep.
    type: int
    required: true
  give_back:
    description: Whether the run is complete after this, so that it gives its lock back.
    type: bool
    required: true
  purge:
    description: Whether to remove the releases that hold an old secret.
    type: bool
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Stop the other releases, remove old ones, and give the lock back
  greenlight.flask.finish:
    app: guestbook
    run: "{{ opened.run }}"
    bounds: {stop_seconds: 40, drain_seconds: 10}
    keep: 5
    give_back: true
    purge: false
"""

RETURN = r"""
retired:
  description: Release to the seconds that it took to drain and stop it.
  returned: success
  type: dict
removed:
  description: Paths that were removed, and ids of the releases that held an old secret.
  returned: success
  type: list
  elements: str
"""
