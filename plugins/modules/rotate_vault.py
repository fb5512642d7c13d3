#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a new signing key into a vault file, or drop the old ones."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotate_vault
short_description: Put a new signing key into a vault file, or drop the old ones
description:
  - Runs on the controller with the vault passwords of the run, and contacts no host.
  - Makes a new key only if every host has the keys in the file, so that an interrupted rotation doesn't start again.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  step:
    description: V(start) makes a new key and keeps the old one as a fallback. V(finish) drops the fallbacks.
    type: str
    choices: [start, finish]
    required: true
  file:
    description: Path of the encrypted file.
    type: path
    required: true
  name:
    description: Name of its variable with the key. The one with the suffix C(_fallbacks) holds the others.
    type: str
    required: true
  live:
    description: Whether every host has the keys in the file.
    type: bool
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Make a new key
  greenlight.flask.rotate_vault:
    step: start
    file: inventories/staging/group_vars/flask_app/vault.yml
    name: vault_flask_app_secret_key
    live: true
"""

RETURN = r"""
said:
  description: What was done, and the next step.
  returned: success
  type: str
"""
