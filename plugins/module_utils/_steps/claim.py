# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim an app's name on a host: stamp, record, directories, account and group."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "environment": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    made = claim(call.layout, call.options["environment"], dry=call.dry)
    made += accounts.missing(call.layout.app) if call.dry else accounts.make(call.layout)
    return {"changed": bool(made), "made": made}
