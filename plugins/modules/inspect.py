#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return how the app of the live release is configured."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: inspect
short_description: Return how the app of the live release is configured
description:
  - Reads what the workers reported at their start. If Gunicorn can't report, the app is imported once more in the
    release's environment and sandbox.
  - Changes nothing, and returns no value that could be a secret. If the app can't be queried, C(why) has the reason.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment_keys:
    description: Keys of C(app.config) that may name the environment; the first existing one counts.
    type: list
    elements: str
    required: true
  seconds:
    description: Maximum duration in seconds.
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
- name: Query the app
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
  description: Why the app could not be queried. Empty if it was.
  returned: success
  type: str
app_says:
  description:
    - What the app reported, C(environment) and C(environment_key), C(debug), C(testing), C(databases) (only kinds),
      C(session_cookie_secure), C(remember_cookie_secure), C(preferred_url_scheme) and C(debuggers).
  returned: success
  type: dict
"""
