# SPDX-License-Identifier: GPL-3.0-or-later
"""List the settings in which two inventories differ, read as Ansible reads them; see the module of the same name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager
from ansible_collections.greenlight.flask.plugins.plugin_utils._comparison import (
    Side,
    Unreadable,
    differences,
    rendered,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.files import versions
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import load_spec, templated

SPEC = {
    "inventories": {"type": "list", "elements": "str", "required": True},
    "format": {"type": "str", "choices": ["text", "json"], "default": "text"},
}

#: Variables about the run, not about the app.
_OF_THE_RUN = (
    "flask_app_deployer",
    "flask_app_doctor_format",
    "flask_app_compared",
    "flask_app_verify_format",
    "flask_app_rotation_vault_file",
)


class ActionModule(ActionBase):  # type: ignore[misc]
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _, given = self.validate_argument_spec(SPEC)
        known = dict(task_vars or {})
        names = given["inventories"]
        if len(set(names)) != 2 or not known.get("inventory_dir"):  # noqa: PLR2004  # this one and that one
            raise AnsibleActionFail("Name two different inventories: directories next to the inventory of the run.")
        one, other = (self._side(Path(known["inventory_dir"]).parent / name, known) for name in names)
        found = differences(one, other)
        listed = [each.as_dict() for each in found]
        if given["format"] == "json":
            Display().display(json.dumps({"one": names[0], "other": names[1], "differences": listed}))
        text = rendered(found, *names) if given["format"] == "text" else f"{len(listed)} lines"
        result.update(changed=False, msg=text, _ansible_verbose_always=True)
        return result

    def _side(self, directory: Path, known: Mapping[str, Any]) -> Side:
        if not directory.is_dir():
            raise AnsibleActionFail(f"The inventory {directory} doesn't exist.")
        loader = DataLoader()
        loader.set_basedir(known["playbook_dir"])
        loader.set_vault_secrets(self._loader._vault.secrets)
        try:
            inventory = InventoryManager(loader=loader, sources=[str(directory)])
            manager = VariableManager(loader=loader, inventory=inventory)
            defaults = loader.load_from_file(
                str(Path(known["role_path"]) / "defaults/main.yml"), trusted_as_template=True
            )
            hosts = {
                host.name: _values(loader, {**defaults, **manager.get_vars(host=host)}, load_spec(known["role_path"]))
                for host in inventory.get_hosts("flask_app")
            }
        except AnsibleError as error:  # its text may quote a file
            raise AnsibleActionFail(f"{directory} can't be read ({type(error).__name__}).") from None
        if not hosts:
            raise AnsibleActionFail(f"{directory} has no host in the group flask_app.")
        return Side(directory.name, hosts, _packages(next(iter(hosts.values()))))


def _packages(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the locked versions, if the source is on the controller."""
    given = [values.get(f"flask_app_{name}") for name in ("source_directory", "source_subdirectory", "requirements")]
    if not given[0] or not all(isinstance(part, str) for part in given):
        return {}
    directory, *inside = map(str, given)
    return versions(Path(directory), "/".join(filter(None, inside)))


def _values(loader: DataLoader, variables: dict[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    templar = Templar(loader=loader, variables=variables)
    values: dict[str, Any] = {}
    for name in names:
        if name not in variables or name in _OF_THE_RUN:
            continue
        value = variables[name]
        if name in ("flask_app_secrets", "flask_app_env") and isinstance(value, Mapping):
            values[name] = {str(key): _value(templar, value, key) for key in value}
        else:
            values[name] = _value(templar, variables, name)
    if values.get("flask_app_source_directory"):  # usually relative to the inventory's directory
        values["flask_app_source_directory"] = os.path.normpath(str(values["flask_app_source_directory"]))
    return values


def _value(templar: Templar, variables: Mapping[str, Any], name: str) -> Any:
    try:
        return templated(templar, variables, name)
    except AnsibleError as error:
        match = re.search(r"'(\w+)' is undefined", str(error))
        return Unreadable(f"{match[1]} is undefined" if match else type(error).__name__)
