# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's facts and find what stops a deploy of a Flask app."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import give_back
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK, SITE, group
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.survey import Wanted, problems, survey
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import breaks_site

from . import Call

WANTED = {
    "environment": {"type": "str", "required": True},
    "python": {"type": "str", "required": True},
    "python_minimum": {"type": "str", "required": True},
    "packages": {"type": "list", "elements": "str", "required": True},
    "ports": {"type": "dict", "required": True},
    "free_mb": {"type": "int", "required": True},
    "free_inodes": {"type": "int", "default": 20000},
    "keep_releases": {"type": "int", "default": 5},
    "service_settings": {"type": "dict", "default": {}},
}
OPTIONS: dict[str, Any] = {
    **WANTED,
    **LOCK,
    "site": {**group(SITE), "required": True},
}


def run(call: Call) -> dict[str, object]:
    wanted = Wanted(**{name: call.options[name] for name in WANTED})
    host = survey(call.layout, wanted)
    found = problems(call.layout, wanted, host)
    edge = Edge(call.layout)
    # With a package missing, Nginx or a module of it may be the one; a damaged part of the site is made anew before it.
    if edge.tree.installed and not host.packages_missing and not breaks_site(call.layout):
        try:
            edge.check(Site.of(call.options["site"], call.layout.root))
        except GreenlightError as error:
            found.append(Finding("refused-by-nginx", ERROR, "nginx", str(error)))
    if found and call.options["owner"]:
        give_back(call.layout, call.options["owner"]["run"])
    return {"changed": False, "host": host.as_dict(), "problems": [problem.as_dict() for problem in found]}
