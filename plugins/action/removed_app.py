# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and remove the app; see the module of the same name.

Beside the module's options it takes ``by``: who removes it.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import LockingAction


class ActionModule(LockingAction):
    module = "removed_app"
