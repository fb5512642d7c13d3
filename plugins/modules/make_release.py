#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the release that the inventory describes, if it doesn't exist."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: make_release
short_description: Make the release that the inventory describes, if it doesn't exist
description:
  - Compares the wanted state with the state that the running process was started with.
  - If they differ, makes a new release, which is immutable.
  - Use the action of the same name. It reads the environment from variables, so that no value is ever a task argument.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  specification:
    description: All parts of the release but its variables, see C(__flask_app_specification) in the role.
    type: dict
    required: true
  variables:
    description:
      - The environment of the process. The action adds the mappings of the inventory variables listed in
        C(variables_from), so that no secret is an argument of a task.
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
  description: Id of the release that the inventory describes. Empty in check mode if it would be made.
  returned: always
  type: str
revision:
  description: Revision that the release reports.
  returned: always
  type: str
live:
  description: Id of the live release.
  returned: always
  type: str
serves:
  description: Whether the wanted release is fully live, that is linked, running and enabled.
  returned: always
  type: bool
"""
