#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give back the lock on an app, or break it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unlock
short_description: Give back the lock on an app, or break it
description:
  - A run gives back its own lock. Without O(of) the lock is broken, whoever holds it.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  of:
    description: Id of the run that gives its lock back. Empty breaks the lock.
    type: str
  done:
    description:
      - The run has come to its end, so that a rollback that was begun is done, too. Without it, the next rollback goes
        on to the same release.
    type: bool
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Break the lock of a run that is dead
  greenlight.flask.unlock:
    app: guestbook
"""

RETURN = r"""
was:
  description: Who had the lock, since when and when they made the last step; empty where nobody had it.
  returned: always
  type: str
"""
