#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the settings in which two inventories differ."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compare
short_description: List the settings in which two inventories differ
description:
  - An action that runs on the controller, contacts no host and changes nothing.
  - Reads the two inventories as Ansible does, with the defaults of the role C(flask_app). Call it from that role.
  - For a secret, reports only whether it is the same, different or missing, never its value.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  inventories:
    description: Names of the two directories, next to the inventory of the run.
    type: list
    elements: str
    required: true
  format:
    description: V(text) is for people; V(json) prints one line with a JSON object.
    type: str
    choices: [text, json]
    default: text
extends_documentation_fragment:
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Compare staging with production
  greenlight.flask.compare:
    inventories: [staging, production]
  run_once: true
"""

RETURN = r"""
differences:
  description:
    - Each has C(group), C(setting), C(one), C(other) and C(matters). Those that matter come first.
    - The group C(secret) also lists values that are the same.
  returned: success
  type: list
  elements: dict
"""
