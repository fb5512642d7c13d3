#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a release on its own socket and prove that it keeps its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: prove_candidate
short_description: Start a release on its own socket and prove that it keeps its contract
description:
  - Does not switch the traffic. A candidate that fails is stopped, kept and marked bad.
  - Each worker reports its loaded app. If Gunicorn can't report, the app is imported once more in the release's
    environment and sandbox.
  - The message contains the failed assertion and the candidate's journal.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  release:
    description: Id of the release.
    type: str
    required: true
  url:
    description: URL of the site in Nginx on this host, to request the candidate there too. Empty skips that.
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
- name: Prove the candidate
  greenlight.flask.prove_candidate:
    app: guestbook
    release: 20261121T094420Z-1a2b3c4d
    url: https://127.0.0.1:443
    page: {host: guestbook.example.org, path: /health, other_path: "", scheme: https, prefix: ""}
    contract:
      environment: production
      debug: false
      revision: 1a2b3c4d5e6f
      release: 20261121T094420Z-1a2b3c4d
      fields: {environment: env, debug: debug, revision: revision}
      status: 200
      subset: {}
    patience: {start_seconds: 60, probe_seconds: 5, successes: 3, probes: 3, interval_seconds: 0}
    bounds: {stop_seconds: 40, drain_seconds: 10}
    question:
      ask: true
      environment_keys: [ENVIRONMENT]
      secret_key_variable: SECRET_KEY
      command_elsewhere: false
      accepted: []
"""

RETURN = r"""
seconds:
  description: Seconds until the candidate was proved.
  returned: success
  type: float
first_answer_seconds:
  description: Seconds until the first answer, which is the app's start time.
  returned: success
  type: float
path:
  description: Path of the requested page.
  returned: success
  type: str
proved_by:
  description: Who proved C(environment) and C(debug), such as the health page or 2 workers.
  returned: success
  type: dict
health:
  description: The health answer.
  returned: success
  type: str
app_says:
  description: What the app reported about itself, without any value that could be a secret. Empty if not queried.
  returned: success
  type: dict
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
