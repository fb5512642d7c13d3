#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with the inventory, and its live process with its release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: find_drift
short_description: Compare a host with the inventory, and its live process with its release
description:
  - Reads only, takes no lock, and never fails because of a finding.
  - Compares values of variables by keyed hash. Returns names, never values.
  - A revision that is not deployed yet is not drift. Source, venv and revision of the live release count as correct.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  inventory:
    description: The inventory as typed on the command line, for the commands in fixes.
    type: str
    required: true
  present:
    description: Whether the app should be on the host.
    type: bool
    required: true
  variables:
    description:
      - The environment of the process. The action adds the mappings of the inventory variables listed in
        C(variables_from), so that no secret is an argument of a task.
    type: dict
    required: true
  secrets:
    description: The private parts of the site. The action reads them from the variables listed in C(secrets_from).
    type: dict
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.site
  - greenlight.flask.shared.specification
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Compare the host with the inventory
  greenlight.flask.find_drift:
    app: guestbook
    host: web1
    inventory: inventories/staging
    present: true
    specification: "{{ __flask_app_specification }}"
    variables: {FLASK_CONFIG: staging}
    variables_from: [flask_app_env, flask_app_secrets]
    site: "{{ __flask_app_nginx }}"
    secrets_from: [__flask_app_tls_secrets]
  register: looked
"""

RETURN = r"""
release:
  description: Id of the live release. Empty if there is none.
  returned: success
  type: str
drifted:
  description: Whether there is a finding.
  returned: success
  type: bool
findings:
  description:
    - The findings. Each has C(id), C(severity) (V(error)), C(subject) (file, unit or variables), C(what) and C(fix).
  returned: success
  type: list
  elements: dict
told:
  description: The findings as lines for people, with a heading.
  returned: success
  type: list
  elements: str
unchecked:
  description: What could not be checked or only in part, and why.
  returned: success
  type: list
  elements: str
"""
