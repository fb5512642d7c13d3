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
  - For a source from git it fetches the commit with its submodules, unless the host has it.
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
  include:
    description: Patterns of what is packed although git ignores it. Taken by the action.
    type: list
    elements: str
    default: []
  git_url:
    description: Address of a git repository, as the host reaches it.
    type: str
    default: ""
  git_ref:
    description: Branch, tag or whole id of a commit.
    type: str
    default: HEAD
  git_key_file:
    description: A private key on the host that may read the repository and its submodules.
    type: str
    default: ""
  subdirectory:
    description: Take only this directory of the source.
    type: str
    default: ""
  static:
    description: Directories that Nginx is to serve, relative to the source, which must be there.
    type: list
    elements: str
    default: []
  environment:
    description: The environment, to judge files such as C(.env) in the source. Taken by the action.
    type: str
    default: ""
  environment_variable:
    description: The variable that chooses the environment. Taken by the action.
    type: str
    default: ""
  gunicorn_settings:
    description: Names of Gunicorn's settings in the inventory, to judge a C(gunicorn.conf.py). Taken by the action.
    type: list
    elements: str
    default: []
  accepted_findings:
    description: Findings that somebody accepted. Taken by the action.
    type: list
    elements: str
    default: []
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
environment_files:
  description:
    - Files such as C(.env) that came from git, and what can be said of their variables without a value.
    - The action judges and removes them.
  returned: when the source comes from git
  type: dict
gunicorn_file:
  description:
    - The names that a C(gunicorn.conf.py) from git sets.
    - The action removes them, and warns of settings that give way to others.
  returned: when the source comes from git
  type: list
  elements: str
"""

import base64
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils import _dotenv as dotenv
from ansible_collections.greenlight.flask.plugins.module_utils import _git as git
from ansible_collections.greenlight.flask.plugins.module_utils._files import blaming
from ansible_collections.greenlight.flask.plugins.module_utils._gunicorn_file import names_in
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._module import run_module
from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._source import (
    check_static,
    export,
    files_of,
    git_digest,
    unpack,
)

SPEC = {
    "app": {"type": "str", "required": True},
    **RUN,
    "archive": {"type": "path"},
    "content": {"type": "str", "no_log": True},  # nobody wants to read it in the host's log
    "digest": {"type": "str"},
    "directory": {"type": "path"},
    "present": {"type": "list", "elements": "str", "default": []},
    "include": {"type": "list", "elements": "str", "default": []},
    "git_url": {"type": "str", "default": ""},
    "git_ref": {"type": "str", "default": "HEAD"},
    "git_key_file": {"type": "str", "default": "", "no_log": False},
    "subdirectory": {"type": "str", "default": ""},
    "static": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "str", "default": ""},
    "environment_variable": {"type": "str", "default": ""},
    "gunicorn_settings": {"type": "list", "elements": "str", "default": []},
    "accepted_findings": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "required": True},
}


#: What check mode says where git is still to be installed.
UNKNOWN = "0" * 40


def body(module: AnsibleModule) -> dict[str, object]:
    layout = Layout(module.params["app"])
    return _from_git(module, layout) if module.params["git_url"] else _packed(module, layout)


def _from_git(module: AnsibleModule, layout: Layout) -> dict[str, object]:
    params = module.params
    remote = git.Remote(params["git_url"], params["git_key_file"], layout.git)
    git.require_fit(remote.url, params["git_ref"])
    if module.check_mode and not git.is_installed():
        return {"digest": git_digest(UNKNOWN, params["subdirectory"]), "revision": UNKNOWN, "changed": True}
    commit = git.resolve(remote, params["git_ref"])
    digest = git_digest(commit, params["subdirectory"])
    source = layout.sources / digest
    result: dict[str, object] = {"digest": digest, "revision": commit, "changed": not source.is_dir()}
    if result["changed"]:
        if module.check_mode:
            return result
        with blaming(layout.sources):
            export(remote, commit, params["subdirectory"], layout.sources, params["python"])
    check_static(source, params["static"])
    files = dotenv.found(source, files_of(source))
    seen = {path: {name: value.as_dict() for name, value in given.items()} for path, given in files.items()}
    return {**result, "environment_files": seen, "gunicorn_file": names_in(source)}


def _packed(module: AnsibleModule, layout: Layout) -> dict[str, object]:
    params = module.params
    sources, digest = layout.sources, params["digest"]
    result = {"digest": digest, "revision": digest[:12], "changed": not (sources / digest).is_dir()}
    if result["changed"] and not module.check_mode:
        with blaming(sources):
            if params["content"]:
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
