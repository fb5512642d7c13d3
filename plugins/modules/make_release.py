#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the release that the inventory describes, unless it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: make_release
short_description: Make the release that the inventory describes, unless it is there
description:
  - Compares the wanted state with what the running process was started with.
  - Where they differ it makes a new release, which is immutable.
  - Use the action of the same name; it takes the environment from variables, so that no value is ever a task argument.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  specification:
    description: Everything but the environment that makes the release, see the role's C(tasks/release.yml).
    type: dict
    required: true
  variables:
    description:
      - The environment of the process. Name variables of the inventory in C(variables_from), a list, and the action
        adds what they hold, so that no secret is an argument of a task.
    type: dict
    required: true
  by:
    description: Who deploys.
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: full
"""

EXAMPLES = r"""
- name: Make the release
  greenlight.flask.make_release:
    app: guestbook
    variables_from: [flask_app_env, flask_app_secrets]
    specification: "{{ __flask_app_specification }}"
    by: alice
"""

RETURN = r"""
release:
  description: Id of the release that the inventory describes; empty in check mode where it would be made.
  returned: always
  type: str
revision:
  description: The revision that it reports.
  returned: always
  type: str
live:
  description: Id of the live release.
  returned: always
  type: str
serves:
  description: Whether the wanted release is live in every sense, linked, running and enabled.
  returned: always
  type: bool
"""
