# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the keys for the two actions of a rotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.plugin_utils._vault.keys import KeyVault

from .base import StepAction


class KeysAction(StepAction):
    """Pass the keys to the step.

    They come from the variable ``vault_name`` in the vault file ``vault_file``, read again from disk because an earlier
    task of this run may have changed it. Without it, they come from the variables in ``variables_from``.
    """

    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        given = dict(arguments)
        vault = KeyVault(Path(given.pop("vault_file")), given.pop("vault_name"), self._loader._vault)
        values = given.pop("variables")
        variable = given["variable"]
        try:
            keys = vault.read() or {
                "key": values.get(variable, ""),
                "fallbacks": json.loads(values.get(f"{variable}_FALLBACKS") or "[]"),
            }
        except GreenlightError as error:
            raise AnsibleActionFail(str(error)) from error
        return super().run_step({**given, "keys": keys}, known)
