# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the command of a release, such as a database migration."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.release_command import run_release_command

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "release": {"type": "str", "required": True},
    "seconds": {"type": "float", "required": True},
}


def run(call: Call) -> dict[str, object]:
    if call.dry:
        return {"changed": True, "output": "", "seconds": 0.0}
    done = run_release_command(call.layout, call.options["release"], call.options["seconds"])
    return {"changed": done.ran, "output": done.output, "seconds": done.seconds}
