#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the app of the live release how it is configured."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: inspect
short_description: Ask the app of the live release how it is configured
description:
  - Its workers have reported it when they started. Where Gunicorn can't report, the app is imported once more, in its
    release's environment and sandbox.
  - Nothing is changed, and no value that could be a secret is returned. Where it can't be asked, C(why) says so.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment_keys:
    description: Keys of C(app.config); the first that is there names the environment.
    type: list
    elements: str
    required: true
  seconds:
    description: Seconds that it may take.
    type: float
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Ask the app
  greenlight.flask.inspect:
    app: guestbook
    environment_keys: [ENVIRONMENT]
    seconds: 60
  register: inspected
"""

RETURN = r"""
release:
  description: Id of the live release.
  returned: success
  type: str
why:
  description: Why it could not be asked; empty where it was.
  returned: success
  type: str
app_says:
  description:
    - What the app said, C(environment) and C(environment_key), C(debug), C(testing), C(databases) (their kinds only),
      C(session_cookie_secure), C(remember_cookie_secure), C(preferred_url_scheme) and C(debuggers).
  returned: success
  type: dict
"""
