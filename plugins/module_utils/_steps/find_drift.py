# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with the inventory, and its live process with its release."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._drift.drift import drift
from ansible_collections.greenlight.flask.plugins.module_utils._drift.look import Wanted
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import SITE, Site
from ansible_collections.greenlight.flask.plugins.module_utils._options import SPECIFICATION
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan

from . import Call

OPTIONS: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "inventory": {"type": "str", "required": True},
    "present": {"type": "bool", "required": True},
    **SPECIFICATION,
    "site": {"type": "dict", "options": SITE, "required": True},
    "secrets": {"type": "dict", "required": True},
}


def run(call: Call) -> dict[str, object]:
    site = Site.of(call.options["site"], call.layout.root, call.options["secrets"])
    plan = Plan.of(call.options["specification"], call.options["variables"])
    wanted = Wanted(plan, site, present=call.options["present"])
    report = drift(call.layout, wanted, call.options["inventory"])
    return {
        "changed": False,
        "release": report.release,
        "drifted": bool(report.findings),
        "findings": [finding.as_dict() for finding in report.findings],
        "told": report.lines(call.layout.app, call.options["host"]),
        "unchecked": report.unchecked,
    }
