# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old releases, and venvs and sources that no release uses."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prune import prunable, prune

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "keep": {"type": "int", "required": True},
}


def run(call: Call) -> dict[str, object]:
    keep = call.options["keep"]
    removed = prunable(call.layout, keep) if call.dry else prune(call.layout, keep)
    return {"changed": bool(removed), "removed": removed}
