#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop every release but the live one, after its accepted requests."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: retire
short_description: Stop every release but the live one, after its accepted requests
description:
  - Waits until nobody waits in the old socket's queue.
  - Then it stops the socket, then the service, which finishes its requests.
version_added: "0.1.0"
author:
  - Greenlight founders
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Retire
  greenlight.flask.retire:
    app: guestbook
"""

RETURN = r"""
retired:
  description: Release to the seconds that draining and stopping it took.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import BOUNDS, RUN, options
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Bounds, retire, superfluous

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "bounds": options(BOUNDS),
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    if module.check_mode:
        waiting = superfluous(layout)
        return {"changed": bool(waiting), "retired": dict.fromkeys(waiting, 0.0)}
    retired = retire(layout, Bounds(**module.params["bounds"]))
    return {"changed": bool(retired), "retired": retired}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
