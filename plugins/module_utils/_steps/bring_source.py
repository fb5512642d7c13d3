# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one exact state of an app's code on a host, under its digest."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.files import naming_path
from ansible_collections.greenlight.flask.plugins.module_utils._build import git
from ansible_collections.greenlight.flask.plugins.module_utils._build.from_git import UNKNOWN, examined, named
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import export, git_digest, unpack
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "archive": {"type": "path"},
    "content": {"type": "str"},
    "digest": {"type": "str"},
    "directory": {"type": "path"},
    "present": {"type": "list", "elements": "str"},
    "include": {"type": "list", "elements": "str"},
    "git_url": {"type": "str"},
    "git_ref": {"type": "str"},
    "git_key_file": {"type": "str"},
    "subdirectory": {"type": "str"},
    "static": {"type": "list", "elements": "str"},
    "environment": {"type": "str"},
    "environment_variable": {"type": "str"},
    "gunicorn_settings": {"type": "list", "elements": "str"},
    "accepted_findings": {"type": "list", "elements": "str"},
    "python": {"type": "str", "required": True},
}


def run(call: Call) -> dict[str, object]:
    return _from_git(call) if call.options["git_url"] else _packed(call)


def _from_git(call: Call) -> dict[str, object]:
    ref, subdirectory = call.options["git_ref"] or "", call.options["subdirectory"] or ""
    remote = git.Remote(call.options["git_url"], call.options["git_key_file"] or "", call.layout.git)
    if call.dry and not git.is_installed():
        git.require_fit(remote.url, ref)
        return {"digest": git_digest(UNKNOWN, subdirectory), "revision": UNKNOWN, "changed": True}
    digest, commit = named(remote, ref, subdirectory)
    source = call.layout.sources / digest
    result: dict[str, object] = {"digest": digest, "revision": commit, "changed": not source.is_dir()}
    if result["changed"]:
        if call.dry:
            return result
        with naming_path(call.layout.sources):
            export(remote, commit, subdirectory, call.layout.sources, call.options["python"])
    return {**result, **examined(source, call.options["static"] or [])}


def _packed(call: Call) -> dict[str, object]:
    sources, digest = call.layout.sources, call.options["digest"]
    result = {"digest": digest, "revision": digest[:12], "changed": not (sources / digest).is_dir()}
    if result["changed"] and not call.dry:
        with naming_path(sources):
            if call.options["content"]:
                with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
                    with naming_path(Path(archive.name)):
                        archive.write(base64.b64decode(call.options["content"]))
                        archive.flush()
                    unpack(Path(archive.name), digest, sources, call.options["python"])
            else:
                unpack(Path(call.options["archive"]), digest, sources, call.options["python"])
    return result
