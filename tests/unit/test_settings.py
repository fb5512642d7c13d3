# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit and Gunicorn settings that would break the role's promise, or inject other settings, are refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import gunicorn, service
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import values as value_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import variables as variable_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.gunicorn import HOOKS

from tests.unit import cases


def case(**more: Any) -> Case:
    return Case(cases.values(**{f"flask_app_{name}": value for name, value in more.items()}))


def problems(**more: Any) -> list[Finding]:
    asked = (value_rules.lines, variable_rules.names, service.settings, gunicorn.settings)
    return registry.findings(case(**more), asked=asked)


def of_unit(name: str, value: Any = "x") -> list[Finding]:
    return problems(service_settings={name: value})


def named(problem: Finding) -> tuple[str, str]:
    return problem.id, problem.subject.removeprefix("flask_app_")


def test_the_defaults_of_the_role_are_accepted() -> None:
    assert problems() == []


#: Settings that the role itself depends on -> a word of the alternative.
OF_THE_ROLE = {
    **dict.fromkeys(
        ("ExecStart", "ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecReload", "ExecCondition"),
        "flask_app_release_command",
    ),
    **dict.fromkeys(("RuntimeDirectory", "RuntimeDirectoryPreserve"), "RUNTIME_DIRECTORY"),
    **dict.fromkeys(("StateDirectory", "ConfigurationDirectory"), "/var/lib/<flask_app_name>"),
    **dict.fromkeys(
        ("KillMode", "KillSignal", "FinalKillSignal", "SendSIGKILL", "TimeoutStopSec", "TimeoutSec"),
        "flask_app_gunicorn_graceful_timeout_seconds",
    ),
    **dict.fromkeys(("RuntimeMaxSec", "WatchdogSec", "WatchdogSignal"), "max_requests"),
    **dict.fromkeys(("User", "Group", "DynamicUser"), "flask_app_name"),
    **dict.fromkeys(("Restart", "RestartPreventExitStatus", "StartLimitBurst", "StartLimitInterval"), "restarted"),
    **dict.fromkeys(("WorkingDirectory", "RootDirectory", "RootImage"), "flask_app_source_subdirectory"),
    **dict.fromkeys(("Type", "NotifyAccess", "PIDFile", "RemainAfterExit"), "process has started"),
    **dict.fromkeys(("Sockets", "OpenFile", "StandardInput", "NonBlocking"), "socket"),
    "EnvironmentFile": "flask_app_env or flask_app_secrets",
}


@pytest.mark.parametrize("name", ["forwarder_headers", "header_map"])
def test_with_a_url_prefix_the_prefix_settings_are_refused(name: str) -> None:
    [problem] = problems(gunicorn_settings={name: "x"}, url_prefix="/shop")
    assert named(problem) == ("setting-of-the-role", "gunicorn_settings")
    assert problem.concerns(["flask_app_url_prefix"])
    assert name in problem.what
    assert problems(gunicorn_settings={name: "x"}) == []


@pytest.mark.parametrize("name", OF_THE_ROLE)
def test_a_setting_reserved_for_the_role_is_refused_with_an_alternative(name: str) -> None:
    [problem] = of_unit(name)
    assert named(problem) == ("setting-of-the-role", "service_settings")
    assert name in problem.what
    assert OF_THE_ROLE[name] in str(problem)


@pytest.mark.parametrize(
    "name",
    [
        "ExecPaths", "NoExecPaths", "ExecSearchPath", "MemoryMax", "TasksMax", "TimeoutStartSec", "RestartSec",
        "SupplementaryGroups", "Environment", "StateDirectoryMode", "RuntimeDirectoryMode", "BindPaths", "LimitNOFILE",
        "UMask", "Slice", "StandardOutput", "CPUQuota", "RemoveIPC", "LoadCredential", "SuccessExitStatus",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["x", "", 5, 1.5, True, ["", "a b"], []], ids=repr)
def test_other_unit_settings_are_accepted(name: str, value: Any) -> None:
    assert of_unit(name, value) == []


LINES = [
    "1G\nExecStartPre=+/bin/touch /root/x", "1G\rExecStartPre=x", "a\x00b", "a\x0bb", "a\x0cb", "a\x1cb", "a\x85b",
    "a\u2028b", "a\u2029b", "1G\\", "a \\", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=ascii)
@pytest.mark.parametrize("listed", [False, True], ids=["", "in a list"])
def test_a_value_that_would_add_a_unit_line_is_refused_by_name(line: str, listed: bool) -> None:
    [problem] = of_unit("MemoryHigh", ["1G", line] if listed else line)
    assert named(problem) == ("control-character", "service_settings")
    assert "MemoryHigh" in problem.what
    assert "ExecStartPre" not in str(problem)


@pytest.mark.parametrize("name", ["", "A B", "A=b\nC", "[Unit]", "#A", "A\n", "-A", "Ä"], ids=ascii)
def test_a_setting_name_that_is_not_one_word_is_refused(name: str) -> None:
    [problem] = of_unit(name)
    assert named(problem) == ("malformed-value", "service_settings")
    assert repr(name) in problem.what


@pytest.mark.parametrize("value", [None, {"a": 1}, [None], [["a"]], date(2026, 1, 2)], ids=repr)
def test_a_value_that_is_not_a_string_is_refused(value: Any) -> None:
    [problem] = of_unit("Nice", value)
    assert named(problem) == ("wrong-type", "service_settings")
    assert "Nice" in problem.what


@pytest.mark.parametrize("name", ["CacheDirectory", "LogsDirectory"])
@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("shop", True),
        ("shop/pages shop/images", True),
        (["shop"], True),
        ("", True),
        ("nginx", False),
        ("shop nginx", False),
        ("shop/../nginx", False),
        ("shop:nginx", False),
        ("shop-2", False),
        ("%p", False),
    ],
)
def test_a_directory_managed_by_systemd_must_be_named_after_the_app(name: str, value: Any, good: bool) -> None:
    assert list(map(named, of_unit(name, value))) == [("foreign-directory", "service_settings")] * (not good)


