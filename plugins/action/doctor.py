# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine settings, secrets, source and inventories on the controller, or report the findings; see the module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.greenlight.flask.plugins.action import preflight
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import examine
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import (
    Reported,
    counts,
    rendered,
    together,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import plain

SPEC = {
    "app": {"type": "dict", "default": {}},
    "results": {"type": "list", "elements": "dict", "default": []},
    "format": {"type": "str", "choices": ["text", "json"], "default": "text"},
}


class ActionModule(preflight.ActionModule):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        del tmp
        _, given = self.validate_argument_spec(SPEC)
        result["changed"] = False
        result.update(_report(given) if given["results"] else self._examine(dict(task_vars or {}), given["app"]))
        return result

    def _examine(self, known: dict[str, Any], app: Mapping[str, Any]) -> dict[str, Any]:
        says = plain(app.get("app_says")) or {}
        case = self._case(known, says=says, app_unreachable=str(app["why"]) if app and not says else "")
        seen = examine(case)
        return {
            "app": str(case.values.get("flask_app_name") or known.get("flask_app_name") or "The app"),
            "environment": str(case.values.get("flask_app_environment") or known.get("flask_app_environment") or "?"),
            "host": str(known["inventory_hostname"]),
            "findings": [finding.as_dict() for finding in seen.findings],
            "compared": seen.compared,
        }


def _report(given: Mapping[str, Any]) -> dict[str, Any]:
    results = plain(given["results"])
    findings = together({one["host"]: [Reported.of(finding) for finding in one["findings"]] for one in results})
    hosts = [one["host"] for one in results]
    apps = " and ".join(dict.fromkeys(one["app"] for one in results))
    environments = list(dict.fromkeys(one["environment"] for one in results))
    number = counts(findings)
    # Only those that were compared for all hosts.
    compared = [name for name in results[0]["compared"] if all(name in one["compared"] for one in results)]
    report = {
        "app": apps,
        "environments": environments,
        "hosts": hosts,
        **number,
        "findings": [finding.as_dict() for finding in findings],
        "compared": compared,
    }
    if given["format"] == "json":
        Display().display(json.dumps(report))
        text = f"{number['errors']} errors, {number['warnings']} warnings, {number['accepted']} accepted"
    else:
        text = rendered(findings, apps, environments, hosts, compared)
    return {"msg": text, "failed": bool(number["errors"]), "_ansible_verbose_always": True}
