#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch the traffic to a proved release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switch
short_description: Switch the traffic to a proved release
description:
  - Renames the link through which Nginx connects. Needs no reload and no restart.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of a proved release.
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
- name: Switch the traffic
  greenlight.flask.switch:
    app: guestbook
    release: 20261121T094420Z-1a2b3c4d
"""

RETURN = r"""
previous:
  description: Id of the previously live release, or empty.
  returned: always
  type: str
"""
