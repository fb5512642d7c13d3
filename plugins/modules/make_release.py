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
  time:
    description: UTC time of the deploy as C(20261121T094420Z), the same on all hosts.
    type: str
    required: true
  source:
    description: Digest of the source.
    type: str
    required: true
  venv:
    description: Digest of the venv.
    type: str
    required: true
  revision:
    description: What the app reports as its revision.
    type: str
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
  - greenlight.flask.shared.specification
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
    variables: {FLASK_CONFIG: staging}
    time: 20261121T094420Z
    source: "{{ source.digest }}"
    venv: "{{ venv.digest }}"
    revision: "{{ source.revision }}"
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
