#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take an app's name on a host: stamp, record, directories, account and group."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: claim
short_description: Take an app's name on a host, with its directories, account and group
description:
  - Fails where somebody else has the name on this host. Otherwise it records what the role makes under that name, which
    is all that a removal takes, and which environment the host is.
  - Makes the key for keyed digests, the directories of the release protocol, and the app's account and group.
  - Repairs these, and owners and modes, where somebody damaged them. It never writes a stamp anew.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: The environment that this host is.
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
  description: Paths, account and group that were missing or damaged, and are as they must be now.
  returned: always
  type: list
  elements: str
"""
