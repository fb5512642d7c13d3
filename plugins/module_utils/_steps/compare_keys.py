# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and check whether the live release has the keys of the inventory."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK, STAMP
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import refuse_damage
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rotate import Keys, is_live
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import refuse_other_environment

from . import Call

OPTIONS: dict[str, Any] = {
    **STAMP,
    **LOCK,
    "variable": {"type": "str", "required": True},
    "keys": {"type": "dict", "required": True},
}


def run(call: Call) -> dict[str, object]:
    refuse_other_environment(call.layout, call.options["environment"])
    refuse_damage(call.layout, call.options["environment"])
    keys = Keys(call.options["variable"], **call.options["keys"])
    return {"changed": False, "live": is_live(call.layout, keys)}
