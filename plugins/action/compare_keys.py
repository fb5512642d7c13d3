# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and see whether the live release has the keys of the inventory; see the module of the same name.

In place of ``keys`` it takes what :class:`KeysAction` takes, and ``by``: who rotates.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import OpeningAction
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.keys import KeysAction


class ActionModule(KeysAction, OpeningAction):
    pass
