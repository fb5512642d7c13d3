# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve a variable with all of the role's variables in their declared types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import once, with_types

DOCUMENTATION = r"""
---
name: typed
short_description: Resolve a variable with the variables of the role flask_app in their declared types
description:
  - Ansible checks a role's variables against its argument specification, but passes them on unconverted. So after
    C(-e flask_app_http_port=8080) the role still has a text.
  - This lookup converts each of the role's variables as that check does, and resolves the given variable with these
    values. It may be one of the role's variables, or any that is derived from them by templates.
  - A value that can't be converted stays unchanged. The preflight of a deploy refuses it.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  _terms:
    description: Names of variables.
    required: true
  once:
    description:
      - Whether to keep the value for other tasks of the run on this host while the role's variables stay the same. For
        values that are slow to resolve and not made from the app's secrets.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the first name of the site, even if the list was set as a text
  ansible.builtin.debug:
    msg: "{{ lookup('greenlight.flask.typed', 'flask_app_server_names') | first }}"
"""

RETURN = r"""
_raw:
  description: The values.
  type: list
  elements: raw
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        known = variables or {}
        if self.get_option("once"):
            return [once(self._templar, known, name) for name in terms]
        resolve = with_types(self._templar, known)
        return [resolve(name) for name in terms]
