# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that several steps take."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import options_of
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan

#: A release without its code, and the variables of its processes.
SPECIFICATION = {
    "specification": {"type": "dict", "options": options_of(Plan, "variables"), "required": True},
    "variables": {"type": "dict", "required": True},
}
#: Id of the run that the step belongs to, see the lock. Without it: no lock.
RUN = {"run": {"type": "str"}}
#: The environment that the host must be stamped with.
STAMP = {"environment": {"type": "str", "required": True}}
#: Who wants the lock, and after how many seconds another run counts as dead.
LOCK = {
    "owner": {"type": "dict", "options": options_of(Owner)},
    "instead_of": {"type": "str"},
    "stale_seconds": {"type": "float"},
}
#: Whether the run is complete after the step, so that the adapter gives its lock back.
GIVE_BACK = {"give_back": {"type": "bool", "required": True}}
#: Options that another option requires.
REQUIRED_BY = {"owner": ("stale_seconds",), "give_back": ("run",)}
