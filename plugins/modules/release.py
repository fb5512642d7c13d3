#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the release that the inventory describes, unless it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
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
    description: The environment, encoded by the action (base64 of JSON).
    type: str
    required: true
  by:
    description: Who deploys.
    type: str
    default: unknown
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
  greenlight.flask.release:
    app: guestbook
    variables_from: [flask_app_env, flask_app_secrets]
    specification: "{{ __flask_app_specification }}"
"""

RETURN = r"""
release:
  description: Id of the release that the inventory describes; empty in check mode where it would be made.
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

import base64
import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._instance import provide_instance_folders
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import key, serves
from ansible_collections.greenlight.flask.plugins.module_utils._release import Releases, Specification, changes

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "specification": {"type": "dict", "required": True},
    "variables": {"type": "str", "required": True, "no_log": True},
    "by": {"type": "str", "default": "unknown"},
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    variables = json.loads(base64.b64decode(module.params["variables"]))
    specification = Specification(**module.params["specification"], variables=variables)
    releases = Releases(layout)
    live = releases.live()
    try:
        host_key = key(layout)
    except Damaged:
        if not module.check_mode:  # which has made none
            raise
        return {"changed": True, "release": "", "live": live, "serves": False, "diff": changes(releases, specification)}
    if not module.check_mode:
        provide_instance_folders(layout, specification.source, specification.venv)
    found = releases.find(specification.digest(host_key))
    if found and releases.is_intact(found, specification):
        return {"changed": False, "release": found.id, "live": live, "serves": serves(layout, found.id)}
    diff = changes(releases, specification)
    made = "" if module.check_mode else releases.create(specification, host_key, module.params["by"]).id
    return {"changed": True, "release": made, "live": live, "serves": False, "diff": diff}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
