#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove releases, venvs and sources that nobody needs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: prune
short_description: Remove releases, venvs and sources that nobody needs
description:
  - Keeps the live and the previous release, the newest good ones and the newest bad one, and what these use.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  keep:
    description: How many good releases to keep.
    type: int
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
- name: Prune
  greenlight.flask.prune:
    app: guestbook
    keep: 5
"""

RETURN = r"""
removed:
  description: Paths that were removed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import prunable, prune

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "keep": {"type": "int", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout, keep = Layout(module.params["app"]), module.params["keep"]
    removed = prunable(layout, keep) if module.check_mode else prune(layout, keep)
    return {"changed": bool(removed), "removed": removed}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
