# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the source on the host: pack a directory on the controller, and send it only if the host lacks its digest.

For a source from git, the host reports files such as ``.env``, without values, and the names in its gunicorn.conf.py.
They are checked here with the doctor's rules for directories.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import REFUSED
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import printable
from ansible_collections.greenlight.flask.plugins.module_utils._build.dotenv import Value
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest, pack, take
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import directory_below
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Shipped
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.code import environment_files
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.gunicorn import own_file
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import execute, failure

#: Up to this size, a source is sent inside the module's arguments, in one round trip instead of four.
INLINE_BYTES = 2**20


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        directory, present = arguments.pop("directory", None), arguments.pop("present", [])
        names = ("environment", "environment_variable", "gunicorn_settings", "url_prefix", "accepted_findings")
        about = {f"flask_app_{name}": arguments.pop(name, "") for name in names}
        if not directory:
            result.update(self._judged(self._run_module(arguments, task_vars), about))
            return result
        include, static = arguments.pop("include", []), arguments.pop("static", [])
        try:
            top = directory_below(Path(directory), arguments.pop("subdirectory", ""))
            listed = take(top, include, static)
            name = digest(top, listed)
        except GreenlightError as error:
            raise AnsibleActionFail(printable(f"flask_app_source_directory: {error}")) from None
        result.update(changed=name not in present, digest=name, revision=name[:12])
        if name in present or self._task.check_mode:
            return result
        with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
            pack(top, listed, Path(archive.name))
            packed = Path(archive.name)
            if packed.stat().st_size <= INLINE_BYTES:
                content = base64.b64encode(packed.read_bytes()).decode()
                outcome = self._run_module({**arguments, "content": content, "digest": name}, task_vars)
            else:
                outcome = self._send(packed, {**arguments, "digest": name}, task_vars)
        result.update(outcome)
        return result

    def _judged(self, outcome: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        """Fail if the host found a file such as ``.env`` that must not be shipped, and warn as a preflight does."""
        files = {
            path: {name: Value(**value) for name, value in given.items()}
            for path, given in outcome.pop("environment_files", {}).items()
        }
        fetched = Shipped(files, outcome.pop("gunicorn_file", []))
        verdict = for_deploy(Case(about, fetched=fetched), asked=(environment_files, own_file))
        if verdict.warnings:
            outcome["warnings"] = [*outcome.get("warnings", []), *verdict.warnings]
        if verdict.problems:
            outcome.update(
                failed=True, msg=printable("\n".join(line for each in verdict.problems for line in each.lines()))
            )
        return outcome

    def _send(self, archive: Path, arguments: dict[str, Any], task_vars: Mapping[str, Any] | None) -> dict[str, Any]:
        shell = self._connection._shell
        try:
            remote = shell.join_path(self._make_tmp_path(), "source.tar.gz")
            self._transfer_file(str(archive), remote)
        except AnsibleError as error:  # also from a full host, which Ansible reports as unreachable
            outcome = failure("the source can't be sent to the host", self, error)
        else:
            outcome = self._run_module({**arguments, "archive": remote}, task_vars)
        if shell.tmpdir is not None:
            self._remove_tmp_path(shell.tmpdir)
        return outcome

    def _run_module(self, arguments: dict[str, Any], task_vars: Mapping[str, Any] | None) -> dict[str, Any]:
        outcome = execute(self, "bring_source", arguments, task_vars or {})
        outcome.pop(REFUSED, None)
        return outcome
