# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the release that the inventory describes, unless it exists."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import options_of
from ansible_collections.greenlight.flask.plugins.module_utils._build.instance import provide_instance_folders
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN, SPECIFICATION
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import serves
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Code, Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import key
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, changes

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    **SPECIFICATION,
    **options_of(Code),
    "time": {"type": "str", "required": True},
    "by": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    plan = Plan.of(call.options["specification"], call.options["variables"])
    specification = plan.with_code(Code.of(call.options), call.layout.root, call.options["time"])
    releases = Releases(call.layout)
    live = releases.live()
    result: dict[str, object] = {
        "changed": True,
        "release": "",
        "revision": specification.revision,
        "live": live,
        "serves": False,
    }
    try:
        host_key = key(call.layout)
    except Damaged:
        if not call.dry:  # in check mode, the claim has made no key
            raise
        return {**result, "diff": changes(releases, specification)}
    if not call.dry:
        provide_instance_folders(call.layout, specification.source, specification.venv)
    found = releases.find(specification.digest(host_key))
    if found and releases.is_intact(found, specification):
        return {**result, "changed": False, "release": found.id, "serves": serves(call.layout, found.id)}
    diff = changes(releases, specification)
    made = "" if call.dry else releases.create(specification, host_key, call.options["by"]).id
    return {**result, "release": made, "diff": diff}
