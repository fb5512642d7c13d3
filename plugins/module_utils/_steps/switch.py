# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch the traffic to a proved release."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.switch import switch
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "release": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    if call.dry:
        return {"changed": True, "previous": Releases(call.layout).live()}
    return {"changed": True, "previous": switch(call.layout, call.options["release"])}
