#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a release's command, such as a database migration."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run_release_command
short_description: Run a release's command, such as a database migration
description:
  - Runs the release's command in the release's environment and sandbox.
  - Does nothing if it has already succeeded for this release.
  - Call it on one host of the group, before its candidate takes traffic.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of the release.
    type: str
    required: true
  seconds:
    description: Maximum duration in seconds.
    type: float
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
- name: Migrate the database
  greenlight.flask.run_release_command:
    app: guestbook
    release: 20261121T094420Z-1a2b3c4d
    seconds: 600
"""

RETURN = r"""
output:
  description: The end of its output, with secrets masked.
  returned: success
  type: str
seconds:
  description: Duration in seconds.
  returned: success
  type: float
"""
