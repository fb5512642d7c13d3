# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of this collection share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.plugin_utils._variables import encoded, merged


class OpaqueVariablesAction(ActionBase):  # type: ignore[misc]
    """Run the module of the same name with the variables named by ``variables_from`` as one opaque argument.

    Subclasses say which module and argument.
    """

    module: str
    argument: str
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        result.update(self.run_module(dict(self._task.args), dict(task_vars or {})))
        return result

    def run_module(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Run the module with ``arguments``, which this consumes; its result never has them."""
        names = arguments.pop("variables_from", [])
        arguments[self.argument] = encoded({**arguments.pop("variables", {}), **merged(self._templar, known, names)})
        outcome: dict[str, Any] = self._execute_module(
            module_name=f"greenlight.flask.{self.module}", module_args=arguments, task_vars=known
        )
        outcome.pop("invocation", None)
        return outcome
