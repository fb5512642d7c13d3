# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the venv of a source; see the module of the same name.

If the source is a directory, its lock is on the controller, so the host is called only for a venv that it lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import printable
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import Choice
from ansible_collections.greenlight.flask.plugins.module_utils._build.venv import venv_digest
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction


class ActionModule(StepAction):
    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        directory = arguments.pop("directory", "")
        identity, present = arguments.pop("interpreter", ""), arguments.pop("present", [])
        if directory:
            try:
                choice = Choice(
                    extras=arguments.get("extras", ()),
                    groups=arguments.get("groups", ()),
                    package=arguments.get("package", ""),
                    project=boolean(arguments.get("project", False)),
                    installer=arguments.get("installer", "uv"),
                )
                top, lock = Path(directory), arguments["requirements"]
                digest = venv_digest(identity, top, lock, choice, arguments["source"])
            except GreenlightError as error:
                raise AnsibleActionFail(printable(str(error))) from None
            if digest in present or self._task.check_mode:
                return {"changed": digest not in present, "digest": digest, "seconds": 0.0}
        return super().run_step(arguments, known)
