#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a release that is the live one with other keys."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotated_release
short_description: Make a release that is the live one with other keys
description:
  - Source, venv, settings and all other variables are those of the live release.
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
  time:
    description: UTC time of the run, the same on all hosts.
    type: str
    required: true
  by:
    description: Who rotates.
    type: str
    default: unknown
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Make the release with the new key
  greenlight.flask.rotated_release:
    app: guestbook
    variable: SECRET_KEY
    variables_from: [flask_app_secrets]
    time: 20261121T094420Z
"""

RETURN = r"""
release:
  description: Id of the release; empty in check mode where it would be made.
  returned: success
  type: str
revision:
  description: Its revision, which is the live one's.
  returned: success
  type: str
serves:
  description: Whether it is live already, linked, running and enabled.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import serves
from ansible_collections.greenlight.flask.plugins.module_utils._release import Release, Releases
from ansible_collections.greenlight.flask.plugins.module_utils._rotation import decoded, is_live, rotated

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "variable": {"type": "str", "required": True},
    "keys": {"type": "str", "required": True, "no_log": True},
    "time": {"type": "str", "required": True},
    "by": {"type": "str", "default": "unknown"},
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    keys = decoded(module.params["variable"], module.params["keys"])
    releases = Releases(layout)
    live = releases.get(releases.live())
    if live and is_live(layout, keys):
        return {**_facts(live), "changed": False, "serves": serves(layout, live.id)}
    if module.check_mode:
        return {"changed": True, "release": "", "revision": live.manifest["revision"] if live else "", "serves": False}
    made = rotated(layout, module.params["time"], keys, module.params["by"])
    return {**_facts(made), "changed": True, "serves": False}


def _facts(release: Release) -> dict[str, object]:
    return {"release": release.id, "revision": release.manifest["revision"]}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
