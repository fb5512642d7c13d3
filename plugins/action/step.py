# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the step that a task names, such as ``greenlight.flask.switch``.

Each step without work on the controller is a link to this file, because Ansible finds an action by its file name.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction


class ActionModule(StepAction):
    pass
