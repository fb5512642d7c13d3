#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a proved release the traffic."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switch
short_description: Give a proved release the traffic
description:
  - One rename of the link that Nginx connects through. No reload, no restart.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of a release that was proved.
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
- name: Switch
  greenlight.flask.switch:
    app: guestbook
    release: 20261121T094420Z-1a2b3c4d
"""

RETURN = r"""
previous:
  description: Id of the release that had the traffic before, or empty.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import switch
from ansible_collections.greenlight.flask.plugins.module_utils._release import Releases

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "release": {"type": "str", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    if module.check_mode:
        return {"changed": True, "previous": Releases(layout).live()}
    return {"changed": True, "previous": switch(layout, module.params["release"])}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
