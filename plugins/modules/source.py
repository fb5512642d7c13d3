#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one exact state of an app's code on a host, under its digest."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: source
short_description: Put one exact state of an app's code on a host, under its digest
description:
  - On the host it unpacks what the action of the same name packed and sent.
  - For a source from git it exports a commit of a clone that is there.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  archive:
    description: A packed source on the host. The action sets it from O(directory).
    type: path
  content:
    description: A small packed source itself, in base64. The action sets it from O(directory).
    type: str
  digest:
    description: Digest of the packed source.
    type: str
  directory:
    description: Directory on the controller; packed as git would see it. Taken by the action.
    type: path
  present:
    description: Digests that the host is known to have. Taken by the action, which then sends nothing.
    type: list
    elements: str
    default: []
  git_directory:
    description: A clone on the host.
    type: path
  git_commit:
    description: The commit to export from it.
    type: str
  subdirectory:
    description: Take only this directory of the source.
    type: str
    default: ""
  python:
    description: The interpreter that compiles the modules.
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Send the source
  greenlight.flask.source:
    app: guestbook
    directory: examples/guestbook
    python: /usr/bin/python3
"""

RETURN = r"""
digest:
  description: Digest of the source, the name of its directory.
  returned: always
  type: str
revision:
  description: The commit, or the start of the digest where the source is a directory.
  returned: always
  type: str
"""

import base64
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._files import blaming
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._source import export, git_digest, unpack

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "archive": {"type": "path"},
    "content": {"type": "str", "no_log": True},  # nobody wants to read it in the host's log
    "digest": {"type": "str"},
    "directory": {"type": "path"},
    "present": {"type": "list", "elements": "str", "default": []},
    "git_directory": {"type": "path"},
    "git_commit": {"type": "str"},
    "subdirectory": {"type": "str", "default": ""},
    "python": {"type": "str", "required": True},
}


def body(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    sources = Layout(params["app"]).sources
    commit = params["git_commit"]
    digest = git_digest(commit, params["subdirectory"]) if commit else params["digest"]
    result = {"digest": digest, "revision": commit or digest[:12], "changed": not (sources / digest).is_dir()}
    if result["changed"] and not module.check_mode:
        with blaming(sources):
            if commit:
                export(Path(params["git_directory"]), commit, params["subdirectory"], sources, params["python"])
            elif params["content"]:
                with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
                    with blaming(Path(archive.name)):
                        archive.write(base64.b64decode(params["content"]))
                        archive.flush()
                    unpack(Path(archive.name), digest, sources, params["python"])
            else:
                unpack(Path(params["archive"]), digest, sources, params["python"])
    return result


def main() -> None:
    run_module(SPEC, body)


if __name__ == "__main__":
    main()
