#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and check whether the live release has the inventory's keys."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compare_keys
short_description: Take the lock and check whether the live release has the inventory's keys
description:
  - Use the action of the same name. It reads the keys itself, so that no value is ever a task argument.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  variable:
    description: Name of the variable with the signing key. The one with the suffix C(_FALLBACKS) holds the others.
    type: str
    required: true
  keys:
    description:
      - C(key) signs, the keys in the list C(fallbacks) still verify. The action reads them from the vault file.
    type: dict
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
- name: Check whether the keys are live
  greenlight.flask.compare_keys:
    app: guestbook
    stale_seconds: 1800
    environment: staging
    variable: SECRET_KEY
    variables_from: [flask_app_secrets]
"""

RETURN = r"""
live:
  description: Whether the live release has exactly these keys.
  returned: success
  type: bool
"""
