#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notify a webhook of a deploy's outcome. The action of the same name does it; this is its documentation."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: notify
short_description: Notify a webhook of a deploy's outcome
description:
  - POSTs JSON to a webhook of Slack, Mattermost, Rocket.Chat or Discord (its URL with C(/slack) appended), or to your
    own.
  - Runs on the controller and doesn't contact the host.
  - A failed notification never fails the task. It becomes a warning that names the variable, the reason and at most the
    host of the URL.
  - >-
    The body is C({"text": message, "facts": {…}}). Receivers that are compatible with Slack show C(text) and ignore
    unknown names (according to Mattermost's source and to users of Slack), so one body serves people and programs.
    Slack documents C(attachments) for fields, but shows them below each message, drops the message if one of them is
    wrong, and allows only text values.
  - >-
    For a receiver that refuses unknown names, such as Google Chat, leave out O(facts). The body is then
    C({"text": message}).
  - Doesn't follow redirects, because a redirected POST arrives without its body. Sends a user and password in the URL
    as basic authentication. Uses the proxies of the controller's environment.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  url_from:
    description:
      - Name of the variable that holds the URL. The URL is a secret, and a task's arguments would show it.
      - If the variable is empty or undefined, nothing is sent and the task is skipped.
    type: str
    required: true
  message:
    description: One plain sentence, cut at 3000 characters. The receiver interprets its own markup.
    type: str
    required: true
  facts:
    description: Additional plain values for programs. Chat programs don't show them.
    type: dict
    default: {}
extends_documentation_fragment:
  - greenlight.flask.shared.check_mode
attributes:
  check_mode:
    details: Sends nothing, but warns of a URL that can't be used.
  diff_mode:
    description: Returns what would change as a diff.
    support: none
"""

EXAMPLES = r"""
- name: Notify of the deploy
  greenlight.flask.notify:
    url_from: flask_app_notify_url
    message: guestbook 1a2b3c4d is live in staging on app1.example.org.
    facts:
      app: guestbook
      environment: staging
      release: 20261121T094420Z-1a2b3c4d
      revision: 1a2b3c4d
      event: deployed
      host: app1.example.org
"""

RETURN = r"""
sent:
  description: Whether the webhook answered with success.
  returned: always
  type: bool
"""
