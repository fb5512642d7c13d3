#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the release to roll back to."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: find_rollback
short_description: Find the release to roll back to
description:
  - Takes the lock on the app and changes nothing else.
  - Fails and lists the choices if the wanted release is live, bad, incomplete or unproved.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of the release. Empty means the previously live one.
    type: str
    required: true
  force:
    description: Whether to roll back even across a release command that can't be undone.
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
  description: Id of the release to roll back to.
  returned: success
  type: str
revision:
  description: Revision of the release.
  returned: success
  type: str
serves:
  description: Always false, because it is not the live release.
  returned: success
  type: bool
"""
