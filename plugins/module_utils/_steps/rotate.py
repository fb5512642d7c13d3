# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a release that differs from the live one only in its keys."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rotate import Keys, is_live, rotated
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import serves
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Release, Releases

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "variable": {"type": "str", "required": True},
    "keys": {"type": "dict", "required": True},
    "time": {"type": "str", "required": True},
    "by": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    keys = Keys(call.options["variable"], **call.options["keys"])
    releases = Releases(call.layout)
    live = releases.get(releases.live())
    if live and is_live(call.layout, keys, live):
        return {**_facts(live), "changed": False, "serves": serves(call.layout, live.id)}
    if call.dry:
        return {"changed": True, "release": "", "revision": live.manifest["revision"] if live else "", "serves": False}
    made = rotated(call.layout, call.options["time"], keys, call.options["by"], live)
    return {**_facts(made), "changed": True, "serves": False}


def _facts(release: Release) -> dict[str, object]:
    return {"release": release.id, "revision": release.manifest["revision"]}
