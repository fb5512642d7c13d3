# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a release that is the live one with other keys; see the module of the same name.

In place of ``keys`` it takes what :class:`KeysAction` takes.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.keys import KeysAction


class ActionModule(KeysAction):
    pass
