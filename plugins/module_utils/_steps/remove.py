# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an app from a host, all of it and nothing else."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import held
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import whole
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.remove import forget_lock, remove_app

from . import Call

OPTIONS: dict[str, Any] = {
    **LOCK,
    "environment": {"type": "str", "required": True},
    "bounds": whole(Bounds),
}


def run(call: Call) -> dict[str, object]:
    bounds = Bounds(**call.options["bounds"])
    if call.dry:
        removed = remove_app(call.layout, call.options["environment"], Tree(), bounds, dry=True)
        return {"changed": bool(removed), "removed": removed}
    owner = call.options["owner"]
    # It may take minutes: if this run is killed meanwhile, the next one waits until the step ends.
    with held(call.layout, owner["run"]) if owner else nullcontext():
        removed = remove_app(call.layout, call.options["environment"], Tree(), bounds)
        if owner:
            forget_lock(call.layout)
    return {"changed": bool(removed), "removed": removed}
