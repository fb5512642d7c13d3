# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module that needs nothing of the controller, and end with a message. Modules of that kind are links to this."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import ModuleAction


class ActionModule(ModuleAction):
    @property
    def module(self) -> str:  # type: ignore[override]
        return str(self._task.action).rpartition(".")[2]
