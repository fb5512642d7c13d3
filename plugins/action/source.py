# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the source on the host: pack a directory here and send it only where its digest is not there yet."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._source import digest, entries, list_files, pack
from ansible_collections.greenlight.flask.plugins.plugin_utils._action import execute

#: Up to this size a source travels with the module, in one round trip instead of four.
INLINE_BYTES = 2**20


class ActionModule(ActionBase):  # type: ignore[misc]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        directory = arguments.pop("directory", None)
        if not directory:
            result.update(self._run_module(arguments, task_vars))
            return result
        present = arguments.pop("present", [])
        try:
            top = Path(directory)
            listed = entries(top, list_files(top))
            name = digest(top, listed)
        except GreenlightError as error:
            raise AnsibleActionFail(f"flask_app_source_directory: {error}") from error
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

    def _send(self, archive: Path, arguments: dict[str, Any], task_vars: Mapping[str, Any] | None) -> dict[str, Any]:
        remote = self._connection._shell.join_path(self._make_tmp_path(), "source.tar.gz")
        try:
            self._transfer_file(str(archive), remote)
            return self._run_module({**arguments, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _run_module(self, arguments: dict[str, Any], task_vars: Mapping[str, Any] | None) -> dict[str, Any]:
        return execute(self, "source", arguments, task_vars or {})
