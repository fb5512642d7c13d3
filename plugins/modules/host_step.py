#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one step of a deploy on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_step
short_description: Run one step of a deploy on a host
description:
  - The tasks of this collection, such as M(greenlight.flask.switch), run this on a host. Don't use it as a task.
  - All steps are one module, because Ansible packs each module again in every run, which takes longer than most steps.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  step:
    description: Name of the step, which is its task's name.
    type: str
    required: true
  options:
    description: Options of the step as JSON. Ansible masks them wherever it shows a module's arguments.
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: full
"""

EXAMPLES = r"""
- name: List the releases
  greenlight.flask.host_step:
    step: releases_info
    options: '{"app": "guestbook"}'
"""

RETURN = r"""
changed:
  description: Whether the step changed the host. The step's documentation describes the other values.
  returned: always
  type: bool
"""

from ansible_collections.greenlight.flask.plugins.module_utils._adapter import main

if __name__ == "__main__":
    main()
