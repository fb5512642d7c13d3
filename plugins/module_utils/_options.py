# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of options that several steps take, and the objects of the core that they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The run whose step a module is, see the lock.
RUN = {"run": {"type": "str", "default": ""}}
#: The environment that the host must be stamped with.
STAMP = {"environment": {"type": "str", "required": True}}
#: Who asks for the lock, and when another run counts as dead.
LOCK = {
    "owner": {
        "type": "dict",
        "options": {
            "run": {"type": "str", "required": True},
            "by": {"type": "str", "required": True},
            "place": {"type": "str", "required": True},
            "pid": {"type": "int", "required": True},
            "started": {"type": "str", "required": True},
        },
    },
    "instead_of": {"type": "str", "default": ""},
    "stale_seconds": {"type": "float"},
}
#: What must be given with another option.
REQUIRED_BY = {"owner": ("stale_seconds",)}
TLS = {
    "mode": {"type": "str", "choices": ["none", "self_signed", "provided", "acme"], "required": True},
    "port": {"type": "int", "required": True},
    "directory": {"type": "str", "required": True},
    "email": {"type": "str", "required": True},
}
#: What Nginx serves, and with which certificate.
SITE = {
    "files": {"type": "dict", "required": True},
    "interim_files": {"type": "dict", "required": True},
    "inside": {"type": "str", "required": True},
    "facts": {"type": "dict", "required": True},
    "server_names": {"type": "list", "elements": "str", "required": True},
    "logs": {"type": "list", "elements": "str", "required": True},
    "main": {"type": "str", "required": True},
    "drop_in": {"type": "str", "required": True},
    "replace_stock_default_site": {"type": "bool", "required": True},
    "tls": {"type": "dict", "options": TLS, "required": True},
}
#: The page to request, and the site that it belongs to.
PAGE = {
    "host": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "other_path": {"type": "str", "required": True},
    "scheme": {"type": "str", "choices": ["http", "https"], "required": True},
    "prefix": {"type": "str", "required": True},
}
CONTRACT = {
    "environment": {"type": "str", "required": True},
    "debug": {"type": "bool", "required": True},
    "revision": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "status": {"type": "int", "required": True},
    "fields": {"type": "dict", "required": True},
    "subset": {"type": "dict", "required": True},
}
#: What the workers are asked.
QUESTION = {
    "ask": {"type": "bool", "required": True},
    "environment_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
    "secret_key_variable": {"type": "str", "required": True, "no_log": False},
    "command_elsewhere": {"type": "bool", "required": True},
    "accepted": {"type": "list", "elements": "str", "required": True},
}
PATIENCE = {
    "start_seconds": {"type": "float", "required": True},
    "probe_seconds": {"type": "float", "required": True},
    "successes": {"type": "int", "required": True},
    "probes": {"type": "int", "required": True},
    "interval_seconds": {"type": "float", "required": True},
}
BOUNDS = {
    "stop_seconds": {"type": "float", "required": True},
    "drain_seconds": {"type": "float", "required": True},
}


def whole(spec: Mapping[str, Any]) -> dict[str, Any]:
    """An option that takes a group of values, all of which must be given: their defaults are the role's."""
    return {"type": "dict", "options": dict(spec), "required": True}


#: What a release is proved by, on its own socket and at the front door.
PROOF = {
    "page": whole(PAGE),
    "contract": whole(CONTRACT),
    "patience": whole(PATIENCE),
    "bounds": whole(BOUNDS),
    "question": whole(QUESTION),
}
