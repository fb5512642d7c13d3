# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app reports about itself beyond its contract becomes a finding of the doctor and a warning of a deploy."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.action import doctor as doctor_action
from ansible_collections.greenlight.flask.plugins.action import prove_candidate
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import examine
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported, accept
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.app import configuration
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.environment import unproved

from tests.unit.cases import SAYS, of, values
from tests.unit.test_doctor import found, names, one, opened

OF_THE_APP = [rule.id for rule in configuration.rules]
#: Faults of an app -> the finding of each.
FAULTS: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"session_cookie_secure": False}, ("insecure-cookie", WARNING, "SESSION_COOKIE_SECURE")),
    ({"remember_cookie_secure": False}, ("insecure-cookie", WARNING, "REMEMBER_COOKIE_SECURE")),
    ({"preferred_url_scheme": "http"}, ("insecure-scheme", WARNING, "PREFERRED_URL_SCHEME")),
    ({"debuggers": ["flask_debug_toolbar"]}, ("debug-toolbar", ERROR, "flask-debug-toolbar")),
]
ALL = {key: value for fault, _ in FAULTS for key, value in fault.items()}
OF_HTTPS = FAULTS[:3]
PROXIES = ["10.0.0.0/8"]


def of_app(given: dict[str, Any], **change: Any) -> list[Finding]:
    return of("app", Case(given, says={**SAYS, **change}))


# The app


@pytest.mark.parametrize("environment", ["staging", "production", "qa"])
def test_a_correct_app_has_no_findings(environment: str) -> None:
    assert of_app(values(environment)) == []


