#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Request the health page through Nginx and roll the traffic back if the contract is broken."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: check_front_door
short_description: Request the health page through Nginx and roll the traffic back if the contract is broken
description:
  - Checks the live site after each deploy, and in each run that changes nothing.
  - If a new release fails here, the traffic goes back to the previous release, which still runs. The failed release is
    marked bad.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  url:
    description: URL where Nginx listens, such as C(http://127.0.0.1:80).
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
  description: Path of the requested page.
  returned: success
  type: str
proved_by:
  description: Who proved C(environment) and C(debug), such as the health page or 2 workers.
  returned: success
  type: dict
health:
  description: The health answer, parsed if it is JSON.
  returned: success
  type: raw
failures:
  description: The failed assertions, with expected and received values.
  returned: failure
  type: str
answer:
  description: The last HTTP answer.
  returned: failure
  type: str
journal:
  description: The end of the release's journal, with secrets masked.
  returned: failure
  type: str
hints:
  description: What known errors in the journal mean, and which variables fix them.
  returned: failure
  type: list
  elements: str
"""
