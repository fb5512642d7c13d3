# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the lock and check whether the live release has the inventory's keys; see the module of the same name.

Instead of ``keys`` it takes the options of :class:`KeysAction`, and ``by``: who rotates.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import OpeningAction
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.keys import KeysAction


class ActionModule(KeysAction, OpeningAction):
    pass
