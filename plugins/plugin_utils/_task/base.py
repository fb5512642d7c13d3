# SPDX-License-Identifier: GPL-3.0-or-later
"""Base classes and helpers of the actions."""

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
    """Fail if a variable looks like the role's but is unknown; Ansible would silently ignore it."""
    found = list(misspelt(known, load_spec(known["role_path"])))
    if found:
        raise AnsibleActionFail(" ".join(map(str, found)))


def execute(action: ActionBase, step: str, arguments: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Run a step on the host. Its outcome has a message even if the step failed without one.

    The outcome of a refused step has its findings, see :data:`REFUSED`.

    Args:
        arguments: the step's options as in its ``OPTIONS``; the host checks them.
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
        # Without pipelining, Ansible first makes a directory on the host, and reports a full host as unreachable.
        # With pipelining, the space may suffice, also for the step that gives the lock back.
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
    """Return the outcome for something that Ansible couldn't copy to the host, see :func:`outcome.not_copied_message`.

    Raises:
        AnsibleError: the error itself, if the host is unreachable.
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
    """Run the step with the task's name and options. Its result never contains the options.

    Any step may take ``variables_from``, a list of variables that hold mappings; later ones override earlier ones. They
    are merged over the step's option ``variables``, so that no value is ever an argument of a task.
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
    """Let the step take the lock for this run, started by the person in the option ``by``.

    As the first step, it also refuses misspelt variables of the role, which Ansible would silently ignore.
    """

    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        refuse_misspelt(known)
        given = dict(arguments)
        by = str(given.pop("by", "unknown"))
        if self._task.check_mode:
            return super().run_step(given, known)
        return execute_with_lock(lambda more: super(OpeningAction, self).run_step({**given, **more}, known), by)
