# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the number of Gunicorn workers on a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
---
name: workers
short_description: Choose the number of Gunicorn workers on a host
description:
  - One per processor, limited by memory and O(most), and at least one.
  - Two releases run side by side during a deploy. Each gets 40 % of the memory, which leaves 20 % for the rest of the
    host.
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
    description: The number of workers; 0 computes it.
    type: int
    required: true
  most:
    description: Maximum number of workers.
    type: int
    required: true
  memory_mb:
    description: Memory of one worker in MiB.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show the number of workers for this host
  ansible.builtin.debug:
    msg: "{{ {'cpus': 2, 'memory_mb': 2048} | greenlight.flask.workers(given=0, most=8, memory_mb=150) }}"
"""

RETURN = r"""
_value:
  description: Number of workers.
  type: int
"""

#: Share of a host's memory for each of the two releases during a deploy.
SHARE = 0.4


def workers(host: Mapping[str, Any], given: int, most: int, memory_mb: int) -> int:
    if int(given) > 0:
        return int(given)
    room = int(host["memory_mb"] * SHARE / int(memory_mb))
    return max(1, min(int(host["cpus"]), room, int(most)))


class FilterModule:
    """The filters of this file, in the form that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"workers": workers}
