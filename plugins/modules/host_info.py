#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the host's properties that the role's templates depend on."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_info
short_description: Read the host's properties that the role's templates depend on
description:
  - Reads only. With O(environment), refuses a host of another environment.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description:
      - Environment with which the host must be stamped, if this app was ever deployed there. Empty allows any.
    type: str
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Read the measures of the host
  greenlight.flask.host_info:
    app: guestbook
  register: measured
"""

RETURN = r"""
host:
  description: C(cpus) and C(memory_mb), as M(greenlight.flask.preflight) returns them.
  returned: always
  type: dict
"""
