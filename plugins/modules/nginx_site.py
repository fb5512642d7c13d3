#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Nginx's configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_site
short_description: Change Nginx's configuration as a transaction
description:
  - Tests the change in a copy of the tree, swaps the files, reloads, sees new workers.
  - If anything fails, the old tree is back.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  files:
    description: Path below C(/etc/nginx) to content; a null content removes the file.
    type: dict
    required: true
  server_names:
    description: Names that no other site may have.
    type: list
    elements: str
    default: []
  replace_stock_default_site:
    description: Remove Debian's default site, if it is enabled and unchanged.
    type: bool
    default: false
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: full
"""

EXAMPLES = r"""
- name: Publish the site
  greenlight.flask.nginx_site:
    app: guestbook
    files:
      sites-enabled/guestbook.conf: "{{ lookup('ansible.builtin.template', 'guestbook.conf.j2') }}"
    server_names: [guestbook.example.org]
"""

RETURN = r"""
files:
  description: Paths below C(/etc/nginx) that were changed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils import _nginx as nginx
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "files": {"type": "dict", "required": True},
    "server_names": {"type": "list", "elements": "str", "default": []},
    "replace_stock_default_site": {"type": "bool", "default": False},
}


def body(module: AnsibleModule) -> dict[str, object]:
    tree = nginx.Tree()
    change = dict(module.params["files"])
    if module.params["replace_stock_default_site"] and nginx.stock_default_site(tree):
        change = {"sites-enabled/default": None, **change}
    pending = nginx.pending(tree, change)
    diff = [
        {"before_header": f"/etc/nginx/{name}", "before": before, "after_header": f"/etc/nginx/{name}", "after": after}
        for name, (before, after) in pending.items()
    ]
    if module.check_mode:
        if pending and tree.installed:
            nginx.check(tree, change, module.params["server_names"])
        changed = bool(pending)
    else:
        changed = nginx.apply(tree, change, module.params["server_names"])
    return {"changed": changed, "files": sorted(pending), "diff": diff}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
