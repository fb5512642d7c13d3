# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection share: one way to end, and the options that several of them take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._contract import Contract, Patience
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Bounds

CONTRACT = {
    "environment": {"type": "str", "required": True},
    "debug": {"type": "bool", "required": True},
    "revision": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "status": {"type": "int", "default": 200},
    "fields": {"type": "dict", "default": {}},
    "subset": {"type": "dict", "default": {}},
}
PATIENCE = {
    "start_seconds": {"type": "float", "default": 60},
    "probe_seconds": {"type": "float", "default": 5},
    "successes": {"type": "int", "default": 3},
    "probes": {"type": "int", "default": 5},
}
BOUNDS = {
    "stop_seconds": {"type": "float", "default": 45},
    "drain_seconds": {"type": "float", "default": 30},
}


def options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """An option that takes a group of values, each with its own type and default."""
    return {"type": "dict", "options": dict(spec), "apply_defaults": True}


def run_module(spec: Mapping[str, Any], body: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run ``body`` and end the module with its result; what an operator can mend becomes a message, not a traceback."""
    module = AnsibleModule(argument_spec=dict(spec), supports_check_mode=True)
    try:
        result = body(module)
    except GreenlightError as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        module.fail_json(msg=f"the host refused: {error.strerror or error}{where}")
    else:
        module.exit_json(**result)


def contract(values: Mapping[str, Any]) -> Contract:
    return Contract(**values)


def patience(values: Mapping[str, Any]) -> Patience:
    return Patience(**values)


def bounds(values: Mapping[str, Any]) -> Bounds:
    return Bounds(**values)
