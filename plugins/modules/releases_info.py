#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""List an app's releases on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: releases_info
short_description: List an app's releases on a host
description:
  - Reads only.
version_added: "0.1.0"
author:
  - Greenlight founders
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: List the releases
  greenlight.flask.releases_info:
    app: guestbook
  register: kept
"""

RETURN = r"""
releases:
  description:
    - The releases, newest first.
    - Each has C(release), C(revision), C(environment), C(when), C(by), C(result) and C(now).
  returned: always
  type: list
  elements: dict
table:
  description: The releases as aligned lines with a heading.
  returned: always
  type: list
  elements: str
"""
