# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything that would stop the deploy, on the controller and on the host, and say it all at once.

It takes no options: it reads the role's variables and holds them against ``meta/argument_specs.yml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._credentials import SUFFIX
from ansible_collections.greenlight.flask.plugins.module_utils._errors import Problem, describe
from ansible_collections.greenlight.flask.plugins.plugin_utils import _inputs as inputs
from ansible_collections.greenlight.flask.plugins.plugin_utils._action import execute as run_module
from ansible_collections.greenlight.flask.plugins.plugin_utils._doctor import Place, for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._edge_inputs import edge_problems
from ansible_collections.greenlight.flask.plugins.plugin_utils._owner import execute_with_lock
from ansible_collections.greenlight.flask.plugins.plugin_utils._variables import load_spec, templated

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
        values, problems = self._validated(known)
        host: dict[str, Any] = {}
        warnings: list[str] = []
        if values:
            problems += _controller_problems(values)
            more, warnings = for_deploy(values, self._place(known))
            problems += more
            host, more = self._ask_host(values, known, lock=not problems)
            problems += more
        result.update(changed=False, warnings=[*warnings, *self._warnings])
        if problems:
            app = str(values.get("flask_app_name") or "The app")
            result.update(failed=True, msg=describe(problems, app, str(known.get("inventory_hostname"))))
        else:
            result.update(host=host, run=self._run_id)
        return result

    def _validated(self, known: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Return the role's variables in their declared types, or nothing where a type or a required one is wrong."""
        spec = load_spec(known["role_path"])
        problems = inputs.misspelt(known, spec)
        values: dict[str, Any] = {}
        for name in spec:
            if name not in known:
                continue
            try:
                values[name] = templated(self._templar, known, name)
            except AnsibleError as error:
                problems.append(_untemplatable(name, error, known))
        unreadable = {name for name in spec if name in known and name not in values}
        validated = ArgumentSpecValidator({name: option for name, option in spec.items() if name not in unreadable})
        outcome = validated.validate(values)
        problems += [_type_problem(text) for text in outcome.error_messages]
        return ({} if outcome.error_messages or unreadable else outcome.validated_parameters), problems

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
        self, values: Mapping[str, Any], known: dict[str, Any], *, lock: bool
    ) -> tuple[dict[str, Any], list[Problem]]:
        environment = values["flask_app_environment"]
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
            # Derived from the role's variables, so only to be asked for once these are known to be right.
            "packages": templated(self._templar, known, "__flask_app_packages"),
            "site": templated(self._templar, known, "__flask_app_nginx"),
        }

        def execute(more: dict[str, Any]) -> dict[str, Any]:
            return run_module(self, "preflight", {**arguments, **more}, known)

        if not lock or self._task.check_mode:
            outcome = execute({})
        else:
            stale = {"stale_seconds": values["flask_app_lock_seconds"]}
            outcome = execute_with_lock(lambda more: execute({**stale, **more}), values["flask_app_deployer"])
            self._run_id = outcome.get("run", "")
        if outcome.get("failed"):
            return {}, [Problem(str(outcome["msg"]), "")]
        self._warnings = outcome.get("warnings", ())
        return outcome["host"], [Problem(**found) for found in outcome["problems"]]


def _controller_problems(values: Mapping[str, Any]) -> list[Problem]:
    environment = values["flask_app_environment"]
    variables = {name: values.get(name) or {} for name in ("flask_app_env", "flask_app_secrets")}
    old_keys = f"{values['flask_app_secret_key_variable']}_FALLBACKS"
    fallbacks = {old_keys: ""} if values["flask_app_secret_key_fallbacks"] else {}
    reserved = [values[f"flask_app_{name}_variable"] for name in ("environment", "revision", "release")]
    if values["flask_app_secrets_as"] == "credentials":
        # Old keys too, which a rotation adds by itself.
        reserved += [f"{name}{SUFFIX}" for name in (*variables["flask_app_secrets"], old_keys)]
    return [
        *inputs.name_problems(values["flask_app_name"]),
        *inputs.environment_problems(environment, values["flask_app_environments"], values["flask_app_debug"]),
        *inputs.secret_problems(variables["flask_app_secrets"], values["flask_app_required_secrets"], environment),
        *inputs.variable_problems({**variables, "flask_app_secret_key_fallbacks": fallbacks}, reserved),
        *inputs.unit_variable_problems(
            values["flask_app_service_settings"], values["flask_app_gunicorn_settings"], reserved
        ),
        *inputs.source_problems(
            values.get("flask_app_source_directory") or "",
            values.get("flask_app_source_git_url") or "",
            values["flask_app_source_subdirectory"],
            values["flask_app_requirements"],
        ),
        *inputs.server_name_problems(values["flask_app_server_names"]),
        *edge_problems(values),
        *inputs.short_secret_problems(variables["flask_app_secrets"]),
        *inputs.value_problems(values),
        *inputs.hook_problems({name: values[name] for name in values if name.startswith("flask_app_hooks_")}),
        *inputs.notification_problems(values["flask_app_notify_url"]),
        *inputs.proof_problems(values["flask_app_probe_successes"], values["flask_app_probes"]),
    ]


def _untemplatable(name: str, error: AnsibleError, known: Mapping[str, Any]) -> Problem:
    """Tell which variable is undefined; of other errors only the kind, because the text may hold a value."""
    match = re.search(r"'(\w+)' is undefined", str(error))
    reason = f"{match.group(1)} is undefined" if match else f"its template fails ({type(error).__name__})"
    if name == "flask_app_secrets":
        return inputs.unreadable_secrets(reason, str(known.get("flask_app_environment", "<environment>")))
    return Problem(f"{name} can't be read: {reason}.", "Define it, or correct the template.")


def _type_problem(text: str) -> Problem:
    missing = re.match(r"missing required arguments?: (.*)", text)
    if missing:
        place = "inventories/<environment>/group_vars/flask_app/main.yml"
        return Problem(f"not set: {missing.group(1)}.", f"Set it in {place} (README, variables).")
    return Problem(f"{text}.", "Correct the value.")
