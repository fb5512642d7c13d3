#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Append a line to an app's ledger."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger
short_description: Append a line to an app's ledger
description:
  - One JSON object a line, with the UTC time; nothing is ever rewritten.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  app:
    description: Name of the app, which is also its account, unit and directory.
    type: str
    required: true
  entry:
    description: The facts to record. No secret belongs here, everybody may read the ledger.
    type: dict
    required: true
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Record the deploy
  greenlight.flask.ledger:
    app: guestbook
    entry: {release: 20261121T094420Z-1a2b3c4d, result: good}
"""

RETURN = r"""
path:
  description: Path of the ledger.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._ledger import append
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module

SPEC = {
    "app": {"type": "str", "required": True},
    "entry": {"type": "dict", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    path = Layout(module.params["app"]).ledger
    if not module.check_mode:
        append(path, module.params["entry"])
    return {"changed": True, "path": str(path)}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
