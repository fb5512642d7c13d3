# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the releases that hold an old secret."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rotate import destroy, outdated

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
}


def run(call: Call) -> dict[str, object]:
    removed = outdated(call.layout) if call.dry else destroy(call.layout)
    return {"changed": bool(removed), "removed": removed}
