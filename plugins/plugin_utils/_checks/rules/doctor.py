# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's own finding; no function looks for it."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING

from ..rule import Rule

UNUSED_ACCEPTANCE = Rule(
    "unused-acceptance",
    "flask_app_accepted_findings has an entry that accepts nothing.",
    severity=WARNING,
    fix="Remove it.",
)
