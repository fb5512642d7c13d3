# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module of the same name, so that it ends with a message whatever happens on the host."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import ModuleAction


class ActionModule(ModuleAction):
    module = "retire"
