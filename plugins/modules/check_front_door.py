#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the health page through Nginx and take the traffic back if the contract is broken."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: check_front_door
short_description: Ask the health page through Nginx and take the traffic back if the contract is broken
description:
  - The check after each deploy, and of each run with nothing to change.
  - A release that is asked for the first time here and fails gives the traffic back to the one that had it before,
    which still runs, and is marked bad.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  url:
    description: Where Nginx listens, as C(http://127.0.0.1:80).
    type: str
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.page
  - greenlight.flask.shared.contract
  - greenlight.flask.shared.patience
  - greenlight.flask.shared.bounds
  - greenlight.flask.shared.question
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Verify the live site through Nginx
  greenlight.flask.check_front_door:
    app: guestbook
    url: http://127.0.0.1:80
    # The mappings that greenlight.flask.prove_candidate takes; its page shows them whole.
    page: "{{ page }}"
    contract: "{{ contract }}"
    patience: "{{ patience }}"
    bounds: "{{ bounds }}"
    question: "{{ question }}"
"""

RETURN = r"""
path:
  description: Path of the page that was asked for.
  returned: success
  type: str
proved_by:
  description: Who proves C(environment) and C(debug), such as the health page or 2 workers.
  returned: success
  type: dict
health:
  description: The health answer, parsed where it is JSON.
  returned: success
  type: raw
failures:
  description: The assertions that failed, with what was expected and what came.
  returned: failure
  type: str
answer:
  description: The last HTTP answer.
  returned: failure
  type: str
journal:
  description: What the release's journal ends with, secrets masked.
  returned: failure
  type: str
hints:
  description: What typical errors in the journal mean, and which variable changes them.
  returned: failure
  type: list
  elements: str
"""
