# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable of the role as it is when each of the role's variables has the type that the role declares."""

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
  - Ansible checks a role's variables against its argument specification, and hands on what was given. So after
    C(-e flask_app_http_port=8080) the role still has a text.
  - This lookup converts each variable of the role as that check does, and resolves a variable with these values. The
    variable is one of the role's, or one that the role derives from them, through whatever templates.
  - A value that can't be converted stays as it was given. The preflight of a deploy refuses it.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  _terms:
    description: Names of variables.
    required: true
  once:
    description:
      - Whether the value is kept for the other tasks of the run on this host, as long as the role's variables stay the
        same; for what takes long to resolve and is not made of the app's secrets.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the first name of the site, also where a text is given for the list
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
