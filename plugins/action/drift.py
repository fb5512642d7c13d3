# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with the inventory; see the module of the same name.

Beside the module's options it takes ``variables`` (a mapping without secrets), and ``variables_from`` and
``secrets_from`` (names of variables that hold mappings, later ones winning), from which it makes the module's opaque
``variables`` and ``secrets``. With ``format: json`` it prints what was found as JSON, on one line.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.greenlight.flask.plugins.plugin_utils._action import OpaqueVariablesAction, refuse_misspelt
from ansible_collections.greenlight.flask.plugins.plugin_utils._variables import encoded, merged


class ActionModule(OpaqueVariablesAction):
    module = "drift"
    argument = "variables"

    def run_module(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        refuse_misspelt(known)
        given = dict(arguments)
        form = given.pop("format", "text")
        given["secrets"] = encoded(merged(self._templar, known, given.pop("secrets_from", [])))
        outcome = super().run_module(given, known)
        if form == "json" and "findings" in outcome:
            shown = {name: outcome[name] for name in ("release", "drifted", "findings", "unchecked")}
            document = {"app": given["app"], "host": known["inventory_hostname"], **shown}
            self._display.display(json.dumps(document, ensure_ascii=False))
        return outcome
