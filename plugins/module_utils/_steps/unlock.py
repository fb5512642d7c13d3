# SPDX-License-Identifier: GPL-3.0-or-later
"""Release the lock on an app, or break it."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import break_lock, give_back

from . import Call

OPTIONS: dict[str, Any] = {
    "of": {"type": "str"},
    "done": {"type": "bool"},
}


def run(call: Call) -> dict[str, object]:
    if call.options["of"]:
        if not call.dry:
            give_back(call.layout, call.options["of"], done=bool(call.options["done"]))
        return {"changed": False, "was": ""}
    was = break_lock(call.layout, dry=call.dry)
    return {"changed": bool(was), "was": was}
