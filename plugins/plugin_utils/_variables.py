# SPDX-License-Identifier: GPL-3.0-or-later
"""Role variables, read by an action itself, so that no value is ever a task argument that a callback could print."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.template import Templar


def plain(value: Any) -> Any:
    """Return ``value`` with every lazy or tagged container and text of Ansible's as Python's own."""
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
    """Return the variable ``name`` with its templates resolved; raises Ansible's own error where one can't be."""
    return plain(templar.template(task_vars[name]))


def load_spec(role_path: str) -> dict[str, Any]:
    """Return the role's variables as its argument specification has them: name to option."""
    text = (Path(role_path) / "meta/argument_specs.yml").read_text(encoding="utf-8")
    options: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return options


def merged(templar: Templar, task_vars: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Merge mappings, later ones winning; an undefined one counts as empty."""
    values: dict[str, Any] = {}
    for name in names:
        if name in task_vars:
            values.update(templated(templar, task_vars, name))
    return values


def encoded(values: Mapping[str, Any]) -> str:
    """One opaque text for a module's argument: Ansible masks it whole, instead of each short value in every message."""
    return base64.b64encode(json.dumps(dict(values)).encode()).decode()
