# SPDX-License-Identifier: GPL-3.0-or-later
"""Report how the app of the live release is configured."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import of_live
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases

from . import Call

OPTIONS: dict[str, Any] = {
    "environment_keys": {"type": "list", "elements": "str", "required": True},
    "seconds": {"type": "float", "required": True},
}


def run(call: Call) -> dict[str, object]:
    live = Releases(call.layout).live()
    result: dict[str, object] = {"changed": False, "release": live, "why": "", "app_says": {}}
    if not live:
        return {**result, "why": f"{call.layout.app} has no live release on this host"}
    try:
        seen = of_live(call.layout, live, call.options["environment_keys"], call.options["seconds"])
    except GreenlightError as error:
        return {**result, "why": str(error)}
    return {**result, "app_says": seen.as_result()}
