# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine a source that a host fetched itself, by what the host reports of it, with the doctor's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._build.dotenv import Value
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Shipped
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import Verdict, for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.code import environment_files
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.gunicorn import own_file


def examine_fetched(case: Case, outcome: dict[str, Any]) -> Verdict:
    """Return what the rules find in the report of a host, and take the report out of the step's ``outcome``.

    Files such as ``.env`` must not be shipped, and a gunicorn.conf.py can't set everything.
    """
    files = {
        path: {name: Value(**value) for name, value in given.items()}
        for path, given in outcome.pop("environment_files", {}).items()
    }
    fetched = Shipped(files, outcome.pop("gunicorn_file", []))
    return for_deploy(replace(case, fetched=fetched), asked=(environment_files, own_file))
