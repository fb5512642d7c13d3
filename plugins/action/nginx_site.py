# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a site with its certificate; see the module of the same name.

In place of ``secrets`` it takes ``variables_from``: names of variables that hold mappings, later ones winning.
"""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import OpaqueVariablesAction


class ActionModule(OpaqueVariablesAction):
    module = "nginx_site"
    argument = "secrets"