@pytest.mark.parametrize("environment", ["staging", "production", "qa"])
@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_app_faults_are_reported_outside_development(
    environment: str, fault: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert one(of_app(values(environment), **fault)) == expected


def test_each_app_fault_is_a_separate_finding() -> None:
    assert len(of_app(values(), **ALL)) == 4
    assert len(of_app(values(), debuggers=["flask_debug", "flask_profiler"])) == 2


def test_app_faults_are_not_reported_in_development() -> None:
    assert of_app(values("development"), **ALL) == []


@pytest.mark.parametrize("tls", ["none", "self_signed", "acme", "provided"])
@pytest.mark.parametrize("proxies", [[], PROXIES])
@pytest.mark.parametrize(("fault", "_expected"), OF_HTTPS)
def test_https_settings_are_checked_if_the_host_or_a_proxy_serves_https(
    tls: str, proxies: list[str], fault: dict[str, Any], _expected: object
) -> None:
    given = values("staging", flask_app_tls=tls, flask_app_nginx_trusted_proxies=proxies)
    assert len(of_app(given, **fault)) == (0 if tls == "none" and not proxies else 1)


@pytest.mark.parametrize(("fault", "_expected"), OF_HTTPS)
def test_https_settings_are_always_checked_in_production(fault: dict[str, Any], _expected: object) -> None:
    assert len(of_app(values("production", flask_app_tls="none"), **fault)) == 1


def test_a_debugger_is_reported_even_without_https() -> None:
    assert names(of_app(values("staging", flask_app_tls="none"), **ALL)) == {"debug-toolbar"}


def test_an_app_that_was_not_inspected_has_no_findings() -> None:
    assert of("app", Case(values())) == []


# The proof


ENVIRONMENT = {"flask_app_health_fields": {"environment": "env"}}
NO_ENVIRONMENT: dict[str, Any] = {"flask_app_health_fields": {"environment": "", "debug": "debug"}}
ASKED = {"flask_app_inspect": True, "flask_app_inspect_environment_keys": ["ENVIRONMENT"]}


@pytest.mark.parametrize("fields", [{}, {"environment": ""}, {"debug": "debug"}])
@pytest.mark.parametrize("change", [{"flask_app_inspect": False}, {"flask_app_inspect_environment_keys": []}])
def test_not_proving_the_environment_is_an_error_outside_development(
    fields: dict[str, str], change: dict[str, Any]
) -> None:
    more = {**ASKED, **change, "flask_app_health_fields": fields}
    for environment in ("staging", "production", "qa"):
        expected = ("unproved-environment", ERROR, "flask_app_health_fields")
        assert one(registry.findings(Case(values(environment, **more)), asked=[unproved])) == expected
        assert one(found(values(environment, **more))) == expected
    assert registry.findings(Case(values("development", **more)), asked=[unproved]) == []


@pytest.mark.parametrize(
    "more",
    [
        {**ENVIRONMENT, "flask_app_inspect": False},
        {**ENVIRONMENT, **ASKED, "flask_app_inspect_environment_keys": []},
        {**NO_ENVIRONMENT, **ASKED},
        {},
    ],
)
def test_one_way_to_prove_the_environment_is_enough(more: dict[str, Any]) -> None:
    assert registry.findings(Case(values(**more)), asked=[unproved]) == []


# What was not checked


def examined(says: dict[str, Any] | None, *accepted: str, **more: Any) -> list[Reported]:
    given = values(flask_app_accepted_findings=list(accepted), **more)
    return examine(Case(given, place=Place(None, None, opened), says=says or {})).findings


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
@pytest.mark.parametrize("whole", [True, False])
def test_an_accepted_app_finding_is_listed_as_accepted(
    fault: dict[str, Any], expected: tuple[str, str, str], whole: bool
) -> None:
    kind, _, subject = expected
    (finding,) = examined({**SAYS, **fault}, f"{kind}:{subject}" if whole else kind)
    assert (finding.id, finding.accepted) == (kind, True)
    (finding,) = examined({**SAYS, **fault})
    assert (finding.id, finding.accepted) == (kind, False)


@pytest.mark.parametrize("kind", OF_THE_APP)
@pytest.mark.parametrize("entry", ["{}", "{}:SUBJECT"])
def test_accepting_an_app_finding_is_unused_only_if_the_app_was_inspected(kind: str, entry: str) -> None:
    named = entry.format(kind)
    assert examined(None, named) == examined({}, named) == []
    (vain,) = examined(SAYS, named)
    assert (vain.id, vain.subject) == ("unused-acceptance", named)


def test_accepting_any_other_finding_can_be_unused_without_an_inspection() -> None:
    assert names(examined(None, "no-tls")) == {"unused-acceptance"}


def test_only_unchecked_findings_may_be_accepted_in_advance() -> None:
    assert accept([], ["a", "b:x"], unseen=["a", "b"]) == []
    assert [finding.subject for finding in accept([], ["a", "ab", "b:x"], unseen=["a"])] == ["ab", "b:x"]


def test_the_app_findings_are_exactly_those_from_the_inspection() -> None:
    assert {kind for _, (kind, _, _) in FAULTS} == set(OF_THE_APP)


# The deploy's warnings


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the action of the task that proves a candidate, whose module returned ``outcome``."""

    def run(outcome: dict[str, Any], **known: Any) -> dict[str, Any]:
        known = {**{name: values()[name] for name in prove_candidate._NEEDED}, **known}
        action = made(prove_candidate, known, app="shop", release="r1")

        def execute(*, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert (module_name, module_args["step"]) == ("greenlight.flask.host_step", "prove_candidate")
            assert json.loads(module_args["options"]) == {"app": "shop", "release": "r1"}
            return {**outcome, "invocation": {"module_args": module_args}}

        monkeypatch.setattr(action, "_execute_module", execute)
        return dict(action.run(task_vars=known))

    return run


def made(module: Any, known: dict[str, Any], **arguments: object) -> Any:
    """Make the action of a task, like Ansible."""
    return module.ActionModule(
        task=SimpleNamespace(args=arguments, check_mode=False, async_val=0, action="greenlight.flask.prove_candidate"),
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nonexistent")),
        play_context=None,
        loader=DataLoader(),
        templar=Templar(loader=DataLoader(), variables=known),
    )


def test_a_deploy_warns_about_each_fault_and_says_how_to_accept_it(prove: Callable[..., dict[str, Any]]) -> None:
    (warning,) = prove({"changed": True, "app_says": {**SAYS, "session_cookie_secure": False}})["warnings"]
    assert warning.endswith(" (insecure-cookie:SESSION_COOKIE_SECURE)")
    what, _, fix = warning.rpartition(" (")[0].partition(" Fix: ")
    assert "SESSION_COOKIE_SECURE" in what
    assert "SESSION_COOKIE_SECURE" in fix


def test_a_deploy_of_a_correct_app_only_keeps_the_warnings_of_the_module(
    prove: Callable[..., dict[str, Any]],
) -> None:
    outcome = {"changed": True, "app_says": SAYS, "warnings": ["the module's"]}
    assert prove(outcome) == outcome
    told = prove({**outcome, "app_says": {**SAYS, **ALL}})["warnings"]
    assert (told[0], len(told)) == ("the module's", 5)


def test_a_deploy_does_not_warn_about_accepted_findings(prove: Callable[..., dict[str, Any]]) -> None:
    accepted = trust_as_template("{{ ['insecure-cookie:REMEMBER_COOKIE_SECURE', kind] }}")
    outcome = {"app_says": {**SAYS, **ALL}}
    told = prove(outcome, flask_app_accepted_findings=accepted, kind="insecure-scheme")["warnings"]
    assert [warning.rpartition("(")[2] for warning in told] == [
        "insecure-cookie:SESSION_COOKIE_SECURE)",
        "debug-toolbar:flask-debug-toolbar)",
    ]


def test_an_acceptance_may_be_a_string_instead_of_a_list(prove: Callable[..., dict[str, Any]]) -> None:
    outcome = {"app_says": {**SAYS, "session_cookie_secure": False}}
    assert prove(outcome, flask_app_accepted_findings="insecure-cookie")["warnings"] == []


def test_a_deploy_without_tls_does_not_require_secure_cookies(
    prove: Callable[..., dict[str, Any]],
) -> None:
    outcome = {"app_says": {**SAYS, "session_cookie_secure": False, "preferred_url_scheme": "http"}}
    of_staging = {"flask_app_environment": "staging", "flask_app_tls": "none"}
    assert prove(outcome, **of_staging)["warnings"] == []
    assert len(prove(outcome, **of_staging, flask_app_nginx_trusted_proxies=PROXIES)["warnings"]) == 2
    assert prove(outcome, flask_app_environment="development")["warnings"] == []


@pytest.mark.parametrize("outcome", [{"changed": True, "app_says": {}}, {"failed": True, "msg": "not proved"}])
def test_a_candidate_without_a_report_gets_no_warnings(
    prove: Callable[..., dict[str, Any]], outcome: dict[str, Any]
) -> None:
    assert prove(outcome) == outcome


def test_the_findings_read_only_variables_known_to_the_action() -> None:
    class Asked(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            read.add(name)
            return super().__getitem__(name)

    read: set[str] = set()
    says = {**SAYS, "session_cookie_secure": False, "preferred_url_scheme": "http", "debuggers": ["flask_debugtoolbar"]}
    for environment in ("development", "staging", "production"):
        of("app", Case(Asked(values(environment)), says=says))
    assert read <= set(prove_candidate._NEEDED)


# The doctor's hosts


def doctors(monkeypatch: pytest.MonkeyPatch, app: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
    """Return the doctor's findings.

    Args:
        app: the result of the task that inspected the app.
        given: the role's variables that differ from valid ones.
    """
    action = made(doctor_action, {}, app=app)
    monkeypatch.setattr(action, "_case", lambda known, **more: Case(values(**given), **more))
    found: list[dict[str, Any]] = action.run(task_vars={"inventory_hostname": "app1"})["findings"]
    return found


def test_the_doctor_inspects_the_app_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctors(monkeypatch, {"why": "", "app_says": SAYS}) == []
    (finding,) = doctors(monkeypatch, {"why": "", "app_says": {**SAYS, "preferred_url_scheme": "http"}})
    assert finding["id"] == "insecure-scheme"


def test_the_doctor_inspects_no_host_unless_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctors(monkeypatch, {}) == []


def test_an_app_that_could_not_be_inspected_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = doctors(monkeypatch, {"why": "shop has no live release on this host", "app_says": {}})
    assert (finding["id"], finding["severity"]) == ("app-unreachable", WARNING)
    assert "shop has no live release on this host." in finding["what"]


# The preflight's findings


def test_the_doctor_reports_invalid_inputs_as_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = doctors(monkeypatch, {}, flask_app_keep_releases=0)
    assert (finding["id"], finding["severity"], finding["subject"]) == (
        "out-of-range",
        ERROR,
        "flask_app_keep_releases",
    )
    assert (finding["accepted"], finding["hosts"]) == (False, [])


@pytest.mark.parametrize(
    ("given", "kind", "subject"),
    [
        ({"flask_app_debug": True}, "debug", "flask_app_debug"),
        ({"flask_app_required_secrets": ["A", "B"]}, "missing-secret", "A, B"),
        ({"flask_app_env": {"FLASK_CONFIG": "production"}}, "environment-by-hand", "FLASK_CONFIG"),
    ],
)
def test_a_finding_of_both_doctor_and_preflight_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], kind: str, subject: str
) -> None:
    assert [(each["id"], each["subject"]) for each in doctors(monkeypatch, {}, **given)] == [(kind, subject)]


def test_invalid_inputs_cannot_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, unused = doctors(monkeypatch, {}, flask_app_keep_releases=0, flask_app_accepted_findings=["out-of-range"])
    assert (refused["id"], refused["accepted"]) == ("out-of-range", False)
    assert (unused["id"], unused["subject"]) == ("unused-acceptance", "out-of-range")
    assert "can't be accepted" in unused["what"]
