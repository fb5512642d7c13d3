#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the virtual environment of a source from its lock, once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: build_venv
short_description: Build the virtual environment of a source from its lock, once
description:
  - With O(directory), the action of the same name knows the digest without asking the host, and asks it only to build.
  - The venv is named by the digest of lock, interpreter and platform, of what is chosen of the lock, and of the source
    where the venv holds code of it.
  - It is owned by root, compiled, and never changed afterwards.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  directory:
    description: The source on the controller. Taken by the action.
    type: path
  interpreter:
    description: What the host said of its interpreter, see M(greenlight.flask.preflight). Taken by the action.
    type: str
  present:
    description: Digests of the venvs that the host is known to have. Taken by the action.
    type: list
    elements: str
  source:
    description: Digest of the source that holds the lock.
    type: str
    required: true
  requirements:
    description: The lock, a path in the source; a requirements file with hashes, or C(uv.lock).
    type: str
    required: true
  extras:
    description: Extras of the project that are installed from C(uv.lock).
    type: list
    elements: str
    required: true
  groups:
    description: Dependency groups that are installed from C(uv.lock).
    type: list
    elements: str
    required: true
  package:
    description: Member of the workspace of C(uv.lock) that is deployed; empty for the project beside the lock.
    type: str
    required: true
  project:
    description: Whether the project itself is installed.
    type: bool
    required: true
  python:
    description: The interpreter.
    type: str
    required: true
  installer:
    description: What installs the packages.
    type: str
    choices: [uv, pip]
    required: true
  variables:
    description:
      - Extra variables for downloads, such as an index or a proxy. Name variables of the inventory in
        C(variables_from), a list, and the action adds what they hold.
      - Their values are masked in messages.
    type: dict
    required: true
  uv_requirements:
    description: Text of a requirements file that pins uv with hashes.
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
- name: Build the venv
  greenlight.flask.build_venv:
    app: guestbook
    source: "{{ source.digest }}"
    requirements: requirements.txt
    python: /usr/bin/python3
    installer: uv
    directory: examples/guestbook
    interpreter: "{{ host.interpreter }}"
    present: "{{ host.venvs }}"
    variables_from: [flask_app_build_environment]
    uv_requirements: "{{ lookup('ansible.builtin.file', 'uv.txt') }}"
"""

RETURN = r"""
digest:
  description: Digest of the venv, the name of its directory; empty in check mode where the source is not there yet.
  returned: always
  type: str
seconds:
  description: How long building took.
  returned: always
  type: float
"""
