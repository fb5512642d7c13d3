# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything that would stop the deploy, on the controller and on the host, and say it all at once.

It takes no options: it reads the role's variables and holds them against ``meta/argument_specs.yml``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._app.credentials import SUFFIX
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import inputs, settings
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.doctor import Place, for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.edge_inputs import edge_problems
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import describe
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import execute as run_step
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.owner import execute_with_lock
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import (
    AS_GIVEN,
    load_spec,
    once,
    plain,
    templated,
    with_types,
)

Found = TypeVar("Found", bound=Finding)
_PLACES = ("inventory_dir", "playbook_dir", "inventory_file")


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True
    #: Of this run, empty as long as it has no lock.
    _run_id = ""
    #: What the host's part says beside its findings, such as whose lock it took over.
    _warnings: Sequence[object] = ()
    #: Variables that can't be read, or aren't of their type. Others are checked all the same, to refuse only once.
    _wrong: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        known = dict(task_vars or {})
        values, problems = self._validated(known)
        host: dict[str, Any] = {}
        warnings: list[str] = []
        if values:
            more, warnings = for_deploy(values, self._place(known))
            problems += self._of_right_ones([*_controller_problems(values), *more])
            if self._wrong <= {"flask_app_secrets"}:  # what is asked of the host needs the others
                host, more = self._ask_host(values, known, lock=not problems)
                problems += more
        result.update(changed=False, warnings=[*warnings, *self._warnings])
        if problems:
            app = str(values.get("flask_app_name") or "The app")
            result.update(failed=True, msg=describe(problems, app, str(known.get("inventory_hostname"))))
        else:
            result.update(host=host, run=self._run_id)
        return result

    def _validated(self, known: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """Return the role's variables in their declared types, and what is wrong with some of them.

        Each of these has a value that makes no trouble, so that all else can be checked.
        """
        spec = load_spec(known["role_path"])
        problems = inputs.misspelt(known, spec)
        values: dict[str, Any] = {}
        unreadable = set()
        for name in spec:
            if name not in known:
                continue
            try:
                values[name] = templated(self._templar, known, name)
            except AnsibleError as error:
                if name == "flask_app_secrets" and isinstance(known[name], Mapping):
                    values[name], more = self._readable_secrets(known)
                    problems.append(more)
                    continue
                unreadable.add(name)
                if not _needs_what_is_not_set(error, spec, known):
                    problems.append(_untemplatable(name, error, known))
        problems += [problem for name, value in values.items() for problem in _form_problems(name, value, spec[name])]
        checked = {name: option for name, option in spec.items() if name not in unreadable}
        outcome = ArgumentSpecValidator(checked).validate(values)
        faults = {name: _faults(name, checked, values) for name in checked} if outcome.error_messages else {}
        problems += _type_problems(faults, values)
        wrong = {name for name in faults if faults[name]}
        self._wrong = frozenset({*unreadable, *wrong})
        right = {name: value for name, value in values.items() if name not in self._wrong}
        outcome = ArgumentSpecValidator({name: spec[name] for name in checked if name not in wrong}).validate(right)
        return {**{name: _harmless(spec[name]) for name in self._wrong}, **outcome.validated_parameters}, problems

    def _readable_secrets(self, known: Mapping[str, Any]) -> tuple[dict[str, Any], Finding]:
        """Return the secrets, each that can't be read as a text without a fault, and why these can't be."""
        found, reasons = {}, []
        for name, value in known["flask_app_secrets"].items():
            try:
                found[str(name)] = plain(self._templar.template(value))
            except AnsibleError as error:
                found[str(name)] = secrets.token_hex()
                reasons.append(f"{name}, {_reason(error)}")
        return found, inputs.unreadable_secrets("; ".join(reasons), str(known.get("flask_app_environment", "?")))

    def _of_right_ones(self, found: Iterable[Found]) -> list[Found]:
        """Leave out what is wrong with variables that have been reported already."""
        return [finding for finding in found if not finding.concerns(self._wrong)]

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
    ) -> tuple[dict[str, Any], list[Finding]]:
        environment = values["flask_app_environment"]
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
            "service_settings": settings.for_the_host(values, values["flask_app_accepted_findings"]),
            # Derived from the role's variables, so only to be asked for once their types are known to be right.
            "packages": derived("__flask_app_packages"),
            # Nginx tests it as root, so what may not be written isn't written for a test either.
            "site": {"files": {}} if _written_problems(values) else once(self._templar, known, "__flask_app_nginx"),
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
            return {}, [Finding("failed-step", ERROR, str(known.get("inventory_hostname")), str(outcome["msg"]))]
        self._warnings = outcome.get("warnings", ())
        return outcome["host"], [Finding.of(found) for found in outcome["problems"]]


