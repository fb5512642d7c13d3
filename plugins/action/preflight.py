# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything that would stop the deploy, on the controller and on the host, and say it all at once.

It takes no options: it reads the role's variables and holds them against ``meta/argument_specs.yml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, REFUSED, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import describe
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.service import for_the_host
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import execute as run_step
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.owner import execute_with_lock
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.reading import read
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import once, with_types

_PLACES = ("inventory_dir", "playbook_dir", "inventory_file")


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True
    #: Of this run, empty as long as it has no lock.
    _run_id = ""
    #: What the host's part says beside its findings, such as whose lock it took over.
    _warnings: Sequence[object] = ()

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        known = dict(task_vars or {})
        case = self._case(known)
        verdict = for_deploy(case)
        problems = list(verdict.problems)
        host: dict[str, Any] = {}
        if case.reading.wrong <= {"flask_app_secrets"}:  # what is asked of the host needs the others
            host, more = self._ask_host(case, known, lock=not problems, site=not verdict.guarded)
            problems += more
        result.update(changed=False, warnings=[*verdict.warnings, *self._warnings])
        if problems:
            app = str(case.values.get("flask_app_name") or "The app")
            result.update(failed=True, msg=describe(problems, app, str(known.get("inventory_hostname"))))
        else:
            result.update(host=host, run=self._run_id)
        return result

    def _case(self, known: Mapping[str, Any], **more: Any) -> Case:
        """Return what the rules look at, with ``more`` of it."""
        values, reading = read(self._templar, known)
        return Case(values, reading, self._place(known), **more)

    def _place(self, known: Mapping[str, Any]) -> Place:
        """Return where the files are that the doctor reads, and what opens those that are encrypted."""
        inventory, playbook, file = (Path(known[name]) if known.get(name) else None for name in _PLACES)
        # As the operator named it: a file, or the directory around it.
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
        """Return what the host says of itself, and its problems.

        Args:
            case: what is to be deployed.
            known: the variables of the task.
            lock: whether the host's lock is taken where it has no problem.
            site: whether Nginx tests the site: it does so as root, so what may not be written isn't for a test either.
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
            # Derived from the role's variables, so only to be asked for once their types are known to be right.
            "packages": derived("__flask_app_packages"),
            "site": once(self._templar, known, "__flask_app_nginx") if site else None,
        }

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
        self._warnings = outcome.get("warnings", ())
        return outcome["host"], [Finding.of(found) for found in outcome["problems"]]
