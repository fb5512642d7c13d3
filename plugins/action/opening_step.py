# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the step that a task names as the first of its run, which takes the lock.

In addition to the step's options it takes ``by``: who runs it.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import OpeningAction


class ActionModule(OpeningAction):
    pass
