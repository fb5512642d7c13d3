# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's facts, find what stops a deploy of a Flask app, and find what a deploy would change."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import give_back
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import made, options_of
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.differences import Desired, difference
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.survey import Host, Wanted, problems, survey
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import breaks_site

from . import Call

WANTED = options_of(Wanted)
OPTIONS: dict[str, Any] = {
    **WANTED,
    **LOCK,
    "site": {"type": "dict"},
    "secrets": {"type": "dict"},
    "desired": {"type": "dict", "options": options_of(Desired)},
}


def run(call: Call) -> dict[str, object]:
    wanted = Wanted(**{name: call.options[name] for name in WANTED})
    host = survey(call.layout, wanted)
    found = problems(call.layout, wanted, host)
    site = Site.of(call.options["site"], call.layout.root, call.options["secrets"]) if call.options["site"] else None
    edge = Edge(call.layout)
    # A missing package may be Nginx or one of its modules; and a deploy repairs a damaged part of the site before this.
    if site and edge.tree.installed and not host.packages_missing and not breaks_site(call.layout):
        try:
            edge.check(site)
        except Refused as error:
            found += error.findings
    result = {"changed": False, "host": host.as_dict(), "problems": [problem.as_dict() for problem in found]}
    owner = call.options["owner"]
    if found and owner:
        give_back(call.layout, owner["run"])
    if not found and site and call.options["desired"]:
        result |= _compared(call, host, site)
    return result


def _compared(call: Call, host: Host, site: Site) -> dict[str, object]:
    """Compare the host with the inventory, and end the run on a host on which nothing differs."""
    desired = made(Desired, call.options["desired"])
    found = difference(call.layout, host, desired, site, dry=call.dry)
    if not found.parts and call.options["owner"]:
        give_back(call.layout, call.options["owner"]["run"], done=True)
    return {"differs": list(found.parts), "live": found.live, **found.examined}
