#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an app from a host, all of it and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: remove
short_description: Remove an app from a host, all of it and nothing else
description:
  - Takes the lock on the app, and removes that too.
  - The site goes first, then the units after their accepted requests, then releases, data and account, and at last the
    stamp that says whose the name is. The next removal ends one that was killed.
  - Without a stamp it does nothing, because what has this name then is not ours.
  - Takes only what is recorded as made by the role. Fails with all that would stop the removal, before anything is
    removed, and in check mode too.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: The environment that this inventory stands for. A host that is stamped with another is refused.
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
  description: Paths that were removed, and the account; in check mode those that would be.
  returned: success
  type: list
  elements: str
"""
