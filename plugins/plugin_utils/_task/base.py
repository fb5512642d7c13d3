# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of this collection share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import REFUSED
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.reading import misspelt

from .outcome import (
    PLACES,
    described,
    has_own_message,
    not_copied_message,
    question,
)
from .owner import execute_with_lock
from .variables import load_spec, merged, plain


def refuse_misspelt(known: Mapping[str, Any]) -> None:
    """Fail where a variable is not a variable of the role: it would be ignored in silence."""
    found = list(misspelt(known, load_spec(known["role_path"])))
    if found:
        raise AnsibleActionFail(" ".join(map(str, found)))


def execute(action: ActionBase, step: str, arguments: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Run a step on the host; where it could not say why it failed, its outcome has a message all the same.

    The outcome of a step that was refused has its findings, see :data:`REFUSED`.

    Args:
        arguments: of the step, as its ``OPTIONS`` name them; the host checks them.
        known: the variables of the task.
    """
    given = {"step": step, "options": json.dumps(plain(arguments))}

    def ask(command: str) -> str:
        return str(action._low_level_execute_command(command).get("stdout", ""))

    def run() -> dict[str, Any]:
        found: dict[str, Any] = action._execute_module(
            module_name="greenlight.flask.host_step", module_args=given, task_vars=dict(known)
        )
        return found

    try:
        outcome = run()
    except AnsibleConnectionFailure as error:
        if action._is_pipelining_enabled("new") or action._connection._shell.tmpdir is not None:
            raise
        # Without pipelining, Ansible begins with a directory on the host, and calls a host without room unreachable.
        # With it, there may be room enough, also for the step that gives the lock back.
        refused = failure(f"greenlight.flask.{step} can't run on the host", action, error)
        with suppress(AnsibleError):
            action._connection.set_option("pipelining", True)
        if not action._is_pipelining_enabled("new"):
            return refused
        outcome = run()
        if not has_own_message(outcome):
            return refused
    outcome.pop("invocation", None)
    outcome, more = described(step, outcome, ask)
    if more:
        action._display.vvv(more)
    return outcome


def failure(what: str, action: ActionBase, error: AnsibleError) -> dict[str, Any]:
    """Return the outcome of what Ansible couldn't put on the host, see :func:`outcome.not_copied_message`.

    Raises:
        AnsibleError: the error itself, where the host can't be reached.
    """
    place = str(action.get_shell_option("remote_tmp", default="~/.ansible/tmp"))
    try:
        answer = action._low_level_execute_command(question((place, *PLACES)), sudoable=False)
    except AnsibleError:
        raise error from None
    if answer.get("rc"):
        raise error
    return {
        "failed": True,
        "changed": False,
        "msg": not_copied_message(what, str(error), place, str(answer.get("stdout", ""))),
    }


class StepAction(ActionBase):  # type: ignore[misc]
    """Run the step of the task's own name with the task's options; its result never has them.

    Any step may take ``variables_from``, names of variables that hold mappings, later ones winning. They become the
    step's option ``variables``, over what the task has there, so that no value is ever an argument of a task.
    """

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        known, given = dict(task_vars or {}), dict(self._task.args)
        if "variables_from" in given:
            names = given.pop("variables_from")
            given["variables"] = {**given.get("variables", {}), **merged(self._templar, known, names)}
        result.update(self.run_step(given, known))
        return result

    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Run the step with ``arguments``."""
        outcome = execute(self, self._task.action.rpartition(".")[2], arguments, known)
        outcome.pop(REFUSED, None)
        return outcome


class OpeningAction(StepAction):
    """Let the step take the lock for this run, which the person in the option ``by`` has started.

    A first step too: a variable of the role that is misspelt would be ignored in silence.
    """

    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        refuse_misspelt(known)
        given = dict(arguments)
        by = str(given.pop("by", "unknown"))
        if self._task.check_mode:
            return super().run_step(given, known)
        return execute_with_lock(lambda more: super(OpeningAction, self).run_step({**given, **more}, known), by)
