#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give back the lock on an app, or break it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unlock
short_description: Give back the lock on an app, or break it
description:
  - Gives back a run's own lock. Without O(of), breaks the lock, whoever holds it.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  of:
    description: Id of the run that gives its lock back. Empty means break the lock.
    type: str
  done:
    description:
      - Whether the run completed, and with it any rollback that it began. If not, the next rollback continues to the
        same release.
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
- name: Break the lock of a dead run
  greenlight.flask.unlock:
    app: guestbook
"""

RETURN = r"""
was:
  description: Who held the lock, since when, and the time of the last step. Empty if nobody held it.
  returned: always
  type: str
"""