def _written_problems(values: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with values that reach a file."""
    return [
        *inputs.name_problems(values["flask_app_name"]),
        *inputs.server_name_problems(values["flask_app_server_names"]),
        *edge_problems(values),
        *inputs.value_problems(values),
        *settings.setting_problems(values),
    ]


def _controller_problems(values: Mapping[str, Any]) -> list[Finding]:
    environment = values["flask_app_environment"]
    variables = {name: values.get(name) or {} for name in ("flask_app_env", "flask_app_secrets")}
    old_keys = f"{values['flask_app_secret_key_variable']}_FALLBACKS"
    fallbacks = {old_keys: ""} if values["flask_app_secret_key_fallbacks"] else {}
    reserved = [values[f"flask_app_{name}_variable"] for name in ("environment", "revision", "release")]
    if values["flask_app_secrets_as"] == "credentials":
        # Old keys too, which a rotation adds by itself.
        reserved += [f"{name}{SUFFIX}" for name in (*variables["flask_app_secrets"], old_keys)]
    return [
        *_written_problems(values),
        *inputs.environment_problems(environment, values["flask_app_environments"], values["flask_app_debug"]),
        *inputs.secret_problems(variables["flask_app_secrets"], values["flask_app_required_secrets"], environment),
        *inputs.variable_problems({**variables, "flask_app_secret_key_fallbacks": fallbacks}, reserved),
        # Of a process by itself, so its names may be among those of the app too.
        *inputs.variable_problems({"flask_app_build_environment": values.get("flask_app_build_environment") or {}}, ()),
        *inputs.unit_variable_problems(
            values["flask_app_service_settings"], values["flask_app_gunicorn_settings"], reserved
        ),
        *inputs.source_problems(
            values.get("flask_app_source_directory") or "",
            values.get("flask_app_source_git_url") or "",
            values["flask_app_source_subdirectory"],
            values["flask_app_requirements"],
            inputs.chosen(values),
            shipped=inputs.Shipped(
                values["flask_app_source_include"],
                values["flask_app_nginx_static"].values(),
                to_be_made=bool(values["flask_app_hooks_before_build"]),
            ),
        ),
        *inputs.word_problems(values),
        *inputs.hook_problems({name: values[name] for name in values if name.startswith("flask_app_hooks_")}),
        *inputs.notification_problems(values["flask_app_notify_url"]),
        *inputs.proof_problems(values["flask_app_probe_successes"], values["flask_app_probes"]),
    ]


def _form_problems(name: str, value: Any, option: Mapping[str, Any]) -> list[Finding]:
    """What Ansible's own check takes, and means something else than what was written."""
    if name in AS_GIVEN and isinstance(value, str):
        kind = "list" if option["type"] == "list" else "mapping"
        return [Finding("wrong-type", ERROR, name, f"{name} is a text.", f"Write it as a {kind} in YAML.")]
    if option["type"] == "str" and isinstance(value, float):
        what = f"{name} is the number {value}, and YAML drops zeros at its end."
        return [Finding("unquoted-number", ERROR, name, what, "Write it in quotes.")]
    return []


def _untemplatable(name: str, error: AnsibleError, known: Mapping[str, Any]) -> Finding:
    """Tell which variable is undefined; of other errors only the kind, because the text may hold a value."""
    if name == "flask_app_secrets":
        return inputs.unreadable_secrets(_reason(error), str(known.get("flask_app_environment", "<environment>")))
    what = f"{name} can't be read: {_reason(error)}."
    return Finding("unreadable-variable", ERROR, name, what, "Define it, or correct the template.")


def _undefined(error: AnsibleError) -> str:
    match = re.search(r"'(\w+)' is undefined", str(error))
    return match.group(1) if match else ""


def _reason(error: AnsibleError) -> str:
    name = _undefined(error)
    return f"{name} is undefined" if name else f"its template fails ({type(error).__name__})"


def _needs_what_is_not_set(error: AnsibleError, spec: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Say whether a template fails only because a required variable isn't set, which is reported by itself."""
    name = _undefined(error)
    return name not in known and bool(spec.get(name, {}).get("required"))


def _faults(name: str, spec: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return what Ansible's own check says of a variable."""
    given = {name: values[name]} if name in values else {}
    return list(ArgumentSpecValidator({name: spec[name]}).validate(given).error_messages)


def _harmless(option: Mapping[str, Any]) -> Any:
    """Return a value of the right type for a variable that has none."""
    empty = {"list": [], "dict": {}, "bool": False, "int": 0, "float": 0.0}
    return option.get("default", empty.get(option.get("type", "str"), ""))


def _type_problems(faults: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> list[Finding]:
    """Return what Ansible's own check says: as one finding, what is not set; of each other variable, its faults."""
    found = [
        Finding("wrong-type", ERROR, name, f"{fault}.", "Correct the value.")
        for name, texts in faults.items()
        for fault in texts
        if name in values
    ]
    missing = sorted(name for name, texts in faults.items() if texts and name not in values)
    if not missing:
        return found
    what = f"not set: {', '.join(missing)}."
    fix = "Set it in inventories/<environment>/group_vars/flask_app/main.yml (README, variables)."
    return [Finding("missing-value", ERROR, missing[0], what, fix, variables=tuple(missing[1:])), *found]
