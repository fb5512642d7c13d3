# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the virtual environment of a source from its lock, once."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import environment_texts
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import options_of
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import Choice
from ansible_collections.greenlight.flask.plugins.module_utils._build.venv import (
    Recipe,
    build,
    interpreter,
    venv_digest,
)
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN

from . import Call

CHOICE = options_of(Choice)
OPTIONS: dict[str, Any] = {
    **RUN,
    "directory": {"type": "path"},
    "interpreter": {"type": "str"},
    "present": {"type": "list", "elements": "str"},
    "source": {"type": "str", "required": True},
    "requirements": {"type": "str", "required": True},
    **CHOICE,
    "python": {"type": "str", "required": True},
    "variables": {"type": "dict", "required": True},
    "uv_requirements": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    source = call.layout.sources / call.options["source"]
    if call.dry and not source.is_dir():
        return {"changed": True, "digest": "", "seconds": 0.0}
    recipe = Recipe(
        source=source,
        requirements=call.options["requirements"],
        python=call.options["python"],
        choice=Choice(**{name: call.options[name] for name in CHOICE}),
        environment=environment_texts(call.options["variables"]),
        uv_requirements=call.options["uv_requirements"],
    )
    identity = interpreter(recipe.python)[1]
    digest = venv_digest(identity, source, recipe.requirements, recipe.choice, call.options["source"])
    venv = call.layout.venvs / digest
    missing = not is_complete(venv)
    began = time.monotonic()
    if missing and not call.dry:
        build(recipe, venv)
    return {"changed": missing, "digest": digest, "seconds": round(time.monotonic() - began, 2)}
