# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a mapping as the text of a systemd EnvironmentFile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleTemplatePluginError, AnsibleTypeError
from ansible.module_utils.datatag import native_type_name
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    render,
)

DOCUMENTATION = r"""
---
name: environment_file
short_description: Render a mapping as the text of a systemd EnvironmentFile
description:
  - The process gets each value byte for byte. Newlines, quotes, backslashes, C($), C(%), C(#), control characters, and
    spaces at both ends survive. systemd 252 (Debian 12) and 257 (Debian 13) read the text alike.
  - Lines are sorted by name, so equal mappings give equal texts.
  - Refuses what systemd can't pass unchanged, with an error that names the key and never the value. That is a name with
    anything but letters, digits and underscores, or with a digit first; a value with a NUL, a surrogate or a Unicode
    noncharacter; and an entry of more than 131071 bytes, including its name and the C(=).
  - A number becomes its usual text. Booleans, null, lists and mappings have no obvious text, so they are refused too.
version_added: "0.1.0"
author:
  - Greenlight founders
positional: _input
options:
  _input:
    description: Names of environment variables, each with its value.
    type: dict
    required: true
seealso:
  - name: systemd.exec(5)
    description: EnvironmentFile= in the manual of systemd.
    link: https://www.freedesktop.org/software/systemd/man/257/systemd.exec.html#EnvironmentFile=
"""

EXAMPLES = r"""
# A mapping such as {GREETING: "It's $5 #1", SECRET_KEY: "{{ vault_worker_key }}"}
- name: Write the environment of a worker
  ansible.builtin.copy:
    content: "{{ worker_environment | greenlight.flask.environment_file }}"
    dest: /etc/worker.env
    owner: root
    group: root
    mode: "0600"
  diff: false # its values are secret
  no_log: true
"""

RETURN = r"""
_value:
  description: Text of the file with one line per name; empty for an empty mapping.
  type: str
"""


def environment_file(values: Mapping[str, object]) -> str:
    """Apply :func:`render` and convert its error to Ansible's. For an undefined value, Ansible raises its own."""
    if not isinstance(values, Mapping):
        raise AnsibleTypeError(f"environment_file needs a mapping, not a {native_type_name(values)}.")
    try:
        return render(values)
    except EnvironmentValueError as error:
        raise AnsibleTemplatePluginError(str(error)) from None  # else Ansible prints it twice


class FilterModule:
    """The filters of this file, in the form that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"environment_file": environment_file}
