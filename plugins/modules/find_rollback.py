#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the release that a rollback goes to."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: find_rollback
short_description: Find the release that a rollback goes to
description:
  - Changes nothing but the lock on the app, which it takes.
  - Where the wanted one is live, bad, half-made or unproved, it fails and names the choices.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of the release. Empty means the one that was live before.
    type: str
    required: true
  force:
    description: Also go back across a release command that can't be undone.
    type: bool
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.stamp
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Find the previous release
  greenlight.flask.find_rollback:
    app: guestbook
    stale_seconds: 1800
    environment: staging
    release: ""
    force: false
"""

RETURN = r"""
release:
  description: Id of the release to go back to.
  returned: success
  type: str
revision:
  description: Its revision.
  returned: success
  type: str
serves:
  description: Always false, for it is not the live one.
  returned: success
  type: bool
"""
