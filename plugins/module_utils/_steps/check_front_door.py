# SPDX-License-Identifier: GPL-3.0-or-later
"""Request the health page through Nginx, and move the traffic back if the contract is broken."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import PROOF, terms
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.front_door import check_front_door

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "url": {"type": "str", "required": True},
    **PROOF,
}


def run(call: Call) -> dict[str, object]:
    agreed = terms(call.options)
    proved = check_front_door(call.layout, **agreed, url=call.options["url"], dry=call.dry)
    body = proved.proof.answer.body if proved.proof.answer else ""
    try:
        health = json.loads(body)
    except ValueError:
        health = body
    live = proved.sentence(agreed["contract"], agreed["page"])
    return {"changed": False, "path": proved.path, "proved_by": proved.proved_by, "health": health, "live": live}
