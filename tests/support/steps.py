# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the collection's tasks, and their options."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._adapter import APP, SPEC
from ansible_collections.greenlight.flask.plugins.module_utils._steps import load

from tests.support.deployed import ROOT


def _stems(directory: str) -> set[str]:
    return {path.stem for path in (ROOT / "plugins" / directory).glob("*.py")}


#: They run on a host.
STEPS = _stems("module_utils/_steps") - {"__init__"}
#: Documented in ansible-doc.
NAMES = _stems("modules")
#: The one module on the host.
MODULE = "host_step"


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a task by its name without the collection's."""
    if name in STEPS:
        return {**APP, **load(name).OPTIONS}
    if name == MODULE:
        return dict(SPEC)
    return dict(import_module(f"ansible_collections.greenlight.flask.plugins.action.{name}").SPEC)
