# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a new signing key into a vault file, or drop the old ones; see the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.plugin_utils._vault.keys import KeyVault

SPEC = {
    "step": {"type": "str", "required": True, "choices": ["start", "finish"]},
    "file": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "live": {"type": "bool", "required": True},
}

SAID = {
    "start": "The new key signs, and the old one still verifies. When the sessions signed with the old key have"
    " expired, drop it with -e flask_app_rotation_step=finish.",
    "finish": "The old key is dropped. Remove the releases that hold it with -e flask_app_rotation_step=purge.",
}


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _, given = self.validate_argument_spec(SPEC)
        vault = KeyVault(Path(given["file"]), given["name"], self._loader._vault)
        try:
            result.update(self._turn(vault, given["step"], live=given["live"]))
        except GreenlightError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _turn(self, vault: KeyVault, step: str, *, live: bool) -> dict[str, Any]:
        held = vault.read()
        if not live:
            return {
                "changed": False,
                "said": "Hosts and inventory have different keys. The inventory's keys are deployed now.",
            }
        if held is None:
            by_hand = {
                "start": "put a new key there and the old one into flask_app_secret_key_fallbacks",
                "finish": "empty flask_app_secret_key_fallbacks",
            }
            raise GreenlightError(
                f"{vault.path} holds no {vault.name}. If you keep your keys elsewhere, {by_hand[step]}, and run this"
                " again to deploy them"
            )
        # A repeat of a run that was killed after its switch must not make a third key.
        if step == "start" and held["fallbacks"]:
            return {
                "changed": False,
                "said": "A rotation is already in progress: the new key signs, and the old one still verifies. Drop the"
                " old one with -e flask_app_rotation_step=finish before you start another rotation.",
            }
        if step == "finish" and not held["fallbacks"]:
            return {"changed": False, "said": "There is no old key to drop."}
        if not self._task.check_mode:
            vault.start() if step == "start" else vault.finish()
        return {"changed": True, "said": f"{SAID[step]} Commit {vault.path}."}
