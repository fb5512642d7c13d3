# SPDX-License-Identifier: GPL-3.0-or-later
"""List the releases of an app that a host keeps."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._release.overview import overview, table

from . import Call

OPTIONS: dict[str, Any] = {}


def run(call: Call) -> dict[str, object]:
    rows = overview(call.layout)
    return {"changed": False, "releases": rows, "table": table(rows)}
