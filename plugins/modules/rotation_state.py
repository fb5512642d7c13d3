#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and see whether the live release has the keys of the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotation_state
short_description: Take the lock and see whether the live release has the keys of the inventory
description:
  - Use the action of the same name; it reads the keys itself, so that no value is ever a task argument.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  variable:
    description: Name of the variable with the key that signs. The others are in the one with C(_FALLBACKS) behind it.
    type: str
    required: true
  keys:
    description: The keys, encoded by the action (base64 of JSON).
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.stamp
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Look whether the keys are live
  greenlight.flask.rotation_state:
    app: guestbook
    environment: staging
    variable: SECRET_KEY
    variables_from: [flask_app_secrets]
"""

RETURN = r"""
live:
  description: Whether the live release has exactly these keys.
  returned: success
  type: bool
outdated:
  description: Releases that hold a secret which the live release doesn't hold.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK, STAMP
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import refuse_damage, refuse_other_environment
from ansible_collections.greenlight.flask.plugins.module_utils._rotation import decoded, is_live, outdated

SPEC = {
    "app": {"type": "str", "required": True},
    **STAMP,
    **LOCK,
    "variable": {"type": "str", "required": True},
    "keys": {"type": "str", "required": True, "no_log": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    refuse_other_environment(layout, module.params["environment"])
    refuse_damage(layout, module.params["environment"])
    keys = decoded(module.params["variable"], module.params["keys"])
    return {"changed": False, "live": is_live(layout, keys), "outdated": outdated(layout)}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
