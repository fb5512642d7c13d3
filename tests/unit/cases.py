# SPDX-License-Identifier: GPL-3.0-or-later
"""A small valid app, and what rules find when something is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._build import source
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import Seen
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import case, examine, registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.reading import read

from tests.unit.fakes import taken

ROLE = Path(__file__).resolve().parents[2] / "roles/flask_app"
SPEC: dict[str, Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
    "options"
]
DEFAULTS: dict[str, Any] = {name: option["default"] for name, option in SPEC.items() if "default" in option} | {
    name: value
    for name, value in yaml.safe_load((ROLE / "defaults/main.yml").read_text()).items()
    if not (isinstance(value, str) and "{{" in value)
}
KEY = "Zk3vQ9rTx7LwB2mYc8NdE5pHs1GfJa6U"
LOCK = f"gunicorn==27.0.1 --hash=sha256:{'0' * 64}\n"
NOWHERE = Place()
#: The report of a valid app.
SAYS = asdict(Seen("production", "ENVIRONMENT", session_cookie_secure=True, preferred_url_scheme="https"))


def values(environment: str = "production", **more: Any) -> dict[str, Any]:
    """Return the role's variables in their types, all valid."""
    development = environment == "development"
    return {
        **DEFAULTS,
        "flask_app_source_git_url": "" if more.get("flask_app_source_directory") else "git@example.org:shop.git",
        "flask_app_name": "shop",
        "flask_app_environment": environment,
        "flask_app_server_names": ["shop.example.org"],
        "flask_app_debug": development,
        "flask_app_required_secrets": ["SECRET_KEY"] if development else ["SECRET_KEY", "DATABASE_URL"],
        "flask_app_secrets": {"SECRET_KEY": KEY, "DATABASE_URL": "sqlite:////var/lib/shop/shop.db"},
        "flask_app_secret_key_fallbacks": [],
        "flask_app_tls": "acme",
        **more,
    }


def template(value: Any) -> Any:
    """Return a value as Ansible reads it from an inventory, where text may be a template."""
    if isinstance(value, Mapping):
        return {name: template(item) for name, item in value.items()}
    if isinstance(value, list):
        return [template(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) and "{{" in value else value


def as_read(variables: Mapping[str, Any], **more: Any) -> Case:
    """Return the case of a host with these variables, read as by an action."""
    known = {"role_path": str(ROLE), **{name: template(value) for name, value in variables.items()}}
    given, reading = read(Templar(loader=DataLoader(), variables=known), known)
    return Case(given, reading, **more)


def for_deploy(given: Mapping[str, Any], place: Place = NOWHERE) -> tuple[list[Finding], list[str]]:
    """Return the errors that stop a deploy with these variables, and its warnings."""
    verdict = examine.for_deploy(Case(given, place=place))
    return verdict.problems, verdict.warnings


def of(family: str, seen: Case | Mapping[str, Any]) -> list[Finding]:
    """Return what the rules of one file find, in a case or with these variables."""
    _, asked = registry.families()[family]
    return registry.findings(seen if isinstance(seen, Case) else Case(seen), asked=asked)


def without_git(patch: pytest.MonkeyPatch) -> None:
    """List the files of a source without asking git, which takes longer than all rules."""
    for module in (case, source):
        patch.setattr(module, "list_files", taken)


def named(finding: Finding) -> tuple[str, str]:
    """Return what identifies a finding in tests; its texts may change."""
    return finding.id, finding.subject


def all_named(told: pytest.ExceptionInfo[Refused] | Iterable[Finding]) -> list[tuple[str, str]]:
    """Return id and subject of each finding, including those of a refused step."""
    return [named(each) for each in (told.value.findings if isinstance(told, pytest.ExceptionInfo) else told)]


def ids(findings: Iterable[Finding]) -> set[str]:
    return {finding.id for finding in findings}
