# SPDX-License-Identifier: GPL-3.0-or-later
"""End a run: stop every release but the live one, remove old ones, and give the lock back if asked to."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import GIVE_BACK

from . import Call, prune, purge_old_secrets, retire

OPTIONS: dict[str, Any] = {
    **retire.OPTIONS,
    **prune.OPTIONS,
    **purge_old_secrets.OPTIONS,
    **GIVE_BACK,
    "purge": {"type": "bool", "required": True},
}


def run(call: Call) -> dict[str, object]:
    steps = [retire, prune, *([purge_old_secrets] if call.options["purge"] else [])]
    results = [step.run(call) for step in steps]
    removed = [path for result in results[1:] for path in result["removed"]]
    return {
        "changed": any(result["changed"] for result in results),
        "retired": results[0]["retired"],
        "removed": removed,
    }
