#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop every release but the live one, after its accepted requests."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: retire
short_description: Stop every release but the live one, after its accepted requests
description:
  - Waits until the old socket's queue is empty.
  - Then stops the socket, and then the service, which finishes its requests.
version_added: "0.1.0"
author:
  - Greenlight founders
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Retire the other releases
  greenlight.flask.retire:
    app: guestbook
    bounds: {stop_seconds: 40, drain_seconds: 10}
"""

RETURN = r"""
retired:
  description: Release to the seconds that it took to drain and stop it.
  returned: always
  type: dict
"""
