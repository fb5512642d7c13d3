#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's facts and find what stops a deploy of a Flask app."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Read a host's facts and find what stops a deploy of a Flask app
description:
  - Changes nothing but the lock on the app, which it takes for a run that finds no problem.
  - The action of the same name adds what can be checked on the controller, and fails with all problems at once.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: The environment that this inventory stands for.
    type: str
    required: true
  python:
    description: Path of the app's interpreter.
    type: str
    required: true
  python_minimum:
    description: Oldest version of it.
    type: str
    required: true
  packages:
    description: Debian packages that the deploy needs.
    type: list
    elements: str
    required: true
  ports:
    description: TCP ports of the site, by the variable that sets each.
    type: dict
    required: true
  free_mb:
    description: MiB that must be free where C(/srv) is.
    type: int
    required: true
  keep_releases:
    description: How many good releases stay on the host.
    type: int
    required: true
  service_settings:
    description: Settings of the unit that the inventory adds, with the lines of each. systemd is asked of them.
    type: dict
    required: true
  site:
    description: What Nginx is to serve, as M(greenlight.flask.publish_site) takes it. Without it, Nginx tests nothing.
    type: dict
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Read the host's facts
  greenlight.flask.preflight:
    app: guestbook
    environment: staging
    python: /usr/bin/python3
    python_minimum: "3.11"
    packages: [nginx, python3-venv]
    ports: {flask_app_http_port: 80}
    free_mb: 1024
    site:
      files: {}
"""

RETURN = r"""
host:
  description: Facts of the host.
  returned: always
  type: dict
problems:
  description: What stops a deploy; each has C(id), C(severity), C(subject), C(what) and C(fix).
  returned: always
  type: list
  elements: dict
"""
