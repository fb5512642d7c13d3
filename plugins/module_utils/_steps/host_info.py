# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a host that a release depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import measures
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import refuse_other_environment

from . import Call

OPTIONS: dict[str, Any] = {"environment": {"type": "str"}}


def run(call: Call) -> dict[str, object]:
    if call.options["environment"]:
        refuse_other_environment(call.layout, call.options["environment"])
    return {"changed": False, "host": measures(Path("/"))}
