#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a copy of the live release with other keys."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotate
short_description: Make a copy of the live release with other keys
description:
  - Source, venv, settings and all other variables are those of the live release.
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
  time:
    description: UTC time of the run; must be the same on all hosts.
    type: str
    required: true
  by:
    description: Who rotates.
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
- name: Make the release with the new key
  greenlight.flask.rotate:
    app: guestbook
    variable: SECRET_KEY
    variables_from: [flask_app_secrets]
    time: 20261121T094420Z
    by: alice
"""

RETURN = r"""
release:
  description: Id of the release. Empty in check mode if it would be made.
  returned: success
  type: str
revision:
  description: Revision of the release, which is the live one's.
  returned: success
  type: str
serves:
  description: Whether the release is already live, that is linked, running and enabled.
  returned: success
  type: bool
"""
