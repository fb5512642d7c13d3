#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the virtual environment of a source from its lock, once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: build_venv
short_description: Build the virtual environment of a source from its lock, once
description:
  - With O(directory), the action of the same name computes the digest itself, and calls the host only to build.
  - A digest names the venv. It covers the lock, its selected parts, the interpreter, the platform, and the source if
    the venv contains its code.
  - It is owned by root, compiled, and never changes.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  directory:
    description: The source on the controller. Used by the action.
    type: path
  interpreter:
    description: The host's interpreter, as M(greenlight.flask.preflight) returns it. Used by the action.
    type: str
  present:
    description: Digests of the venvs that the host already has. Used by the action.
    type: list
    elements: str
  source:
    description: Digest of the source that holds the lock.
    type: str
    required: true
  requirements:
    description: Path of the lock in the source, a requirements file with hashes or C(uv.lock).
    type: str
    required: true
  extras:
    description: Extras of the project to install from C(uv.lock).
    type: list
    elements: str
    required: true
  groups:
    description: Dependency groups to install from C(uv.lock).
    type: list
    elements: str
    required: true
  package:
    description: Workspace member of C(uv.lock) to deploy. Empty means the project next to the lock.
    type: str
    required: true
  project:
    description: Whether to install the project itself.
    type: bool
    required: true
  python:
    description: Path of the interpreter.
    type: str
    required: true
  installer:
    description: Program that installs the packages.
    type: str
    choices: [uv, pip]
    required: true
  variables:
    description:
      - Extra environment variables for downloads, such as an index or a proxy. The action adds the mappings of the
        inventory variables listed in C(variables_from).
      - Values are masked in messages.
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
  description: Digest of the venv, which names its directory. Empty in check mode if the source is not on the host yet.
  returned: always
  type: str
seconds:
  description: Duration of the build in seconds.
  returned: always
  type: float
"""
