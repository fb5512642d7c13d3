# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a release, prove it, and warn about what the app reports; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import of_the_app
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import with_types

#: The role's variables that the findings depend on.
_NEEDED = (
    "flask_app_environment",
    "flask_app_tls",
    "flask_app_nginx_trusted_proxies",
    "flask_app_accepted_findings",
)


class ActionModule(StepAction):
    def run_step(self, arguments: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        outcome = super().run_step(arguments, known)
        if outcome.get("app_says"):
            values = dict(zip(_NEEDED, map(with_types(self._templar, known), _NEEDED), strict=True))
            warnings = of_the_app(Case(values, says=outcome["app_says"]))
            outcome["warnings"] = [*outcome.get("warnings", ()), *warnings]
        return outcome
