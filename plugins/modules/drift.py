#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with the inventory, and its live process with its release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drift
short_description: Compare a host with the inventory, and its live process with its release
description:
  - Reads only, takes no lock, and never fails because of what it finds.
  - Values of variables are compared by keyed hash; names are returned, values never.
  - A revision that was not deployed yet is no drift. Source, venv and revision of the live release are taken as they
    are.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  host:
    description: The host as the inventory calls it.
    type: str
    default: this host
  inventory:
    description: The inventory as it is typed, for the commands that mend.
    type: str
    default: <inventory>
  wanted:
    description: What the inventory says.
    type: dict
    required: true
    suboptions:
      environment:
        description: Name of the environment.
        type: str
        required: true
      present:
        description: Whether the app is to be on the host.
        type: bool
        default: true
      specification:
        description: Everything but the environment that makes a release, see M(greenlight.flask.release).
        type: dict
        required: true
      revision_variable:
        description: Name under which the process gets its revision.
        type: str
        required: true
  variables:
    description:
      - The environment, encoded. Use the action of the same name, which makes it from C(variables) (a mapping without
        secrets) and C(variables_from) (names of variables that hold mappings), so that no value is ever an argument of
        a task.
    type: str
    default: ""
  secrets:
    description: The private parts of the site, encoded; the action makes it from the names in C(secrets_from).
    type: str
    default: ""
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.site
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Compare the host with the inventory
  greenlight.flask.drift:
    app: guestbook
    wanted:
      environment: staging
      specification: "{{ __flask_app_specification }}"
      revision_variable: APP_REVISION
    variables: {FLASK_CONFIG: staging}
    variables_from: [flask_app_env, flask_app_secrets]
    site: "{{ __flask_app_nginx }}"
    secrets_from: [__flask_app_tls_secrets]
  register: looked
"""

RETURN = r"""
release:
  description: Id of the live release, empty where there is none.
  returned: success
  type: str
drifted:
  description: Whether anything was found.
  returned: success
  type: bool
findings:
  description: What was found. Each has C(kind), C(subject) (file, unit or variables), C(what) and C(cure).
  returned: success
  type: list
  elements: dict
told:
  description: The same as lines for people, with a heading.
  returned: success
  type: list
  elements: str
unchecked:
  description: What could not be checked, or only in part, and why.
  returned: success
  type: list
  elements: str
"""

import base64
import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._drift import Wanted, drift
from ansible_collections.greenlight.flask.plugins.module_utils._edge import Site
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import SITE, options

WANTED = {
    "environment": {"type": "str", "required": True},
    "present": {"type": "bool", "default": True},
    "specification": {"type": "dict", "required": True},
    "revision_variable": {"type": "str", "required": True},
}
SPEC = {
    "app": {"type": "str", "required": True},
    "host": {"type": "str", "default": "this host"},
    "inventory": {"type": "str", "default": "<inventory>"},
    "wanted": {"type": "dict", "options": WANTED, "required": True},
    "variables": {"type": "str", "default": "", "no_log": True},
    "site": {**options(SITE), "required": True},
    "secrets": {"type": "str", "default": "", "no_log": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    variables, secrets = (json.loads(base64.b64decode(params[name]) or "{}") for name in ("variables", "secrets"))
    wanted = Wanted(**params["wanted"], variables=variables, site=Site.of(params["site"], secrets))
    report = drift(Layout(params["app"]), wanted, params["inventory"])
    return {
        "changed": False,
        "release": report.release,
        "drifted": bool(report.findings),
        "findings": [finding.as_dict() for finding in report.findings],
        "told": report.lines(params["app"], params["host"]),
        "unchecked": report.unchecked,
    }


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
