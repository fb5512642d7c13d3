# SPDX-License-Identifier: GPL-3.0-or-later
"""Read role variables in the action itself, so that no value is ever a task argument that a callback could print."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.reading import AS_GIVEN

#: The role's variables that hold the variables of the app's processes; later ones override earlier ones.
PROCESS_VARIABLES = ("flask_app_env", "flask_app_secrets", "__flask_app_fallbacks")
ROLE = Path(__file__).resolve().parents[3] / "roles/flask_app"


def plain(value: Any) -> Any:
    """Return ``value`` with Ansible's lazy or tagged containers and texts converted to plain Python types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def templated(templar: Templar, task_vars: Mapping[str, Any], name: str) -> Any:
    """Return the variable ``name`` with its templates resolved; raise Ansible's own error if one can't be."""
    return plain(templar.template(task_vars[name]))


def load_spec(role_path: str) -> dict[str, Any]:
    """Return the role's variables from its argument specification: name to option."""
    options: dict[str, Any] = _entries(Path(role_path))["main"]["options"]
    return options


def with_types(templar: Templar, task_vars: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a function that resolves a variable with all of the role's variables in their declared types."""

    @cache
    def typing() -> Templar:
        return templar.copy_with_new_env(available_variables={**task_vars, **typed(templar, task_vars)})

    def resolve(name: str) -> Any:
        if not name.isidentifier():  # else it would become a template
            raise AnsibleError(f"{name!r} is not the name of a variable.")
        if name in _options() and name in task_vars and _is_literal(templar, task_vars[name]):
            value = plain(task_vars[name])  # no other variable's type matters
            return _converted({name: value})[name] if name in _kinds() else value
        return plain(typing().template(trust_as_template(f"{{{{ {name} }}}}")))

    return resolve


def once(templar: Templar, task_vars: Mapping[str, Any], name: str) -> Any:
    """Resolve an expensive variable as :func:`with_types` does, once per host and run.

    Each task runs in its own process, so the value is kept in a file in the run's temporary directory, which only its
    user can read. The file depends on the role's variables, so a task that sets one of them gets a new value. Variables
    that hold only secrets are not included, so don't use this for values made from them.
    """
    resolve = with_types(templar, task_vars)
    try:
        texts = {each: resolve(each) for each in _texts() if each in task_vars}
    except AnsibleError:  # then it is unknown what the value depends on
        return resolve(name)
    known = [str(task_vars.get("inventory_hostname")), name, {**texts, **typed(templar, task_vars)}]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    kept = Path(constants.DEFAULT_LOCAL_TMP, f"greenlight-{digest}.json")
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    value = resolve(name)
    unfinished = kept.with_suffix(".part")
    unfinished.touch(0o600)
    unfinished.write_text(json.dumps(value), encoding="utf-8")
    unfinished.replace(kept)
    return value


def typed(templar: Templar, task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the role's variables that aren't texts, in the types of its argument specification.

    An unreadable variable is left out, and an unconvertible one stays as it is: a deploy's preflight refuses both, and
    other plays must not fail because of a variable that they don't use.
    """
    last = _LAST.get("asked")
    if last and last[0] is task_vars:  # a task asks several times, and its variables stay the same
        return last[1]
    values: dict[str, Any] = {}
    for name in _kinds():
        if name not in task_vars:
            continue
        try:
            literal = _is_literal(templar, task_vars[name])
            values[name] = plain(task_vars[name]) if literal else templated(templar, task_vars, name)
        except AnsibleError:
            continue
    outcome = _converted(values)
    _LAST["asked"] = (task_vars, outcome)
    return outcome


def _is_literal(templar: Templar, value: Any) -> bool:
    """Return whether a value holds neither templates nor encrypted parts; resolving those is a hundred times slower."""
    if isinstance(value, Mapping):
        return all(_is_literal(templar, part) for item in value.items() for part in item)
    if isinstance(value, (list, tuple)):
        return all(_is_literal(templar, part) for part in value)
    if isinstance(value, str):
        return not templar.is_possibly_template(value)
    return value is None or isinstance(value, (int, float))


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables in their declared types; leave an unconvertible one as it is."""
    spec = {name: _kinds()[name] for name in values}
    parameters: dict[str, Any] = ArgumentSpecValidator(spec).validate(values).validated_parameters
    return parameters


#: The last arguments and result of :func:`typed`.
_LAST: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {}


@cache
def _options() -> dict[str, dict[str, Any]]:
    """Return the options of all the role's entries, except those that may hold secrets of the app."""
    return {
        name: option
        for entry in _entries(ROLE).values()
        for name, option in entry["options"].items()
        if name not in AS_GIVEN
    }


@cache
def _kinds() -> dict[str, dict[str, str]]:
    """Return the type, and the type of the elements, of each of the role's variables that isn't a text."""
    return {
        name: {part: option[part] for part in ("type", "elements") if part in option}
        for name, option in _options().items()
        if option["type"] != "str"
    }


#: Texts that are or may contain a secret.
_PRIVATE = (
    "flask_app_tls_key",
    "flask_app_acme_eab_kid",
    "flask_app_acme_eab_hmac_key",
    "flask_app_notify_url",
    "flask_app_source_git_url",
)


@cache
def _texts() -> list[str]:
    return [name for name, option in _options().items() if option["type"] == "str" and name not in _PRIVATE]


@cache
def _entries(role: Path) -> dict[str, Any]:
    text = (role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML has it
    entries: dict[str, Any] = yaml.load(text, Loader=loader)["argument_specs"]  # noqa: S506  # both are safe loaders
    return entries


def merged(templar: Templar, task_vars: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Merge mappings; later ones override earlier ones, and an undefined one counts as empty."""
    values: dict[str, Any] = {}
    for name in names:
        value = templated(templar, task_vars, name) if name in task_vars else None
        if not isinstance(value, Mapping | None):
            raise AnsibleError(f"{name} isn't a mapping. Write it as one in YAML: a name and its value on each line.")
        values.update(value or {})
    return values
