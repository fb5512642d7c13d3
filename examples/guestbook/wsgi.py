# SPDX-License-Identifier: GPL-3.0-or-later
"""The object that Gunicorn serves: ``wsgi:app``."""

from __future__ import annotations

from guestbook import create_app

app = create_app()
