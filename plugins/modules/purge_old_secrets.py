#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the releases that hold an old secret."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: purge_old_secrets
short_description: Remove the releases that hold an old secret
description:
  - Removes each release with a secret that the live release doesn't have.
  - Afterwards there may be no release to roll back to.
version_added: "0.1.0"
author:
  - Greenlight founders
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
- name: Remove the releases with an old secret
  greenlight.flask.purge_old_secrets:
    app: guestbook
"""

RETURN = r"""
removed:
  description: Ids of the removed releases.
  returned: success
  type: list
  elements: str
"""
