# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's facts and find what stops a deploy of a Flask app."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import give_back
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import options_of
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.survey import Wanted, problems, survey
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import breaks_site

from . import Call

WANTED = options_of(Wanted)
OPTIONS: dict[str, Any] = {
    **WANTED,
    **LOCK,
    "site": {"type": "dict"},
}


def run(call: Call) -> dict[str, object]:
    wanted = Wanted(**{name: call.options[name] for name in WANTED})
    host = survey(call.layout, wanted)
    found = problems(call.layout, wanted, host)
    edge = Edge(call.layout)
    site = call.options["site"]
    # A missing package may be Nginx or one of its modules; and a deploy repairs a damaged part of the site before this.
    if site and edge.tree.installed and not host.packages_missing and not breaks_site(call.layout):
        try:
            edge.check(Site.of(site, call.layout.root))
        except Refused as error:
            found += error.findings
    if found and call.options["owner"]:
        give_back(call.layout, call.options["owner"]["run"])
    return {"changed": False, "host": host.as_dict(), "problems": [problem.as_dict() for problem in found]}
