# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of this collection share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.plugin_utils import _inputs as inputs
from ansible_collections.greenlight.flask.plugins.plugin_utils._outcome import (
    PLACES,
    described,
    question,
    says_something,
    unplaced,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._owner import execute_with_lock
from ansible_collections.greenlight.flask.plugins.plugin_utils._variables import encoded, load_spec, merged


def refuse_misspelt(known: Mapping[str, Any]) -> None:
    """Fail where a variable is no variable of the role: it would be ignored in silence."""
    misspelt = inputs.misspelt(known, load_spec(known["role_path"]))
    if misspelt:
        raise AnsibleActionFail(" ".join(f"{problem.what} {problem.cure}" for problem in misspelt))


def execute(action: ActionBase, module: str, arguments: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module of this collection; where it could not say why it failed, its outcome has a message all the same."""

    def ask(command: str) -> str:
        return str(action._low_level_execute_command(command).get("stdout", ""))

    def run() -> dict[str, Any]:
        found: dict[str, Any] = action._execute_module(
            module_name=f"greenlight.flask.{module}", module_args=arguments, task_vars=dict(known)
        )
        return found

    try:
        outcome = run()
    except AnsibleConnectionFailure as error:
        if action._is_pipelining_enabled("new") or action._connection._shell.tmpdir is not None:
            raise
        # Without pipelining, Ansible begins with a directory on the host, and calls a host without room unreachable.
        # With it, there may be room enough, also for the step that gives the lock back.
        refused = failure(f"greenlight.flask.{module} can't run on the host", action, error)
        with suppress(AnsibleError):
            action._connection.set_option("pipelining", True)
        if not action._is_pipelining_enabled("new"):
            return refused
        outcome = run()
        if not says_something(outcome):
            return refused
    outcome.pop("invocation", None)
    outcome, more = described(module, outcome, ask)
    if more:
        action._display.vvv(more)
    return outcome


def failure(what: str, action: ActionBase, error: AnsibleError) -> dict[str, Any]:
    """Return the outcome of what Ansible couldn't put on the host, see :func:`_outcome.unplaced`.

    Raises:
        AnsibleError: the error itself, where the host can't be reached.
    """
    place = str(action.get_shell_option("remote_tmp", default="~/.ansible/tmp"))
    try:
        told = action._low_level_execute_command(question((place, *PLACES)), sudoable=False)
    except AnsibleError:
        raise error from None
    if told.get("rc"):
        raise error
    return {"failed": True, "changed": False, "msg": unplaced(what, str(error), place, str(told.get("stdout", "")))}


class ModuleAction(ActionBase):  # type: ignore[misc]
    """Run the module of the same name with the task's options; its result never has them. Subclasses name it."""

    module: str
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        result.update(self.run_module(dict(self._task.args), dict(task_vars or {})))
        return result

    def run_module(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Run the module with ``arguments``."""
        return execute(self, self.module, arguments, known)


class OpaqueVariablesAction(ModuleAction):
    """Give the module the variables named by ``variables_from`` as one opaque argument, which subclasses name."""

    argument: str

    def run_module(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        given = dict(arguments)
        names = given.pop("variables_from", [])
        given[self.argument] = encoded({**given.pop("variables", {}), **merged(self._templar, known, names)})
        return super().run_module(given, known)


class LockingAction(ModuleAction):
    """Let the module take the lock for this run, started by whom the option ``by`` names.

    A first step too: a variable of the role that is misspelt would be ignored in silence.
    """

    def run_module(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        refuse_misspelt(known)
        given = dict(arguments)
        by = str(given.pop("by"))
        if self._task.check_mode:
            return super().run_module(given, known)
        return execute_with_lock(lambda more: super(LockingAction, self).run_module({**given, **more}, known), by)
