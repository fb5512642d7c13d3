# SPDX-License-Identifier: GPL-3.0-or-later
"""How many workers Gunicorn starts on a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
---
name: workers
short_description: Choose how many workers Gunicorn starts on a host
description:
  - One for each processor, as far as memory and O(most) allow, and at least one.
  - Two releases run side by side during a deploy. Each gets 40 % of the memory, so that there is room for the rest of
    the host.
version_added: "0.1.0"
author:
  - Greenlight founders
positional: _input
options:
  _input:
    description: The host, with C(cpus) and C(memory_mb), as M(greenlight.flask.host_info) returns it.
    type: dict
    required: true
  given:
    description: The number itself; 0 to choose it.
    type: int
    required: true
  most:
    description: As many as there may be.
    type: int
    required: true
  memory_mb:
    description: Memory that a worker may need, in MiB.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show how many workers this host gets
  ansible.builtin.debug:
    msg: "{{ {'cpus': 2, 'memory_mb': 2048} | greenlight.flask.workers(given=0, most=8, memory_mb=150) }}"
"""

RETURN = r"""
_value:
  description: The number.
  type: int
"""

#: Of a host's memory, for one of the two releases of a deploy.
SHARE = 0.4


def workers(host: Mapping[str, Any], given: int, most: int, memory_mb: int) -> int:
    if int(given) > 0:
        return int(given)
    room = int(host["memory_mb"] * SHARE / int(memory_mb))
    return max(1, min(int(host["cpus"]), room, int(most)))


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"workers": workers}
