# SPDX-License-Identifier: GPL-3.0-or-later
"""Read all of the role's variables at once, so that one message reports all problems."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Reading

from .variables import load_spec, plain, templated

_SECRETS = "flask_app_secrets"


def read(templar: Templar, known: Mapping[str, Any]) -> tuple[dict[str, Any], Reading]:
    """Return the role's variables in their declared types, and how they were read.

    A variable that can't be read or has the wrong type gets a harmless value, so that all else can be checked. Each
    readable secret is included.
    """
    spec = load_spec(known["role_path"])
    given: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    hidden: dict[str, str] = {}
    for name in spec:
        if name not in known:
            continue
        try:
            given[name] = templated(templar, known, name)
        except AnsibleError as error:
            if name == _SECRETS and isinstance(known[name], Mapping):
                given[name], hidden = _each_secret(templar, known[name])
            else:
                unreadable[name] = _reason(error)
                if _needs_unset_variable(error, spec, known):  # reported separately
                    unreadable[name] = ""
    checked = {name: option for name, option in spec.items() if name not in unreadable}
    outcome = ArgumentSpecValidator(checked).validate(given)
    faults = {name: _faults(name, checked, given) for name in checked} if outcome.error_messages else {}
    reading = Reading(known, spec, given, unreadable, hidden, faults)
    right = {name: value for name, value in given.items() if name not in reading.wrong}
    outcome = ArgumentSpecValidator({name: spec[name] for name in checked if name not in reading.wrong}).validate(right)
    return {**{name: _harmless(spec[name]) for name in reading.wrong}, **outcome.validated_parameters}, reading


def _each_secret(templar: Templar, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the secrets, with a faultless text for each unreadable one, and the reasons for these."""
    found, reasons = {}, {}
    for name, value in given.items():
        try:
            found[str(name)] = plain(templar.template(value))
        except AnsibleError as error:
            found[str(name)] = secrets.token_hex()
            reasons[str(name)] = _reason(error)
    return found, reasons


def _undefined(error: AnsibleError) -> str:
    match = re.search(r"'(\w+)' is undefined", str(error))
    return match.group(1) if match else ""


def _reason(error: AnsibleError) -> str:
    """Return which variable is undefined; for other errors only the kind, because the text may hold a value."""
    name = _undefined(error)
    return f"{name} is undefined" if name else f"its template fails ({type(error).__name__})"


def _needs_unset_variable(error: AnsibleError, spec: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Return whether a template fails only because a required variable isn't set."""
    name = _undefined(error)
    return name not in known and bool(spec.get(name, {}).get("required"))


def _faults(name: str, spec: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return the errors of Ansible's own check of a variable."""
    given = {name: values[name]} if name in values else {}
    return list(ArgumentSpecValidator({name: spec[name]}).validate(given).error_messages)


def _harmless(option: Mapping[str, Any]) -> Any:
    """Return a value of the right type for an unreadable variable."""
    empty = {"list": [], "dict": {}, "bool": False, "int": 0, "float": 0.0}
    return option.get("default", empty.get(option.get("type", "str"), ""))
