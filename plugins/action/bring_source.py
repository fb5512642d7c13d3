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
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import printable
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest, pack, take
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import directory_below
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction, failure
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.fetched import examine_fetched

#: Up to this size, a source is sent inside the module's arguments, in one round trip instead of four.
INLINE_BYTES = 2**20


class ActionModule(StepAction):
    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        given = dict(arguments)
        directory, present = given.pop("directory", None), given.pop("present", [])
        names = ("environment", "environment_variable", "gunicorn_settings", "url_prefix", "accepted_findings")
        about = {f"flask_app_{name}": given.pop(name, "") for name in names}
        if not directory:
            return self._judged(super().run_step(given, known), about)
        include, static = given.pop("include", []), given.pop("static", [])
        try:
            top = directory_below(Path(directory), given.pop("subdirectory", ""))
            listed = take(top, include, static)
            name = digest(top, listed)
        except GreenlightError as error:
            raise AnsibleActionFail(printable(f"flask_app_source_directory: {error}")) from None
        packed = {"changed": name not in present, "digest": name, "revision": name[:12]}
        if name in present or self._task.check_mode:
            return packed
        with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
            pack(top, listed, Path(archive.name))
            given["digest"] = name
            if Path(archive.name).stat().st_size > INLINE_BYTES:
                return packed | self._send(Path(archive.name), given, known)
            content = base64.b64encode(Path(archive.name).read_bytes()).decode()
            return packed | super().run_step({**given, "content": content}, known)

    def _judged(self, outcome: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        """Fail if the host found a file such as ``.env`` that must not be shipped, and warn as a preflight does."""
        verdict = examine_fetched(Case(about), outcome)
        if verdict.warnings:
            outcome["warnings"] = [*outcome.get("warnings", []), *verdict.warnings]
        if verdict.problems:
            outcome.update(
                failed=True, msg=printable("\n".join(line for each in verdict.problems for line in each.lines()))
            )
        return outcome

    def _send(self, archive: Path, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        shell = self._connection._shell
        try:
            remote = shell.join_path(self._make_tmp_path(), "source.tar.gz")
            self._transfer_file(str(archive), remote)
        except AnsibleError as error:  # also from a full host, which Ansible reports as unreachable
            outcome = failure("the source can't be sent to the host", self, error)
        else:
            outcome = super().run_step({**arguments, "archive": remote}, known)
        if shell.tmpdir is not None:
            self._remove_tmp_path(shell.tmpdir)
        return outcome
