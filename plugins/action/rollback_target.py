# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and find the release that a rollback goes to; see the module of the same name.

Beside the module's options it takes ``by``: who rolls back.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import LockingAction


class ActionModule(LockingAction):
    module = "rollback_target"
