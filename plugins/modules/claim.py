#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stamp a host for an app and its environment, and make the app's directories."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: claim
short_description: Stamp a host for an app and its environment, and make the app's directories
description:
  - Writes which environment the host is, the key for keyed digests, and the directories of the release protocol.
  - Repairs these, and owners and modes, where somebody damaged them. It never writes a stamp anew.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: The environment that this host is.
    type: str
    required: true
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
- name: Claim the host
  greenlight.flask.claim:
    app: guestbook
    environment: staging
"""

RETURN = r"""
made:
  description: Paths that were missing or damaged, and are as they must be now.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import claim

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "environment": {"type": "str", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    made = claim(Layout(module.params["app"]), module.params["environment"], dry=module.check_mode)
    return {"changed": bool(made), "made": made}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
