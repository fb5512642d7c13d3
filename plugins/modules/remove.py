#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an app from a host, completely and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: remove
short_description: Remove an app from a host, completely and nothing else
description:
  - Takes the lock on the app, and removes the lock too.
  - Removes the site first, then the units after their accepted requests, then releases, data and account, and last the
    stamp that claims the name. The next removal finishes one that was killed.
  - Does nothing without a stamp, because the role didn't make what has this name then.
  - Removes only what is recorded as made by the role. Fails with all obstacles before it removes anything, in check
    mode too.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: Environment of this inventory. A host with another stamp is refused.
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Remove the guestbook
  greenlight.flask.remove:
    app: guestbook
    stale_seconds: 1800
    environment: staging
    bounds: {stop_seconds: 40, drain_seconds: 10}
"""

RETURN = r"""
removed:
  description: Removed paths, and the account. In check mode, those that would be removed.
  returned: success
  type: list
  elements: str
"""
