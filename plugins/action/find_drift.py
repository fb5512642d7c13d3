# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with the inventory; see the module of the same name.

Instead of ``secrets`` it takes ``secrets_from``, a list of variables that hold mappings; later ones override earlier
ones. With ``format: json`` it prints the findings as one line of JSON.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction, refuse_misspelt
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import merged


class ActionModule(StepAction):
    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        refuse_misspelt(known)
        given = dict(arguments)
        form = given.pop("format", "text")
        given["secrets"] = merged(self._templar, known, given.pop("secrets_from", []))
        outcome = super().run_step(given, known)
        if form == "json" and "findings" in outcome:
            shown = {name: outcome[name] for name in ("release", "drifted", "findings", "unchecked")}
            document = {"app": given["app"], "host": known["inventory_hostname"], **shown}
            self._display.display(json.dumps(document, ensure_ascii=False))
        return outcome
