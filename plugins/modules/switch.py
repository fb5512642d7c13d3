#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a proved release the traffic."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switch
short_description: Give a proved release the traffic
description:
  - One rename of the link that Nginx connects through. No reload, no restart.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of a release that was proved.
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
- name: Switch
  greenlight.flask.switch:
    app: guestbook
    release: 20261121T094420Z-1a2b3c4d
"""

RETURN = r"""
previous:
  description: Id of the release that had the traffic before, or empty.
  returned: always
  type: str
"""
