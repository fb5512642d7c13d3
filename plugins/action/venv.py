# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the venv of a source; see the module of the same name.

Takes ``variables_from`` in place of ``build_environment``: names of variables that hold mappings for the downloads.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import OpaqueVariablesAction


class ActionModule(OpaqueVariablesAction):
    module = "venv"
    argument = "build_environment"
