# SPDX-License-Identifier: GPL-3.0-or-later
"""Find all problems that would stop the deploy, on the controller and on the host, and report them at once.

It takes no options: it reads the role's variables and checks them against ``meta/argument_specs.yml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, REFUSED, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import Verdict, for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import describe
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.service import for_the_host
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import execute as run_step
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.fetched import examine_fetched
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.owner import execute_with_lock
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.reading import read
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import (
    PROCESS_VARIABLES,
    merged,
    once,
    with_types,
)

_PLACES = ("inventory_dir", "playbook_dir", "inventory_file")


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True
    #: Id of this run, empty until it has the lock.
    _run_id = ""
    #: What the step found different, who proved an unchanged release, and what Ansible discovered.
    _found: Mapping[str, Any] = MappingProxyType({})
    #: Warnings of the step on the host, such as whose lock it took over.
    _warnings: Sequence[object] = ()

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        known = dict(task_vars or {})
        case = self._case(known)
        verdict = for_deploy(case)
        problems = list(verdict.problems)
        host: dict[str, Any] = {}
        if case.reading.wrong <= {"flask_app_secrets"}:  # the host's checks need all others
            host, more = self._ask_host(case, known, lock=not problems, site=not verdict.guarded)
            problems += more
        result.update(changed=False, warnings=[*verdict.warnings, *self._warnings])
        if problems:
            app = str(case.values.get("flask_app_name") or "The app")
            result.update(failed=True, msg=describe(problems, app, str(known.get("inventory_hostname"))))
        else:
            result.update(self._found, host=host, run=self._run_id)
        return result

    def _case(self, known: Mapping[str, Any], **more: Any) -> Case:
        """Return the input of the rules, with the fields in ``more``."""
        values, reading = read(self._templar, known)
        return Case(values, reading, self._place(known), **more)

    def _place(self, known: Mapping[str, Any]) -> Place:
        """Return where the files for the doctor are, and what decrypts them."""
        inventory, playbook, file = (Path(known[name]) if known.get(name) else None for name in _PLACES)
        # The inventory as the operator named it: a file or its directory.
        named = [Path(one).resolve() for one in context.CLIARGS.get("inventory") or () if isinstance(one, str)]
        return Place(
            inventory,
            playbook,
            lambda text: str(self._loader._vault.decrypt(text).decode()),
            file if file and file.resolve() in named else None,
            tuple(map(str, known.get("group_names", ()))),
        )

    def _ask_host(
        self, case: Case, known: dict[str, Any], *, lock: bool, site: bool
    ) -> tuple[dict[str, Any], list[Finding]]:
        """Return the host's facts and its problems.

        Args:
            case: the deploy.
            known: the variables of the task.
            lock: whether to take the lock if the host has no problem.
            site: whether Nginx tests the site. It tests as root, so refused values must not be written even for a test.
        """
        values, environment = case.values, case["environment"]
        derived = with_types(self._templar, known)
        arguments = {
            "app": values["flask_app_name"],
            "environment": environment if environment in values["flask_app_environments"] else "",
            "python": values["flask_app_python"],
            "python_minimum": values["flask_app_python_minimum"],
            "ports": {
                name: values[name]
                for name in ("flask_app_http_port", "flask_app_https_port")
                if name == "flask_app_http_port" or values["flask_app_tls"] != "none"
            },
            "free_mb": values["flask_app_free_space_mb"],
            "keep_releases": values["flask_app_keep_releases"],
            "service_settings": for_the_host(case),
            # Derived from the role's variables, so resolve them only after their types are checked.
            "packages": derived("__flask_app_packages"),
            "site": once(self._templar, known, "__flask_app_nginx") if site else None,
        }
        if lock and site:
            arguments["secrets"] = merged(self._templar, known, ["__flask_app_tls_secrets"])
            arguments["desired"] = self._desired(case, known)

        def execute(more: dict[str, Any]) -> dict[str, Any]:
            return run_step(self, "preflight", {**arguments, **more}, known)

        if not lock or self._task.check_mode:
            outcome = execute({})
        else:
            stale = {"stale_seconds": values["flask_app_lock_seconds"]}
            outcome = execute_with_lock(lambda more: execute({**stale, **more}), values["flask_app_deployer"])
            self._run_id = outcome.get("run", "")
        if outcome.get("failed"):
            other = Finding("failed-step", ERROR, str(known.get("inventory_hostname")), str(outcome["msg"]))
            return {}, [Finding.of(found) for found in outcome.get(REFUSED, ())] or [other]
        # If something differs, the run has the lock and goes on to the step that brings the source, which examines it.
        ended = outcome.get("differs") == []
        verdict = examine_fetched(case, outcome) if ended else Verdict([], [], guarded=False)
        self._warnings = [*outcome.get("warnings", ()), *verdict.warnings]
        # With the facts that Ansible discovered, such as the interpreter, or the next step would discover them again.
        self._found = {name: outcome[name] for name in ("differs", "live", "ansible_facts") if name in outcome}
        return outcome["host"], [*verdict.problems, *(Finding.of(found) for found in outcome["problems"])]

    def _desired(self, case: Case, known: dict[str, Any]) -> dict[str, Any] | None:
        """Return the state to compare the host with; None if it isn't known yet."""
        if case["hooks_before_build"]:  # they may change the source
            return None
        desired: dict[str, Any] = with_types(self._templar, known)("__flask_app_desired")
        if case["source_directory"]:
            try:
                desired["source"]["digest"] = digest(*case.shipped_entries)
            except GreenlightError:  # the step that ships the source says why
                return None
        variables = merged(self._templar, known, ["__flask_app_identity", *PROCESS_VARIABLES])
        desired["plan"]["variables"] = variables
        return desired
