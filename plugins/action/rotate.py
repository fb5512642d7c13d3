# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a copy of the live release with other keys; see the module of the same name.

Instead of ``keys`` it takes the options of :class:`KeysAction`.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.keys import KeysAction


class ActionModule(KeysAction):
    pass