# Gunicorn


@pytest.mark.parametrize(
    "name",
    ["bind", "chdir", "check_config", "config", "daemon", "group", "initgroups", "pidfile", "print_config", "user",
     "wsgi_app"],
)  # fmt: skip
def test_a_gunicorn_setting_that_the_unit_depends_on_is_refused(name: str) -> None:
    [problem] = problems(gunicorn_settings={name: "x"})
    assert named(problem) == ("setting-of-the-role", "gunicorn_settings")
    assert name in problem.what


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_gunicorn_hook_belongs_in_the_file_of_the_source(name: str) -> None:
    [problem] = problems(gunicorn_settings={name: "x"})
    assert named(problem) == ("gunicorn-hook", "gunicorn_settings")
    assert "gunicorn.conf.py" in problem.fix


@pytest.mark.parametrize("name", ["a\nimport os", "a b", "", "A", "__builtins__", "import os;x", "é"], ids=ascii)
def test_a_name_that_is_not_a_gunicorn_setting_is_refused(name: str) -> None:
    [problem] = problems(gunicorn_settings={name: 1})
    assert named(problem) == ("malformed-value", "gunicorn_settings")
    assert repr(name) in problem.what


@pytest.mark.parametrize(
    "value",
    [date(2026, 1, 2), float("nan"), float("inf"), b"x", {1: 2}, {"a": [date(2026, 1, 2)]}, {"a", "b"}, "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_a_value_that_python_would_read_differently_is_refused(value: Any) -> None:
    [problem] = problems(gunicorn_settings={"max_requests": value})
    assert named(problem) == ("wrong-type", "gunicorn_settings")
    assert "max_requests" in problem.what


@pytest.mark.parametrize(
    "value", [1, 1.5, True, None, 'it\'s \n "x" \u2028', ["a", 1], {"version": 1, "x": {"y": [None]}}], ids=ascii
)
def test_a_plain_data_value_is_accepted(value: Any) -> None:
    assert problems(gunicorn_settings={"logconfig_dict": value, "workers": 5}) == []


# Every text


@pytest.mark.parametrize("name", ["wsgi", "revision", "python", "environment", "hooks_before_build", "packages"])
def test_a_multiline_text_is_refused_by_the_name_of_its_variable(name: str) -> None:
    value: Any = "a\nb" if cases.SPEC[f"flask_app_{name}"]["type"] == "str" else ["a", "a\nb"]
    [problem] = problems(**{name: value})
    assert named(problem) == ("control-character", name)
    assert "\n" not in str(problem)


@pytest.mark.parametrize("name", value_rules.SEVERAL_LINES)
def test_a_variable_with_a_whole_file_may_have_several_lines(name: str) -> None:
    assert problems(**{name.removeprefix("flask_app_"): "a\nb\n"}) == []


@pytest.mark.parametrize("part", ["environment", "revision", "release", "secret_key"])
@pytest.mark.parametrize("name", ["A B", "1A", "", "A=b", "Ä"])
def test_an_invalid_environment_variable_name_is_refused(part: str, name: str) -> None:
    [problem] = problems(**{f"{part}_variable": name})
    assert named(problem) == ("unfit-variable", f"{part}_variable")


# The host's checks


def test_systemd_checks_the_lines_that_the_unit_gets() -> None:
    given = {"Nice": 5, "PrivateTmp": True, "ReadWritePaths": ["", "/x"], "IPAddressDeny": []}
    assert service.for_the_host(case(service_settings=given)) == {
        "Nice": ["5"],
        "PrivateTmp": ["True"],
        "ReadWritePaths": ["", "/x"],
        "IPAddressDeny": [],
    }


@pytest.mark.parametrize("entry", ["unit-setting", "unit-setting:Nise"])
def test_systemd_does_not_check_accepted_settings(entry: str) -> None:
    given = {"Nise": 5}
    assert service.for_the_host(case(service_settings=given, accepted_findings=["no-tls"])) == {"Nise": ["5"]}
    assert service.for_the_host(case(service_settings=given, accepted_findings=[entry])) == {}


def test_systemd_does_not_check_refused_settings() -> None:
    assert service.for_the_host(case(service_settings={"Nice": "5\nExecStart=x", "UMask": "077"})) == {}
