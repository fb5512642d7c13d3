#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine an app's settings, secrets, source and inventories on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: doctor
short_description: Examine an app's settings, secrets, source and inventories on the controller
description:
  - An action. It runs on the controller, no host is asked, and nothing is changed.
  - Without O(results) it examines the host of the task, by the variables of the role C(flask_app), and never fails.
  - With O(results) it tells what was found on several hosts as one, and fails where an error is among it.
  - What an inventory has in common with those beside it is found by keyed hashes, and no text holds a value.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  app:
    description: What M(greenlight.flask.inspect) returned for the host, if it was asked.
    type: dict
    default: {}
  results:
    description: What this module returned for each host.
    type: list
    elements: dict
    default: []
  format:
    description: V(text) for people; V(json) prints one line with a JSON object.
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
- name: Examine each host's variables
  greenlight.flask.doctor: {}
  register: examined

- name: Tell what was found
  greenlight.flask.doctor:
    results: "{{ ansible_play_hosts | map('extract', hostvars, 'examined') }}"
    format: json
  run_once: true
"""

RETURN = r"""
app:
  description: Name of the app.
  returned: without O(results)
  type: str
environment:
  description: The environment of the inventory.
  returned: without O(results)
  type: str
host:
  description: The host whose variables these are.
  returned: without O(results)
  type: str
findings:
  description:
    - What was found. Each has C(id), C(severity) (V(error) or V(warning)), C(subject) (the variable or file),
      C(what), C(fix), C(accepted) and C(hosts).
  returned: without O(results)
  type: list
  elements: dict
compared:
  description: The inventories of other environments with whose secrets those of the host were compared.
  returned: without O(results)
  type: list
  elements: str
"""
