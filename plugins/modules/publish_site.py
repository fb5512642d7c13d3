#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Nginx's configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: publish_site
short_description: Publish a site, with its certificate, as a transaction
description:
  - Tests the change in a copy of the tree, swaps the files and the certificate, reloads, sees new workers.
  - If anything fails, the old tree and the old certificate are back. So they are where C(page) was answered through the
    site as it was before, and is no more, though the live release answers it by itself.
version_added: "0.1.0"
author:
  - Greenlight founders
options:
  packages_missing:
    description: Debian packages that check mode has not installed; with one missing it can't ask Nginx.
    type: list
    elements: str
    required: true
  url:
    description: Where Nginx serves the site on this host.
    type: str
    required: true
  variables:
    description:
      - The private parts. Name variables of the inventory in C(variables_from), a list, and the action adds what they
        hold, so that no secret is an argument of a task.
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
  description: Paths below C(/etc/nginx) that were changed.
  returned: always
  type: list
  elements: str
more:
  description: What else was changed, in words.
  returned: always
  type: list
  elements: str
"""
