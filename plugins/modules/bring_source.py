#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one exact state of an app's code on a host, under its digest."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bring_source
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
  include:
    description: Patterns of what is packed although git ignores it. Taken by the action.
    type: list
    elements: str
  git_url:
    description: Address of a git repository, as the host reaches it.
    type: str
  git_ref:
    description: Branch, tag or whole id of a commit. Required with O(git_url).
    type: str
  git_key_file:
    description: A private key on the host that may read the repository and its submodules.
    type: str
  subdirectory:
    description: Take only this directory of the source.
    type: str
  static:
    description: Directories that Nginx is to serve, relative to the source, which must be there.
    type: list
    elements: str
  environment:
    description: The environment, to judge files such as C(.env) in the source. Taken by the action.
    type: str
  environment_variable:
    description: The variable that chooses the environment. Taken by the action.
    type: str
  gunicorn_settings:
    description: Names of Gunicorn's settings in the inventory, to judge a C(gunicorn.conf.py). Taken by the action.
    type: list
    elements: str
  accepted_findings:
    description: Findings that somebody accepted. Taken by the action.
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
