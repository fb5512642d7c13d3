#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a site, with its certificate, as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: publish_site
short_description: Publish a site, with its certificate, as a transaction
description:
  - Tests the change in a copy of the tree, swaps the files and the certificate, reloads, and waits for new workers.
  - If anything fails, restores the old tree and the old certificate. It also does so if the old site answered C(page)
    and the new one doesn't, although the live release itself does.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  packages_missing:
    description: Debian packages that check mode has not installed. If one is missing, Nginx can't test the site.
    type: list
    elements: str
    required: true
  url:
    description: URL of the site in Nginx on this host.
    type: str
    required: true
  variables:
    description:
      - The private parts. The action adds the mappings of the inventory variables listed in C(variables_from), so that
        no secret is an argument of a task.
      - C(certificate) and C(key) (PEM) for V(provided); C(eab_kid) and C(eab_hmac_key) for V(acme).
    type: dict
    required: true
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
  - greenlight.flask.shared.site
  - greenlight.flask.shared.page
  - greenlight.flask.shared.patience
  - greenlight.flask.shared.check_mode
attributes:
  diff_mode:
    description: Returns what would change as a diff.
    support: full
"""

EXAMPLES = r"""
- name: Publish the site
  greenlight.flask.publish_site:
    app: guestbook
    site:
      files:
        sites-enabled/guestbook.conf: "{{ lookup('ansible.builtin.template', 'guestbook.conf.j2') }}"
      interim_files: {}
      inside: ""
      facts: {}
      server_names: [guestbook.example.org]
      logs: [guestbook.access.log, guestbook.error.log]
      main: ""
      drop_in: ""
      replace_stock_default_site: true
      tls:
        mode: acme
        port: 443
        directory: https://acme-v02.api.letsencrypt.org/directory
        email: ops@example.org
    url: https://127.0.0.1:443
    # The mappings that greenlight.flask.prove_candidate takes; its page shows them whole.
    page: "{{ page }}"
    patience: "{{ patience }}"
    packages_missing: []
    variables: {}
"""

RETURN = r"""
files:
  description: Changed paths below C(/etc/nginx).
  returned: always
  type: list
  elements: str
more:
  description: Other changes, in words.
  returned: always
  type: list
  elements: str
"""
