#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the releases of an app that a host keeps."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: releases_info
short_description: List the releases of an app that a host keeps
description:
  - Reads only.
version_added: "0.1.0"
author:
  - Greenlight founders
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: List the releases
  greenlight.flask.releases_info:
    app: guestbook
  register: kept
"""

RETURN = r"""
releases:
  description:
    - The releases, newest first.
    - Each has C(release), C(revision), C(environment), C(when), C(by), C(result) and C(now).
  returned: always
  type: list
  elements: dict
table:
  description: The same as aligned lines with a heading.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._overview import overview, table

SPEC = {
    "app": {"type": "str", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    rows = overview(Layout(module.params["app"]))
    return {"changed": False, "releases": rows, "table": table(rows)}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
