#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's facts and find the problems that stop a deploy."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Read a host's facts and find the problems that stop a deploy
description:
  - Takes the lock on the app if it finds no problem. If nothing on the host differs from the inventory, checks the
    front door and gives the lock back.
  - The action of the same name adds the checks on the controller, and fails with all problems at once.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  environment:
    description: Environment of this inventory.
    type: str
    required: true
  python:
    description: Path of the app's interpreter.
    type: str
    required: true
  python_minimum:
    description: Minimum version of the interpreter.
    type: str
    required: true
  packages:
    description: Debian packages that the deploy needs.
    type: list
    elements: str
    required: true
  ports:
    description: TCP ports of the site, each by the name of its variable.
    type: dict
    required: true
  free_mb:
    description: Free space in MiB that the file system of C(/srv) must have.
    type: int
    required: true
  keep_releases:
    description: Number of good releases to keep on the host.
    type: int
    required: true
  service_settings:
    description: Settings that the inventory adds to the unit, each with its lines. systemd checks them.
    type: dict
    required: true
  site:
    description: The site for Nginx, as in M(greenlight.flask.publish_site). Without it, Nginx tests nothing.
    type: dict
  secrets:
    description: The private parts of the site.
    type: dict
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.lock
  - greenlight.flask.shared.desired
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
differs:
  description:
    - What a deploy has to change, in the order of its steps. V(packages), V(account), V(source), V(venv), V(release),
      V(live), V(site), V(front-door) and V(leftovers). Empty if nothing differs.
  returned: if the host was compared
  type: list
  elements: str
live:
  description: Which release is live, and who proved it at the front door. Empty if something differs.
  returned: if the host was compared
  type: str
problems:
  description: The problems that stop a deploy. Each has C(id), C(severity), C(subject), C(what) and C(fix).
  returned: always
  type: list
  elements: dict
"""
