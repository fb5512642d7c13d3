#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell a webhook what became of a deploy: the documentation of the action of the same name, which does it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: notify
short_description: Tell a webhook what became of a deploy
description:
  - POSTs JSON to a webhook such as those of Slack, Mattermost, Rocket.Chat or Discord (its URL with C(/slack) at the
    end), or to one of your own.
  - Runs on the controller; the host is not asked for anything.
  - A notification that fails never fails the task. It is a warning that names the variable, the reason and at most the
    host of the URL.
  - >-
    The body is C({"text": message, "facts": {…}}). What is compatible with Slack shows C(text) and ignores a name that
    it doesn't know (Mattermost's source says so, of Slack it is what users report), so one body serves people and
    programs. Slack documents C(attachments) for fields, but these are shown below each message, a mistake in one of
    them loses the message, and their values are texts.
  - >-
    A receiver that refuses unknown names, as Google Chat does, can be notified without O(facts); the body is then
    C({"text": message}).
  - Redirects are not followed, because a redirected POST arrives without its body. A user and password in the URL are
    sent as basic authentication. Proxies are those of the controller's environment.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  url_from:
    description:
      - Name of the variable that holds the URL. The URL is a secret, which a task's arguments would show.
      - Where the variable is empty or undefined nothing is sent, and the task is skipped.
    type: str
    required: true
  message:
    description: One plain sentence, cut at 3000 characters. What is markup to the receiver is markup here.
    type: str
    required: true
  facts:
    description: Plain values for programs, sent along; not shown by chat programs.
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
- name: Tell of the deploy
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
