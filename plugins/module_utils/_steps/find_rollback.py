# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the release that a rollback goes to."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK, STAMP
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import refuse_damage
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rollback import find_rollback
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import refuse_other_environment

from . import Call

OPTIONS: dict[str, Any] = {
    **STAMP,
    **LOCK,
    "release": {"type": "str", "required": True},
    "force": {"type": "bool", "required": True},
}


def run(call: Call) -> dict[str, object]:
    refuse_other_environment(call.layout, call.options["environment"])
    refuse_damage(call.layout, call.options["environment"])
    found = find_rollback(call.layout, call.options["release"], force=call.options["force"], dry=call.dry)
    return {"changed": False, "release": found.id, "revision": found.manifest["revision"], "serves": False}
