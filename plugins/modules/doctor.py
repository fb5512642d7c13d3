#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine an app's settings, secrets, source and inventories on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: doctor
short_description: Examine an app's settings, secrets, source and inventories on the controller
description:
  - An action that runs on the controller, contacts no host and changes nothing.
  - Without O(results), examines the task's host by the variables of the role C(flask_app), and never fails.
  - With O(results), merges the findings of several hosts into one report, and fails if it contains an error.
  - Finds secrets that inventories share by keyed hashes. No text holds a value.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  app:
    description: What M(greenlight.flask.inspect) returned for the host, if the host was queried.
    type: dict
    default: {}
  results:
    description: What this module returned for each host.
    type: list
    elements: dict
    default: []
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
- name: Examine each host's variables
  greenlight.flask.doctor: {}
  register: examined

- name: Report the findings
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
  description: Environment of the inventory.
  returned: without O(results)
  type: str
host:
  description: The examined host.
  returned: without O(results)
  type: str
findings:
  description:
    - The findings. Each has C(id), C(severity) (V(error) or V(warning)), C(subject) (the variable or file),
      C(what), C(fix), C(accepted) and C(hosts).
  returned: without O(results)
  type: list
  elements: dict
compared:
  description: Inventories of other environments whose secrets were compared with the host's.
  returned: without O(results)
  type: list
  elements: str
"""
