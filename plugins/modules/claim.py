#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim an app's name on a host: stamp, record, directories, account and group."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: claim
short_description: Claim an app's name on a host, with its directories, account and group
description:
  - Fails if somebody else uses the name on this host. Otherwise records the host's environment and everything that the
    role makes under that name. A removal takes only what is recorded.
  - Makes the key for keyed digests, the directories of the release protocol, and the app's account and group.
  - Repairs these, with owners and modes, if somebody damaged them. Never rewrites a stamp.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: Environment of this host.
    type: str
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
- name: Claim the host
  greenlight.flask.claim:
    app: guestbook
    environment: staging
"""

RETURN = r"""
made:
  description: Paths, account and group that were missing or damaged, and were made or repaired.
  returned: always
  type: list
  elements: str
"""
