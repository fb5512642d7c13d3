#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an app from a host, all of it and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: removed_app
short_description: Remove an app from a host, all of it and nothing else
description:
  - Takes the lock on the app, and removes that too.
  - The site goes first, then the units after their accepted requests, then releases, data and account, and at last the
    stamp that says whose the name is. A removal that was killed is mended by the next one.
  - Without a stamp it does nothing, because what has this name then is not ours.
  - Takes only what is recorded as made by the role. Fails with all that would stop the removal, before anything is
    removed, and in check mode too.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: The environment that this inventory stands for. A host that is stamped with another is refused.
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Remove the guestbook
  greenlight.flask.removed_app:
    app: guestbook
    environment: staging
"""

RETURN = r"""
removed:
  description: Paths that were removed, and the account; in check mode those that would be.
  returned: success
  type: list
  elements: str
"""

from contextlib import nullcontext

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._lock import held
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._options import BOUNDS, LOCK, options
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._removal import forget_lock, remove_app

SPEC = {
    "app": {"type": "str", "required": True},
    **LOCK,
    "environment": {"type": "str", "required": True},
    "bounds": options(BOUNDS),
}


def body(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    layout, bounds = Layout(params["app"]), Bounds(**params["bounds"])
    if module.check_mode:
        removed = remove_app(layout, params["environment"], Tree(), bounds, dry=True)
        return {"changed": bool(removed), "removed": removed}
    owner = params["owner"]
    # It may take minutes: a run that follows this one, should it be killed meanwhile, waits for the end of the step.
    with held(layout, owner["run"]) if owner else nullcontext():
        removed = remove_app(layout, params["environment"], Tree(), bounds)
        if owner:
            forget_lock(layout)
    return {"changed": bool(removed), "removed": removed}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
