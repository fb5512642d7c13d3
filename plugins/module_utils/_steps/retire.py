# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop every release but the live one, after its accepted requests."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import whole
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.retire import retire
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import superfluous

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "bounds": whole(Bounds),
}


def run(call: Call) -> dict[str, object]:
    if call.dry:
        waiting = superfluous(call.layout)
        return {"changed": bool(waiting), "retired": dict.fromkeys(waiting, 0.0)}
    retired = retire(call.layout, Bounds(**call.options["bounds"]))
    return {"changed": bool(retired), "retired": retired}
