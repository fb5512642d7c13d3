# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the release that the inventory describes; see the module of the same name.

Beside the module's options it takes ``variables`` (a mapping without secrets) and ``variables_from`` (names of
variables that hold mappings, later ones winning), from which it makes the module's opaque ``variables``.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import OpaqueVariablesAction


class ActionModule(OpaqueVariablesAction):
    module = "release"
    argument = "variables"
