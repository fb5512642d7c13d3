# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Nginx's configuration as a transaction."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.options import whole
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import SITE, Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Patience
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import Page
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.reach import Reach

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "site": {"type": "dict", "options": SITE, "required": True},
    "url": {"type": "str", "required": True},
    "page": whole(Page),
    "patience": whole(Patience),
    "packages_missing": {"type": "list", "elements": "str", "required": True},
    "variables": {"type": "dict", "required": True},
}


def run(call: Call) -> dict[str, object]:
    edge = Edge(call.layout)
    site = Site.of(call.options["site"], call.layout.root, call.options["variables"])
    files, more = edge.pending(site)
    diff = [
        {"before_header": f"/etc/nginx/{name}", "before": before, "after_header": f"/etc/nginx/{name}", "after": after}
        for name, (before, after) in files.items()
    ]
    if call.dry:
        if files and edge.tree.installed and not call.options["packages_missing"]:
            edge.check(site)
        changed = bool(files or more)
    else:
        page, seconds = Page(**call.options["page"]), call.options["patience"]["probe_seconds"]
        changed = edge.publish(site, Reach(edge.layout, page, call.options["url"], seconds).watch)
    return {"changed": changed, "files": sorted(files), "more": [str(each) for each in more], "diff": diff}
