#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one exact version of an app's code on a host, under its digest."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bring_source
short_description: Put one exact version of an app's code on a host, under its digest
description:
  - Unpacks on the host what the action of the same name packed and sent.
  - For a source from git, fetches the commit with its submodules, unless the host has it.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  archive:
    description: Path of a packed source on the host. The action sets it from O(directory).
    type: path
  content:
    description: A small packed source in base64. The action sets it from O(directory).
    type: str
  digest:
    description: Digest of the packed source.
    type: str
  directory:
    description: Directory on the controller. Files that git ignores are left out. Used by the action.
    type: path
  present:
    description: Digests that the host already has. For these, the action sends nothing.
    type: list
    elements: str
  include:
    description: Patterns of ignored files to pack anyway. Used by the action.
    type: list
    elements: str
  git_url:
    description: URL of a git repository, as the host reaches it.
    type: str
  git_ref:
    description: Branch, tag or full commit id. Required with O(git_url).
    type: str
  git_key_file:
    description: Path on the host of a private key with read access to the repository and its submodules.
    type: str
  subdirectory:
    description: Use only this directory of the source.
    type: str
  static:
    description: Directories that Nginx serves, relative to the source. They must exist.
    type: list
    elements: str
  environment:
    description: The environment, to check files such as C(.env) in the source. Used by the action.
    type: str
  environment_variable:
    description: Name of the variable that selects the environment. Used by the action.
    type: str
  gunicorn_settings:
    description: Names of Gunicorn's settings in the inventory, to check a C(gunicorn.conf.py). Used by the action.
    type: list
    elements: str
  accepted_findings:
    description: Accepted findings. Used by the action.
    type: list
    elements: str
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
  greenlight.flask.bring_source:
    app: guestbook
    directory: examples/guestbook
    python: /usr/bin/python3
"""

RETURN = r"""
digest:
  description: Digest of the source, which names its directory.
  returned: always
  type: str
revision:
  description: The commit, or for a directory the start of the digest.
  returned: always
  type: str
environment_files:
  description:
    - Files such as C(.env) from git, and facts about their variables without values.
    - The action checks and removes this value.
  returned: when the source comes from git
  type: dict
gunicorn_file:
  description:
    - The names that a C(gunicorn.conf.py) from git sets.
    - The action removes this value, and warns of settings that the role overrides.
  returned: when the source comes from git
  type: list
  elements: str
"""
