#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Nginx's configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_site
short_description: Publish a site, with its certificate, as a transaction
description:
  - Tests the change in a copy of the tree, swaps the files and the certificate, reloads, sees new workers.
  - If anything fails, the old tree and the old certificate are back. So they are where C(page) was answered through the
    site as it was before, and is no more, though the live release answers it by itself.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  packages_missing:
    description: Debian packages that check mode has not installed; with one missing it can't ask Nginx.
    type: list
    elements: str
    default: []
  url:
    description: Where Nginx serves the site on this host.
    type: str
    required: true
  secrets:
    description:
      - The private parts, encoded. Use the action of the same name, which makes it from the variables that
        C(variables_from) names, so that none is ever a task argument.
      - C(certificate) and C(key) (PEM) for V(provided); C(eab_kid) and C(eab_hmac_key) for V(acme).
    type: str
    default: ""
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.site
  - greenlight.flask.shared.page
  - greenlight.flask.shared.patience
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
    site:
      files:
        sites-enabled/guestbook.conf: "{{ lookup('ansible.builtin.template', 'guestbook.conf.j2') }}"
      server_names: [guestbook.example.org]
      tls:
        mode: acme
        directory: https://acme-v02.api.letsencrypt.org/directory
    url: https://127.0.0.1:443
    page:
      host: guestbook.example.org
      path: /health
      scheme: https
"""

RETURN = r"""
files:
  description: Paths below C(/etc/nginx) that were changed.
  returned: always
  type: list
  elements: str
more:
  description: What else was changed, in words.
  returned: always
  type: list
  elements: str
"""

import base64
import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._edge import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import PAGE, PATIENCE, RUN, SITE, options
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Page
from ansible_collections.greenlight.flask.plugins.module_utils._reach import Reach

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "site": {**options(SITE), "required": True},
    "url": {"type": "str", "required": True},
    "page": {**options(PAGE), "required": True},
    "patience": options(PATIENCE),
    "packages_missing": {"type": "list", "elements": "str", "default": []},
    "secrets": {"type": "str", "default": "", "no_log": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    edge = Edge(Layout(module.params["app"]))
    secrets = json.loads(base64.b64decode(module.params["secrets"]) or "{}")
    site = Site.of(module.params["site"], secrets)
    files, more = edge.pending(site)
    diff = [
        {"before_header": f"/etc/nginx/{name}", "before": before, "after_header": f"/etc/nginx/{name}", "after": after}
        for name, (before, after) in files.items()
    ]
    if module.check_mode:
        if files and edge.tree.installed and not module.params["packages_missing"]:
            edge.check(site)
        changed = bool(files or more)
    else:
        page, seconds = Page(**module.params["page"]), module.params["patience"]["probe_seconds"]
        changed = edge.publish(site, Reach(edge.layout, page, module.params["url"], seconds).watch)
    return {"changed": changed, "files": sorted(files), "more": more, "diff": diff}


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
