#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what of a host the role's templates depend on."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_info
short_description: Read what of a host the role's templates depend on
description:
  - Reads only. Where O(app) is given, a host of another environment is refused.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  app:
    description: Name of the app. Empty to look at the host only.
    type: str
    default: ""
  environment:
    description: The environment that the host must be stamped with for this app, if it was ever deployed there.
    type: str
    default: ""
extends_documentation_fragment:
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Read the measures of the host
  greenlight.flask.host_info: {}
  register: measured
"""

RETURN = r"""
host:
  description: C(cpus), C(memory_mb), C(ipv6) and the version of C(nginx), as M(greenlight.flask.preflight) has them.
  returned: always
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._host import measures
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import refuse_other_environment

SPEC = {"app": {"type": "str", "default": ""}, "environment": {"type": "str", "default": ""}}


def body(module: AnsibleModule) -> dict[str, object]:
    if module.params["app"]:
        refuse_other_environment(Layout(module.params["app"]), module.params["environment"])
    return {"changed": False, "host": measures(Path("/"))}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
