# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wrong input is reported before anything is touched: the variable, the fix, and never a secret's value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.action import preflight
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, numbered
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry, report
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Reading
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import for_deploy
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rule import Check
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import environment as environment_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import nginx as nginx_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import reading as reading_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import secrets as secret_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import source as source_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import values as value_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import variables as variable_rules
from ansible_collections.greenlight.flask.plugins.plugin_utils._task import reading as task_reading
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import (
    merged,
    once,
    plain,
    templated,
    with_types,
)

from tests.unit import cases
from tests.unit.cases import SPEC, all_named, named

ROLE = Path(__file__).resolve().parents[2] / "roles/flask_app"
ENVIRONMENTS = ["development", "staging", "production"]
LOCK = f"gunicorn==27.0.1 --hash=sha256:{'0' * 64}\n"


def one(problems: Sequence[Finding]) -> Finding:
    """Return the only finding, which is about each variable that its text names."""
    (problem,) = problems
    assert problem.what.isprintable()
    assert {*re.findall(r"flask_app_\w+", problem.what)} <= {problem.subject, *problem.variables}
    return problem


def found(*asked: Check, **changed: Any) -> list[Finding]:
    """Return the findings of these functions with these variables changed; names are without ``flask_app_``."""
    return registry.findings(
        Case(cases.values(**{f"flask_app_{name}": value for name, value in changed.items()})), asked=asked
    )


def found_reading(asked: Check, **how: Any) -> list[Finding]:
    """Return the findings of a function with variables read in this way."""
    return registry.findings(Case({}, Reading(**{"known": SPEC, **how})), asked=[asked])


def of_values(given: Mapping[str, Any]) -> list[Finding]:
    return registry.findings(Case(given), asked=[value_rules.numbers, value_rules.forms])


def of_process(**changed: Any) -> list[Finding]:
    return found(variable_rules.of_the_app, variable_rules.of_the_build, environment_rules.by_hand, **changed)


def refusals(given: Mapping[str, Any]) -> list[Finding]:
    """Return the findings that nobody can accept."""
    return [each for each in registry.findings(Case(given)) if not registry.known()[each.id].acceptable]


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("flask_app_server_name", "flask_app_server_names"),
        ("flask_app_enviroment", "flask_app_environment"),
        ("flask_app_gunicorn_worker", "flask_app_gunicorn_workers"),
        ("flask_app_secret", "flask_app_secrets"),
    ],
)
def test_a_misspelt_variable_is_reported_with_a_suggestion(name: str, meant: str) -> None:
    problem = one(found_reading(reading_rules.unknown, names=[name, "flask_app_name", "other"]))
    assert named(problem) == ("unknown-variable", name)
    assert meant in problem.fix


def test_an_unknown_variable_is_reported_with_the_list() -> None:
    problem = one(found_reading(reading_rules.unknown, names=["flask_app_xyzzy_plugh"]))
    assert named(problem) == ("unknown-variable", "flask_app_xyzzy_plugh")
    assert "roles/flask_app/defaults/main.yml" in problem.fix


def test_variables_of_the_role_and_of_others_are_accepted() -> None:
    assert (
        found_reading(
            reading_rules.unknown,
            names=[*SPEC, "vault_flask_app_secret_key", "__flask_app_host", "flask_apps", "ansible_host"],
        )
        == []
    )


def test_each_misspelt_variable_is_reported_once_in_order() -> None:
    names = ["flask_app_zzz", "flask_app_nam", "flask_app_nam"]
    assert [problem.subject for problem in found_reading(reading_rules.unknown, names=names)] == [
        "flask_app_nam",
        "flask_app_zzz",
    ]


@pytest.mark.parametrize("name", ["Shop", "my_shop", "1shop", "", "a/b", "..", "a" * 32, "shop\n"])
def test_a_name_that_cannot_be_an_account_is_reported(name: str) -> None:
    problem = one(found(environment_rules.name, name=name))
    assert named(problem) == ("malformed-name", "flask_app_name")
    assert repr(name) in problem.what
    assert "dashes" in problem.fix


@pytest.mark.parametrize(
    "name", ["private", "staff", "greenlight", "greenlight-build", "nginx", "systemd", "dbus", "www-data", "games"]
)
def test_a_reserved_system_name_is_reported_before_contacting_a_host(name: str) -> None:
    assert named(one(found(environment_rules.name, name=name))) == ("reserved-name", "flask_app_name")


@pytest.mark.parametrize("name", ["shop", "my-shop", "s2", "private-shop", "greenlights", "blog", "redis"])
def test_a_valid_app_name_is_accepted(name: str) -> None:
    assert found(environment_rules.name, name=name) == []


# Environment and DEBUG


@pytest.mark.parametrize(
    ("environment", "hint"),
    [
        ("stagging", "staging"),
        ("prod", "production"),
        ("dev", "development"),
        ("", ""),
        ("Staging", "staging"),
        ("x", ""),
    ],
)
def test_an_unknown_environment_is_reported_with_the_known_ones(environment: str, hint: str) -> None:
    problem = one(found(environment_rules.environment, environment=environment))
    assert named(problem) == ("unknown-environment", "flask_app_environment")
    assert repr(environment) in problem.what
    assert all(name in problem.what for name in ENVIRONMENTS)
    assert [name for name in ENVIRONMENTS if name in problem.fix] == ([hint] if hint else [])
    assert "flask_app_environments" in problem.fix


@pytest.mark.parametrize("name", ["pre prod", "x" * 101, "", "a\nb"])
def test_an_environment_name_unusable_as_a_stamp_is_reported(name: str) -> None:
    problem = one(found(environment_rules.environment, environment="staging", environments=[*ENVIRONMENTS, name]))
    assert named(problem) == ("malformed-environment", "flask_app_environments")
    assert len(problem.what) < 150


@pytest.mark.parametrize("environment", ["staging", "production", "qa"])
def test_debug_outside_development_is_reported(environment: str) -> None:
    problem = one(
        found(environment_rules.environment, environment=environment, environments=[*ENVIRONMENTS, "qa"], debug=True)
    )
    assert named(problem) == ("debug", "flask_app_debug")
    assert environment in problem.what
    assert "flask_app_debug" in problem.fix


@pytest.mark.parametrize(
    ("environment", "debug"), [("development", True), ("development", False), ("staging", False), ("production", False)]
)
def test_a_known_environment_with_a_matching_debug_flag_is_accepted(environment: str, debug: bool) -> None:
    assert found(environment_rules.environment, environment=environment, debug=debug) == []


# Secrets and variables


@pytest.mark.parametrize(
    ("secrets", "missing"),
    [
        ({}, ["SECRET_KEY", "DATABASE_URL"]),
        ({"SECRET_KEY": ""}, ["SECRET_KEY", "DATABASE_URL"]),
        ({"SECRET_KEY": None, "DATABASE_URL": "x"}, ["SECRET_KEY"]),
        ({"SECRET_KEY": "x"}, ["DATABASE_URL"]),
    ],
)
def test_all_missing_secrets_are_reported_once_with_every_fix(secrets: Mapping[str, Any], missing: list[str]) -> None:
    problem = one(found(secret_rules.missing, secrets=secrets, environment="staging"))
    assert named(problem) == ("missing-secret", ", ".join(missing))
    assert re.findall(r"\b[A-Z]+_[A-Z]+\b", problem.what) == missing
    assert "inventories/staging/group_vars/flask_app/main.yml" in problem.fix
    assert "ansible-vault edit inventories/staging/group_vars/flask_app/vault.yml" in problem.fix
    left = [name for name in ("SECRET_KEY", "DATABASE_URL") if name not in missing]
    assert f"flask_app_required_secrets: {json.dumps(left)}" in problem.fix


@pytest.mark.parametrize("secrets", [{"A": "x"}, {"A": "x", "B": ""}, {"A": 0}, {"A": False}, {"A": ["x"]}])
def test_a_required_secret_that_is_set_is_accepted(secrets: Mapping[str, Any]) -> None:
    assert found(secret_rules.missing, secrets=secrets, required_secrets=["A"]) == []


@pytest.mark.parametrize(
    ("name", "value", "kind", "hint"),
    [
        ("flask_app_http_port", 99999, "out-of-range", "1 to 65535"),
        ("flask_app_keep_releases", -3, "out-of-range", "1 to 1000"),
        ("flask_app_gunicorn_threads", 0, "out-of-range", "1 to 10000"),
        ("flask_app_start_seconds", 0, "out-of-range", "1 to 3600"),
        ("flask_app_release_command_seconds", 0, "out-of-range", "1 to 86400"),
        ("flask_app_release_command_seconds", 86401, "out-of-range", "1 to 86400"),
        ("flask_app_lock_seconds", 59, "out-of-range", "60 to 86400"),
        ("flask_app_lock_seconds", 86401, "out-of-range", "60 to 86400"),
        ("flask_app_service_memory_max", "lots", "malformed-value", "512M"),
        ("flask_app_service_memory_max", "0%", "malformed-value", "512M"),
        ("flask_app_health_path", "health", "malformed-value", "slash"),
        ("flask_app_health_path", "/he alth", "malformed-value", "slash"),
    ],
)
def test_an_invalid_value_is_reported_with_valid_ones(name: str, value: object, kind: str, hint: str) -> None:
    good = {"flask_app_service_memory_max": "40%", "flask_app_health_path": "/health"}
    problem = one(of_values({**good, name: value}))
    assert named(problem) == (kind, name)
    assert str(value) in problem.what
    assert hint in problem.fix


@pytest.mark.parametrize(("name", "bounds"), value_rules.NUMBERS.items())
def test_a_number_within_its_bounds_is_accepted(name: str, bounds: tuple[int, int]) -> None:
    least, most = bounds
    assert [len(of_values({name: number})) for number in (least - 1, least, most, most + 1)] == [1, 0, 0, 1]


@pytest.mark.parametrize("memory", ["40%", "100%", "512M", "1.5G", "2147483648", "infinity"])
def test_a_memory_limit_valid_for_systemd_is_accepted(memory: str) -> None:
    values = {"flask_app_service_memory_max": memory, "flask_app_health_path": "/", "flask_app_http_port": 8080}
    assert of_values(values) == []


def test_unreadable_secrets_are_reported_with_the_command_to_create_them() -> None:
    [problem] = found_reading(
        reading_rules.unreadable,
        unreadable={"flask_app_secrets": "vault_flask_app_secret_key is undefined"},
        given={"flask_app_environment": "staging"},
    )
    assert named(problem) == ("unreadable-variable", "flask_app_secrets")
    assert "vault_flask_app_secret_key" in problem.what
    assert "script/secrets staging" in problem.fix
    assert "ansible-vault edit inventories/staging/group_vars/flask_app/vault.yml" in problem.fix


@pytest.mark.parametrize(
    ("env", "secrets", "kind", "subject", "told"),
    [
        ({"FLASK_CONFIG": "x"}, {}, "environment-by-hand", "FLASK_CONFIG", "flask_app_env"),
        ({}, {"FLASK_CONFIG": "x"}, "environment-by-hand", "FLASK_CONFIG", "flask_app_secrets"),
        ({"A": "x"}, {"A": "y"}, "variable-twice", "flask_app_secrets", "flask_app_env"),
        ({"a-b": "x"}, {}, "unfit-variable", "flask_app_env", "'a-b'"),
        ({"A": True}, {}, "unfit-variable", "flask_app_env", "A is a bool"),
        ({}, {"A": ["hunter2"]}, "unfit-variable", "flask_app_secrets", "A is a list"),
        ({}, {"A": {"x": "hunter2"}}, "unfit-variable", "flask_app_secrets", "A is a dict"),
        ({}, {"A": "hunter2\0"}, "unfit-variable", "flask_app_secrets", "A contains the character U+0000"),
        ({}, {"A": "hunter2" * 20_000}, "unfit-variable", "flask_app_secrets", "A is 140002 bytes long"),
    ],
)
def test_a_variable_that_a_process_cannot_get_is_reported(
    env: Mapping[str, Any], secrets: Mapping[str, Any], kind: str, subject: str, told: str
) -> None:
    problem = one(of_process(env=env, secrets=secrets))
    assert named(problem) == (kind, subject)
    assert told in problem.what
    assert "hunter2" not in str(problem)


def test_valid_variables_are_accepted() -> None:
    assert of_process(env={"A": "x", "PORT": 8080}, secrets={"B": "it's \n x", "C": ""}) == []


@pytest.mark.parametrize(
    ("service", "gunicorn", "owner"),
    [
        ({"Environment": "FLASK_CONFIG=x"}, {}, "flask_app_service_settings"),
        ({"Environment": ["A=b", "B=c FLASK_CONFIG=x"]}, {}, "flask_app_service_settings"),
        ({"PassEnvironment": "FLASK_CONFIG"}, {}, "flask_app_service_settings"),
        ({"UnsetEnvironment": "FLASK_CONFIG"}, {}, "flask_app_service_settings"),
        ({}, {"raw_env": ["FLASK_CONFIG=x"]}, "flask_app_gunicorn_settings"),
    ],
)
def test_a_variable_of_the_role_in_the_unit_settings_is_reported(
    service: dict[str, Any], gunicorn: dict[str, Any], owner: str
) -> None:
    problem = one(of_process(service_settings=service, gunicorn_settings=gunicorn))
    assert named(problem) == ("environment-by-hand", "FLASK_CONFIG")
    assert owner in problem.what


def test_other_variables_in_the_unit_settings_are_accepted() -> None:
    service = {"Environment": ["A=FLASK_CONFIG=x", ""], "LimitNOFILE": 1024, "PassEnvironment": "LANG"}
    assert of_process(service_settings=service, gunicorn_settings={"raw_env": ["B=c"], "threads": 2}) == []


# Source


@pytest.fixture(autouse=True)
def _files_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    cases.without_git(monkeypatch)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text(LOCK)
    (tmp_path / "wsgi.py").write_text("app = None\n")
    return tmp_path


def source(
    app: Path, directory: str = ".", git_url: str = "", subdirectory: str = "", lock: str = "requirements.txt"
) -> list[Finding]:
    return of_source(
        str(app / directory) if directory else "",
        source_git_url=git_url,
        source_subdirectory=subdirectory,
        requirements=lock,
    )


def of_source(directory: str, **changed: Any) -> list[Finding]:
    asked = (source_rules.choice, source_rules.git_url, source_rules.include, source_rules.directory)
    return found(*asked, **{"source_git_url": "", **changed}, source_directory=directory)


def test_a_valid_source_is_accepted(app: Path) -> None:
    (app / "backend").mkdir()
    (app / "backend/uv.lock").write_text('[[package]]\nname = "gunicorn"\n')
    assert source(app) == []
    assert source(app, subdirectory="backend", lock="uv.lock") == []
    assert source(app, lock="backend/uv.lock") == []
    assert source(app, directory="", git_url="https://example.org/shop.git") == []


@pytest.mark.parametrize("name", ["./requirements.txt", "backend/../requirements.txt"])
def test_a_lock_is_found_however_its_path_is_written(app: Path, name: str) -> None:
    assert source(app, lock=name) == []


def test_a_lock_file_with_a_byte_order_mark_is_accepted(app: Path) -> None:
    (app / "requirements.txt").write_text("\ufeff" + LOCK)
    assert source(app) == []


@pytest.mark.parametrize(
    ("name", "command"), [("uv.lock", "uv lock"), ("backend/uv.lock", "uv lock"), ("a.txt", "uv pip compile")]
)
def test_a_missing_lock_file_is_reported_with_the_command_to_create_it(app: Path, name: str, command: str) -> None:
    problem = one(source(app, lock=name))
    assert named(problem) == ("missing-lock", "flask_app_requirements")
    assert name in problem.what
    assert re.search(rf"{command}\b", problem.fix)
    assert ("--universal" in problem.fix) == (command == "uv pip compile")


@pytest.mark.parametrize("name", ["../requirements.txt", "/etc/requirements.txt"])
def test_a_lock_file_outside_the_source_is_reported(app: Path, name: str) -> None:
    problem = one(source(app, lock=name))
    assert named(problem) == ("unreadable-lock", "flask_app_requirements")
    assert name in problem.what


def test_a_lock_file_that_is_not_text_is_reported(app: Path) -> None:
    (app / "requirements.txt").write_bytes(b"gunicorn\xff\xfe")
    (problem,) = source(app)
    assert named(problem) == ("unreadable-lock", "flask_app_requirements")
    assert "requirements.txt" in problem.what
    assert "UTF-8" in problem.what


def test_the_selection_from_a_lock_file_is_checked(app: Path) -> None:
    (problem,) = of_source(str(app), uv_extras=["web"], install_project=True)
    assert problem.id == "unfit-lock"
    assert "flask_app_uv_extras" in problem.what
    (problem,) = of_source(str(app), install_project=True)
    assert problem.id == "unfit-lock"
    assert "flask_app_install_project" in problem.what


@pytest.mark.parametrize(("directory", "git_url", "said"), [("", "", "empty"), (".", "https://example.org", "set")])
def test_a_source_is_either_a_directory_or_a_git_url(app: Path, directory: str, git_url: str, said: str) -> None:
    problem = one(source(app, directory, git_url))
    assert named(problem) == ("source-choice", "flask_app_source_directory")
    assert "flask_app_source_git_url" in problem.what
    assert said in problem.what


@pytest.mark.parametrize(
    "url",
    [
        "https://hunter22@example.org/shop.git",
        "https://oauth2:hunter22@example.org/shop.git",
        "HTTP://x:hunter22@example.org:8443/shop.git",
        "https://example.org/shop.git?access_token=hunter22",
        "https://example.org/shop.git?a=b&private_token=hunter22",
        "ssh://git:hunter22@example.org/shop.git",
    ],
)
def test_a_git_url_with_a_token_is_reported_without_the_token(app: Path, url: str) -> None:
    problem = one(source(app, directory="", git_url=url))
    assert named(problem) == ("secret-in-url", "flask_app_source_git_url")
    assert "flask_app_source_git_key_file" in problem.fix
    assert "hunter22" not in str(problem)


@pytest.mark.parametrize(
    "url",
    [
        "git@example.org:shop.git", "ssh://git@example.org/shop.git", "https://example.org:8443/@team/shop.git",
        "/srv/git/shop.git", "file:///srv/git/shop.git", "https://example.org/token/key=a/shop.git",
    ],
)  # fmt: skip
def test_a_git_url_without_a_token_is_accepted(app: Path, url: str) -> None:
    assert source(app, directory="", git_url=url) == []


@pytest.mark.parametrize(
    ("break_it", "kind", "subject", "told"),
    [
        (
            lambda app: app.rename(app.parent / "moved"),
            "unfit-source",
            "flask_app_source_directory",
            "{app}",
        ),
        (
            lambda app: (app / "requirements.txt").unlink(),
            "missing-lock",
            "flask_app_requirements",
            "uv pip compile",
        ),
        (
            lambda app: (app / ".gitignore").write_text("*.txt\n"),
            "missing-lock",
            "flask_app_requirements",
            ".gitignore",
        ),
        (
            lambda app: (app / "requirements.txt").write_text("flask\n"),
            "unfit-lock",
            "flask_app_requirements",
            "requirements.txt",
        ),
        (
            lambda app: (app / "requirements.txt").write_text(LOCK.replace("gunicorn", "flask")),
            "unfit-lock",
            "flask_app_requirements",
            "gunicorn",
        ),
    ],
    ids=["no directory", "no lock", "ignored lock", "no hashes", "no gunicorn"],
)
def test_a_source_that_cannot_be_deployed_is_reported(
    app: Path, break_it: Callable[[Path], object], kind: str, subject: str, told: str
) -> None:
    break_it(app)
    (problem,) = source(app)
    assert named(problem) == (kind, subject)
    assert told.format(app=app) in str(problem)


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /root/x", "-u/tmp/x", "ext::sh -c touch% /root/x", "fd::7", "http://example.org/shop.git",
        "ftp://example.org/shop.git", "shop.git", "./shop.git", "../shop.git", "file://host/srv/shop.git",
        "ssh://-oProxyCommand=touch/x", "ssh://git@-oProxyCommand=x/y", "-oProxyCommand=x:shop.git",
        "git@-oProxyCommand=x:shop.git", "git@example.org:-x", "git@example.org::x", "https://-x/shop.git", "https:///x",
        "git@example.org:shop.git\n--upload-pack=x", "/srv/git/\nshop.git", "https://example.org/\x1b[2Jshop.git",
        "ssh://%2doProxyCommand=x/y", "git+ssh://example.org/x", "rsync://example.org/x", "https://example.org",
    ],
)  # fmt: skip
def test_a_dangerous_git_url_is_refused_without_being_shown(app: Path, url: str) -> None:
    problem = one(source(app, directory="", git_url=url))
    assert named(problem) in {
        ("malformed-value", "flask_app_source_git_url"),
        ("secret-in-url", "flask_app_source_git_url"),
    }
    assert url not in str(problem)


@pytest.mark.parametrize(
    "url",
    [
        "git://example.org/shop.git", "ssh://git@[2001:db8::1]:22/shop.git", "example.org:shop.git", "git@host:~ada/x",
        "git@example.org:/srv/my shop.git", "https://xn--bcher-kva.example/x.git", "https://[::1]:8443/x",
    ],
)  # fmt: skip
def test_other_git_urls_are_accepted(app: Path, url: str) -> None:
    assert source(app, directory="", git_url=url) == []


@pytest.mark.parametrize("target", ["../vault-password", "{tmp}/vault-password", "up/../vault-password"])
def test_a_lock_file_linked_outside_is_refused_without_its_content(tmp_path: Path, app: Path, target: str) -> None:
    inner = app / "app"
    inner.mkdir()
    (app / "vault-password").write_text("hunter2\n")
    (inner / "shop").mkdir()
    (inner / "up").symlink_to("shop/..")
    (inner / "requirements.txt").symlink_to(target.format(tmp=tmp_path))
    (problem,) = source(app, directory="app")
    assert "requirements.txt" in problem.what
    assert "hunter2" not in str(problem)


def test_a_lock_file_may_be_a_link_within_the_source(app: Path) -> None:
    (app / "locks").mkdir()
    (app / "requirements.txt").rename(app / "locks/production.txt")
    (app / "requirements.txt").symlink_to("locks/production.txt")
    assert source(app) == []


@pytest.mark.parametrize("target", ["..", "../elsewhere", "{tmp}/elsewhere"])
def test_a_subdirectory_outside_the_source_is_refused(tmp_path: Path, app: Path, target: str) -> None:
    (app / "elsewhere").mkdir()
    (app / "elsewhere/requirements.txt").write_text("hunter2\n")
    (app / "app").mkdir()
    (app / "app/backend").symlink_to(target.format(tmp=tmp_path))
    problem = one(source(app, directory="app", subdirectory="backend"))
    assert named(problem) == ("unfit-source", "flask_app_source_directory")
    assert "backend" in problem.what
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("static", ["dist", "absent", "wsgi.py", "shop"])
def test_a_static_directory_that_is_not_shipped_is_reported(app: Path, static: str) -> None:
    (app / ".gitignore").write_text("dist/\n")
    (app / "dist").mkdir()
    (app / "dist/app.css").touch()
    (app / "shop").mkdir()
    given = {**values(app), "flask_app_nginx_static": {"/static/": static}}
    (problem,) = refusals(given)
    assert problem.id == "unfit-source"
    assert "flask_app_nginx_static" in problem.what
    assert static in problem.what
    assert ("flask_app_source_include" in problem.fix) is (static in ("dist", "shop"))
    assert refusals({**given, "flask_app_source_include": ["dist"]}) == [] or static != "dist"
    hook = app / "hook.yml"
    hook.touch()
    assert refusals({**given, "flask_app_hooks_before_build": [str(hook)]}) == []


@pytest.mark.parametrize("pattern", ["", "/dist", "../dist", "dist/../..", ".", "dist/.", ".git", "a/.git/config"])
def test_a_pattern_outside_the_source_is_refused(app: Path, pattern: str) -> None:
    problem = one(refusals({**values(app), "flask_app_source_include": ["wsgi.py", pattern]}))
    assert named(problem) == ("malformed-value", "flask_app_source_include")


@pytest.mark.parametrize("ref", ["main", "feature/a-b", "v1.2.3", "HEAD", "refs/pull/1/head", "a" * 40, "é", "1.0+x"])
def test_valid_git_refs_are_accepted(app: Path, ref: str) -> None:
    assert refusals({**values(app), "flask_app_source_git_ref": ref}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flask_app_source_git_ref", "--upload-pack=touch /root/x"),
        ("flask_app_source_git_ref", "-x"),
        ("flask_app_source_git_ref", "main:refs/heads/x"),
        ("flask_app_source_git_ref", "main x"),
        ("flask_app_source_git_ref", "refs/heads/*"),
        ("flask_app_source_git_ref", "a..b"),
        ("flask_app_source_git_ref", ""),
        ("flask_app_source_git_ref", "main\n"),
        ("flask_app_source_git_key_file", "-oProxyCommand=touch /root/x"),
        ("flask_app_source_git_key_file", "key"),
        ("flask_app_source_git_key_file", "/root/key\n"),
        ("flask_app_source_subdirectory", "-x"),
        ("flask_app_requirements", "--requirements.txt"),
        ("flask_app_python", "-c import os"),
        ("flask_app_python", "/usr/bin/python3 -x"),
        ("flask_app_packages", ["libpq5", "--admindir=/x"]),
        ("flask_app_packages", ["-oAPT::Update::Pre-Invoke::=x"]),
    ],
)
def test_a_value_that_a_program_would_read_as_an_option_is_refused(app: Path, name: str, value: Any) -> None:
    problems = refusals({**values(app), name: value})
    assert ("malformed-value", name) in {named(problem) for problem in problems if problem.fix}


@pytest.mark.parametrize("name", ["flask_app_source_subdirectory", "flask_app_requirements"])
@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc/passwd", "a/.."])
def test_a_path_that_leaves_the_source_is_refused(app: Path, name: str, path: str) -> None:
    problems = refusals({**values(app), name: path})
    assert ("malformed-value", name) in map(named, problems)


def test_git_ignored_files_cannot_come_from_git(app: Path) -> None:
    given = {**values(app), "flask_app_source_directory": "", "flask_app_source_git_url": "git@example.org:shop.git"}
    problem = one(refusals({**given, "flask_app_source_include": ["dist"]}))
    assert named(problem) == ("include-from-git", "flask_app_source_include")


@pytest.mark.parametrize(
    "names",
    [
        ["shop"],
        ["shop.example.org", "www.shop.example.org"],
        ["xn--bcher-kva.example"],
        ["a.b", "ab.cd", "1.2.3.4"],
        ["localhost"],
    ],
)
def test_valid_server_names_are_accepted(names: list[str]) -> None:
    assert found(nginx_rules.server_names, server_names=names) == []


@pytest.mark.parametrize(
    "name",
    ["Shop.example.org", "shop.example.org.", "https://shop", "shop:8080", "a b", "", "_", "*.example.org", "-a",
     "a..b", "x;}", "é.example", "a" * 64, "a." * 127 + "a", 5.5, "shop\n"],
    ids=repr,
)  # fmt: skip
def test_an_invalid_server_name_is_reported(name: Any) -> None:
    if name == 5.5:
        assert found(nginx_rules.server_names, server_names=[name]) == []  # as text it is a host name
        return
    problem = one(found(nginx_rules.server_names, server_names=["good.example.org", name]))
    assert named(problem) == ("malformed-value", "flask_app_server_names")
    assert repr(name) in problem.what
    assert "good.example.org" not in problem.what


def test_a_site_without_a_server_name_is_reported() -> None:
    problem = one(found(nginx_rules.server_names, server_names=[]))
    assert named(problem) == ("missing-value", "flask_app_server_names")
    assert problem.fix


def test_a_repeated_server_name_is_reported() -> None:
    problem = one(found(nginx_rules.server_names, server_names=["a.example", "b.example", "a.example"]))
    assert named(problem) == ("named-twice", "flask_app_server_names")
    assert "a.example" in problem.what


@pytest.mark.parametrize(("successes", "probes"), [(0, 5), (6, 5), (-1, 5), (1, 0)])
def test_an_empty_or_impossible_number_of_probes_is_reported(successes: int, probes: int) -> None:
    problem = one(found(value_rules.proofs, probe_successes=successes, probes=probes))
    assert named(problem) == ("out-of-range", "flask_app_probe_successes")
    assert problem.concerns(["flask_app_probes"])
    assert problem.fix


@pytest.mark.parametrize(("successes", "probes"), [(1, 1), (3, 5), (5, 5)])
def test_a_possible_number_of_probes_is_accepted(successes: int, probes: int) -> None:
    assert found(value_rules.proofs, probe_successes=successes, probes=probes) == []


# Hooks and notification


def test_a_hook_with_an_absolute_path_to_a_file_is_accepted(tmp_path: Path) -> None:
    hook = tmp_path / "hook.yml"
    hook.write_text("[]\n")
    (tmp_path / "link.yml").symlink_to(hook)
    hooks = {"flask_app_hooks_before_build": [str(hook), str(tmp_path / "link.yml")], "flask_app_hooks_on_failure": []}
    assert registry.findings(Case(hooks), asked=[value_rules.hooks]) == []


def test_each_hook_that_is_not_a_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook.yml").write_text("[]\n")
    (tmp_path / "gone.yml").symlink_to("nowhere")
    wrong = ["hook.yml", "./hook.yml", "", str(tmp_path), f"{tmp_path}/absent.yml", f"{tmp_path}/gone.yml"]
    hooks = {
        "flask_app_hooks_before_build": [f"{tmp_path}/hook.yml", *wrong],
        "flask_app_hooks_after_switch": [f"{tmp_path}/absent.yml"],
    }
    found = registry.findings(Case(hooks), asked=[value_rules.hooks])
    assert {problem.id for problem in found} == {"missing-file"}
    assert [problem.subject for problem in found] == [
        *["flask_app_hooks_before_build"] * len(wrong),
        "flask_app_hooks_after_switch",
    ]
    assert all(path in problem.what for path, problem in zip(wrong, found, strict=False))
    assert all("{{ inventory_dir }}/" in problem.fix for problem in found)


@pytest.mark.parametrize("url", ["", "https://hooks.example.org/services/hunter2", "http://127.0.0.1:8080/hunter2?x=y"])
def test_a_valid_notification_url_is_accepted(url: str) -> None:
    assert found(value_rules.notification, notify_url=url) == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example.org/hunter2",
        "hooks.example.org/hunter2",
        "https:/hooks.example.org/hunter2",
        "https://hooks.example.org:hunter2/x",
        "https://hooks.example.org/hunter2 ",
    ],
)
def test_an_invalid_notification_url_is_reported_without_the_url(url: str) -> None:
    problem = one(found(value_rules.notification, notify_url=url))
    assert named(problem) == ("malformed-value", "flask_app_notify_url")
    assert not re.search("hunter2|example.org", str(problem))


# All checks, as the action runs them


def values(app: Path) -> dict[str, Any]:
    """The role's variables in their declared types, all valid."""
    given = {
        "flask_app_name": "shop",
        "flask_app_environment": "staging",
        "flask_app_server_names": ["shop.example.org"],
        "flask_app_source_directory": str(app),
        "flask_app_secrets": {"SECRET_KEY": "hunter2", "DATABASE_URL": "postgresql://x"},
        "flask_app_required_secrets": ["SECRET_KEY", "DATABASE_URL"],
        "flask_app_debug": False,
    }
    outcome = ArgumentSpecValidator(SPEC).validate(given)
    assert outcome.error_messages == []
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    return {**defaults, **outcome.validated_parameters, **given}


def test_valid_inputs_have_no_problems(app: Path) -> None:
    assert refusals(values(app)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flask_app_name", "Shop"),
        ("flask_app_environment", "stagging"),
        ("flask_app_debug", True),
        ("flask_app_secrets", {"SECRET_KEY": "hunter2"}),
        ("flask_app_secrets", None),
        ("flask_app_build_environment", {"UV_DEFAULT_INDEX": None}),
        ("flask_app_build_environment", {"UV_DEFAULT_INDEX": ["hunter2"]}),
        ("flask_app_build_environment", {"UV_DEFAULT_INDEX": "hunter2\0"}),
        ("flask_app_build_environment", {"UV_DEFAULT=INDEX": "hunter2"}),
        ("flask_app_build_environment", {"UV\0": "hunter2"}),
        ("flask_app_env", {"APP_RELEASE": "x"}),
        ("flask_app_env", {"APP_REVISION": "x"}),
        ("flask_app_env", {"FLASK_CONFIG": "x"}),
        ("flask_app_env", {"SECRET_KEY": "x"}),
        ("flask_app_source_directory", ""),
        ("flask_app_source_git_url", "https://example.org/shop.git"),
        ("flask_app_source_subdirectory", "absent"),
        ("flask_app_requirements", "absent.txt"),
        ("flask_app_server_names", ["Shop"]),
        ("flask_app_server_names", []),
        ("flask_app_probe_successes", 9),
        ("flask_app_lock_seconds", 5),
        ("flask_app_release_command_seconds", 0),
        ("flask_app_hooks_before_build", ["hooks/absent.yml"]),
        ("flask_app_hooks_before_switch", ["hooks/absent.yml"]),
        ("flask_app_hooks_after_switch", ["hooks/absent.yml"]),
        ("flask_app_hooks_on_failure", ["hooks/absent.yml"]),
        ("flask_app_notify_url", "hunter2"),
    ],
)
def test_each_wrong_input_is_the_only_problem_reported(app: Path, name: str, value: Any) -> None:
    (problem,) = refusals({**values(app), name: value})
    assert problem.severity == ERROR
    assert re.search(r"flask_app_\w+", problem.what)
    assert not re.search("hunter2|None", str(problem))


def test_build_variables_may_share_names_with_app_variables(app: Path) -> None:
    given = {"flask_app_build_environment": {"FLASK_CONFIG": "", "A": 1}, "flask_app_env": {"A": "x"}}
    assert refusals({**values(app), **given}) == []


@pytest.mark.parametrize(
    ("changed", "tested"),
    [
        ({}, True),
        ({"flask_app_environment": "stagging"}, True),
        ({"flask_app_health_path": "/x;}"}, False),
        ({"flask_app_server_names": ["a;}"]}, False),
        ({"flask_app_nginx_headers": {"X-A": "$host"}}, False),
        ({"flask_app_nginx_headers": {"X-A": ["$host"]}}, False),
        ({"flask_app_server_names": []}, False),
        ({"flask_app_tls": "provided", "flask_app_tls_certificate": "", "flask_app_tls_key": ""}, False),
        ({"flask_app_source_git_ref": "--x"}, True),
        ({"flask_app_env": {"A-B": "x"}}, True),
        ({"flask_app_probes": 1}, True),
        ({"flask_app_notify_url": "no url"}, True),
    ],
)
def test_invalid_nginx_inputs_are_not_tested_with_nginx(
    app: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], tested: bool
) -> None:
    known = {"__flask_app_packages": [], "__flask_app_nginx": {"files": {"sites-enabled/shop.conf": "x"}}}
    task = SimpleNamespace(args={}, check_mode=True, async_val=0, action="preflight")
    templar = Templar(loader=DataLoader(), variables=known)
    action = preflight.ActionModule(task, SimpleNamespace(_shell=None), None, DataLoader(), templar)
    asked: list[dict[str, Any]] = []

    def execute(module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked.append(json.loads(module_args["options"]))
        return {"host": {}, "problems": [], "ansible_facts": DISCOVERED}

    monkeypatch.setattr(action, "_execute_module", execute)
    case = Case({**values(app), **changed})
    action._ask_host(case, known, lock=False, site=not for_deploy(case).guarded)
    [arguments] = asked
    assert bool(arguments["site"]) is tested
    assert action._found["ansible_facts"] == DISCOVERED  # or the next step would discover it again


@pytest.mark.parametrize("differs", [[], ["site"]])
def test_a_source_from_git_is_examined_by_the_step_that_ends_the_run_or_brings_it(
    app: Path, monkeypatch: pytest.MonkeyPatch, differs: list[str]
) -> None:
    """If the first step refused what it has found different, it would have to give the lock back."""
    known: dict[str, Any] = {"__flask_app_packages": [], "__flask_app_nginx": {}}
    task = SimpleNamespace(args={}, check_mode=True, async_val=0, action="preflight")
    templar = Templar(loader=DataLoader(), variables=known)
    action = preflight.ActionModule(task, SimpleNamespace(_shell=None), None, DataLoader(), templar)
    leaked = {".env": {"SECRET_KEY": {"is_set": True, "looks_real": True}}}
    answer = {"host": {}, "problems": [], "differs": differs, "live": "", "environment_files": leaked}
    monkeypatch.setattr(action, "_execute_module", lambda **_: answer)
    _, problems = action._ask_host(Case(values(app)), known, lock=False, site=True)
    assert [problem.id for problem in problems] == ([] if differs else ["shipped-env-file"])


@pytest.mark.parametrize("name", ["SECRET_KEY_FILE", "DATABASE_URL_FILE", "SECRET_KEY_FALLBACKS_FILE"])
def test_a_variable_with_the_path_of_a_credential_is_reported(app: Path, name: str) -> None:
    given = {**values(app), "flask_app_env": {name: "/etc/key"}}
    assert refusals({**given, "flask_app_secrets_as": "environment"}) == []
    problem = one(refusals({**given, "flask_app_secrets_as": "credentials"}))
    assert named(problem) == ("environment-by-hand", name)


def test_the_fallbacks_path_is_named_after_the_key(app: Path) -> None:
    given = {**values(app), "flask_app_secrets_as": "credentials", "flask_app_secret_key_variable": "TOKEN"}
    assert refusals({**given, "flask_app_env": {"SECRET_KEY_FALLBACKS_FILE": "/x"}}) == []
    problem = one(refusals({**given, "flask_app_env": {"TOKEN_FALLBACKS_FILE": "/x"}}))
    assert named(problem) == ("environment-by-hand", "TOKEN_FALLBACKS_FILE")


@pytest.mark.parametrize("as_what", ["environment", "credentials"])
def test_a_file_variable_unrelated_to_credentials_is_accepted(app: Path, as_what: str) -> None:
    given = {**values(app), "flask_app_secrets_as": as_what, "flask_app_env": {"LOG_FILE": "x", "FILE_SECRET_KEY": "x"}}
    assert refusals(given) == []


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("flask_app_secrets", "'vault_flask_app_secret_key' is undefined", "vault_flask_app_secret_key"),
        ("flask_app_env", "'region' is undefined", "region"),
        ("flask_app_secrets", "hunter2 is not JSON", "AnsibleError"),
        ("flask_app_env", "hunter2: bad filter", "AnsibleError"),
    ],
)
def test_an_unresolvable_variable_is_reported_without_its_text(name: str, error: str, told: str) -> None:
    reason = task_reading._reason(AnsibleError(error))
    given = {"flask_app_environment": "staging"}
    (problem,) = found_reading(reading_rules.unreadable, unreadable={name: reason}, given=given)
    assert named(problem) == ("unreadable-variable", name)
    assert told in problem.what
    assert ("script/secrets" in problem.fix) is (name == "flask_app_secrets")
    assert "hunter2" not in str(problem)


def test_the_undefined_variable_error_of_ansible_is_understood() -> None:
    (problem,) = cases.of("reading", cases.as_read({**cases.values(), "flask_app_secrets": {"A": "{{ vault_a }}"}}))
    assert "vault_a" in problem.what
    assert "inventories/production/" in problem.fix


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("flask_app_http_port", "eighty", "type str"),
        ("flask_app_installer", "conda", "uv, pip"),
        ("flask_app_secrets", "hunter2", "text"),
        ("flask_app_secrets", ["hunter2"], "type list"),
    ],
)
def test_a_type_error_of_ansible_names_the_variable_without_secrets(name: str, value: Any, told: str) -> None:
    values = {name: value}
    problem = one(
        found_reading(reading_rules.types, given=values, faults={name: task_reading._faults(name, SPEC, values)})
    )
    assert named(problem) == ("wrong-type", name)
    assert told in problem.what
    assert problem.fix
    assert "hunter2" not in str(problem)


def test_unset_required_variables_are_reported_together() -> None:
    faults = {name: task_reading._faults(name, SPEC, {}) for name in SPEC}
    problem = one(found_reading(reading_rules.types, faults=faults))
    assert named(problem) == ("missing-value", "flask_app_environment")
    for name in ("flask_app_environment", "flask_app_name", "flask_app_server_names"):
        assert name in problem.what
        assert problem.concerns([name])
    assert "inventories/<environment>/" in problem.fix


# Values as the action reads them


def tagged(value: Any) -> Any:
    return Origin(description="inventory").tag(value)


def test_tagged_ansible_values_become_plain_python_values() -> None:
    value = {tagged("k"): tagged("text"), "list": tagged([tagged(1), tagged(2.5)]), "n": None, "b": True, "t": ("x",)}
    result = plain(tagged(value))
    assert result == {"k": "text", "list": [1, 2.5], "n": None, "b": True, "t": ["x"]}
    assert type(result) is dict
    assert {type(key) for key in result} == {str}
    assert (type(result["k"]), type(result["list"]), type(result["list"][0]), type(result["list"][1])) == (
        str,
        list,
        int,
        float,
    )
    assert result["b"] is True
    json.dumps(result)


@pytest.mark.parametrize("value", ["x", 1, 1.5, True, None, [], {}, "true", "1", ""])
def test_plain_values_stay_unchanged(value: Any) -> None:
    assert plain(value) == value
    assert type(plain(value)) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("flask_app_secrets", "SECRET_KEY=hunter2", "mapping"),
        ("flask_app_env", "{}", "mapping"),
        ("flask_app_build_environment", "A=hunter2", "mapping"),
        ("flask_app_secret_key_fallbacks", "hunter2", "list"),
        ("flask_app_python_minimum", 3.1, "quotes"),
        ("flask_app_revision", 1.50, "quotes"),
    ],
)
def test_an_ambiguous_value_is_refused(name: str, value: Any, hint: str) -> None:
    problem = one(found_reading(reading_rules.types, given={name: value}))
    assert named(problem) == ("unquoted-number" if hint == "quotes" else "wrong-type", name)
    assert hint in problem.fix
    assert "hunter2" not in str(problem)


def test_an_unambiguous_value_is_accepted() -> None:
    for name, value in (("flask_app_revision", 7), ("flask_app_http_port", "80"), ("flask_app_secrets", {})):
        assert found_reading(reading_rules.types, given={name: value}) == []


def typed(**known: Any) -> Any:
    """Return a resolver for variables that have their types."""
    templar = Templar(loader=DataLoader(), variables=known)
    return with_types(templar, known)


def test_a_template_inside_a_list_or_a_mapping_is_resolved() -> None:
    resolve = typed(
        flask_app_server_names=[trust_as_template("{{ name }}.example")],
        flask_app_nginx_headers={"X-Name": trust_as_template("{{ name }}")},
        name="a",
        names=trust_as_template("{{ flask_app_server_names | join(' ') }}"),
    )
    assert resolve("names") == "a.example"
    assert resolve("flask_app_nginx_headers") == {"X-Name": "a"}


def test_templates_see_each_variable_with_its_type() -> None:
    resolve = typed(
        flask_app_http_port="8080",
        flask_app_server_names=trust_as_template("{{ name }},b.example"),
        name="a.example",
        sum=trust_as_template("{{ flask_app_http_port + 1 }}"),
        first=trust_as_template("{{ flask_app_server_names | first }}"),
    )
    assert (resolve("sum"), resolve("first"), resolve("flask_app_http_port")) == (8081, "a.example", 8080)


def test_a_variable_of_the_wrong_type_does_not_affect_others() -> None:
    known = {"flask_app_http_port": "eighty", "flask_app_debug": trust_as_template("{{ nothing }}")}
    resolve = typed(flask_app_probes="7", **known)
    assert (resolve("flask_app_probes"), resolve("flask_app_http_port")) == (7, "eighty")
    with pytest.raises(AnsibleUndefinedVariable):
        resolve("flask_app_debug")


def test_an_expression_is_not_accepted_as_a_variable_name() -> None:
    with pytest.raises(AnsibleError, match="not the name of a variable"):
        typed()("lookup('env', 'HOME')")


@pytest.mark.parametrize("name", ["flask_app_secrets", "flask_app_env"])
def test_variables_with_secrets_are_not_converted(name: str) -> None:
    assert typed(**{name: "A=b"})(name) == "A=b"


def test_each_set_of_variables_is_resolved_separately() -> None:
    assert [typed(flask_app_probes=text)("flask_app_probes") for text in ("7", "8")] == [7, 8]


def test_a_variable_is_read_with_resolved_templates() -> None:
    known = {"a": trust_as_template("{{ b }}/x"), "b": "y", "c": {"k": trust_as_template("{{ a }}")}}
    templar = Templar(loader=DataLoader(), variables=known)
    assert templated(templar, known, "c") == {"k": "y/x"}


def test_later_mappings_win_and_undefined_ones_count_as_empty() -> None:
    known = {"first": {"A": "1", "B": "1"}, "second": {"B": "2"}}
    templar = Templar(loader=DataLoader(), variables=known)
    assert merged(templar, known, ["first", "second", "third"]) == {"A": "1", "B": "2"}


@pytest.mark.parametrize("value", ["A=hunter2", ["hunter2"]])
def test_a_value_that_is_not_a_mapping_is_an_error_without_the_value(value: Any) -> None:
    with pytest.raises(AnsibleError, match="flask_app_env isn't a mapping") as error:
        merged(
            Templar(loader=DataLoader(), variables={"flask_app_env": value}),
            {"flask_app_env": value},
            ["flask_app_env"],
        )
    assert "hunter2" not in str(error.value)


# All of it at once


Refusal = Callable[..., list[Finding]]
#: What Ansible adds to the first module's result on a host without a configured interpreter.
DISCOVERED = {"discovered_interpreter_python": "/usr/bin/python3.13"}


@pytest.fixture
def refusal(app: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Return how a deploy with the role's defaults is refused, on a host with a full disk."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    host: tuple[dict[str, Any], list[Finding]] = {}, [FULL]
    monkeypatch.setattr(preflight.ActionModule, "_ask_host", lambda *_, **__: host)
    told: list[Finding] = []

    def describe(findings: list[Finding], *of: str) -> str:
        told[:] = findings
        return report.describe(findings, *of)

    monkeypatch.setattr(preflight, "describe", describe)

    def refused(**given: Any) -> list[Finding]:
        known = {
            **{name: trust_as_template(value) if isinstance(value, str) else value for name, value in defaults.items()},
            "role_path": str(ROLE),
            "inventory_dir": str(app / "nowhere"),
            "inventory_hostname": "app1",
            "flask_app_source_directory": str(app),
            **{name: value for name, value in given.items() if value is not None},
        }
        action = preflight.ActionModule(
            task=SimpleNamespace(args={}, check_mode=False, async_val=0, action="preflight"),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nonexistent")),
            play_context=None,
            loader=DataLoader(),
            templar=Templar(loader=DataLoader(), variables=known),
        )
        result = action.run(task_vars=known)
        assert result["failed"]
        assert result["msg"].splitlines()[1:] == numbered(told)
        return told

    return refused


FULL = Finding("no-space", ERROR, "/srv", "the disk is full.", "Make room.")
NAMED = {"flask_app_name": "shop", "flask_app_environment": "staging", "flask_app_server_names": ["shop.example.org"]}


def test_a_minimal_app_gets_all_its_problems_in_one_refusal(app: Path, refusal: Refusal) -> None:
    (app / "config.py").write_text('API_TOKEN = "hunter2-9"\n')
    assert all_named(refusal(**NAMED)) == [
        ("missing-secret", "SECRET_KEY, DATABASE_URL"),
        ("literal-secret", "config.py"),
        named(FULL),
    ]


def test_all_unreadable_secrets_are_reported_with_all_other_problems(refusal: Refusal) -> None:
    held = {
        "SECRET_KEY": trust_as_template("{{ vault_a }}"),
        "DATABASE_URL": trust_as_template("{{ vault_b }}"),
        "DOOR_PIN": "4711",
    }
    found = refusal(**NAMED, flask_app_secrets=held, flask_app_keep_releases=0)
    assert all_named(found) == [
        ("unreadable-variable", "flask_app_secrets"),
        ("out-of-range", "flask_app_keep_releases"),
        ("short-secret", "DOOR_PIN"),
        named(FULL),
    ]
    assert "vault_a" in found[0].what
    assert "vault_b" in found[0].what
    assert "short-secret:DOOR_PIN" in found[2].fix


def test_unreadable_secrets_of_one_template_are_not_also_missing(refusal: Refusal) -> None:
    found = refusal(**NAMED, flask_app_secrets=trust_as_template("{{ vault_all }}"), flask_app_keep_releases=0)
    assert "vault_all" in found[0].what
    assert [finding.id for finding in found] == ["unreadable-variable", "out-of-range", "no-space"]


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ({"flask_app_gunicorn_threads": "many"}, "wrong-type", "flask_app_gunicorn_threads"),
        ({"flask_app_tls": "letsencrypt"}, "wrong-type", "flask_app_tls"),
        ({"flask_app_server_names": None}, "missing-value", "flask_app_server_names"),
        ({"flask_app_name": None}, "missing-value", "flask_app_name"),
        ({"flask_app_environment": None}, "missing-value", "flask_app_environment"),
        ({"flask_app_env": trust_as_template("{{ nowhere }}")}, "unreadable-variable", "flask_app_env"),
    ],
)
def test_a_wrong_type_does_not_hide_other_problems(
    refusal: Refusal, given: dict[str, Any], kind: str, name: str
) -> None:
    secrets = {"SECRET_KEY": os.urandom(16).hex(), "DATABASE_URL": "sqlite:////x", "DOOR_PIN": "4711"}
    found = refusal(**{**NAMED, "flask_app_secrets": secrets, "flask_app_keep_releases": 0, **given})
    assert all_named(found) == [
        (kind, name),
        ("out-of-range", "flask_app_keep_releases"),
        ("short-secret", "DOOR_PIN"),
    ]


def test_a_number_that_is_also_an_invalid_choice_is_reported_as_both() -> None:
    seen = cases.as_read({**cases.values(), "flask_app_tls": 1.3})
    assert sorted(map(named, cases.of("reading", seen))) == [
        ("unquoted-number", "flask_app_tls"),
        ("wrong-type", "flask_app_tls"),
    ]


def test_a_release_variable_named_like_the_fallbacks_is_reported() -> None:
    given = {"release_variable": "SECRET_KEY_FALLBACKS", "secret_key_fallbacks": ["x" * 40]}
    problem = one(of_process(**given))
    assert named(problem) == ("environment-by-hand", "SECRET_KEY_FALLBACKS")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that resolves a variable like each task of a run, and counts its resolutions so far."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> str:
        counter.write_text(str(int(counter.read_text()) + 1))
        return counter.read_text()

    def ask(**known: Any) -> Any:
        variables = {"inventory_hostname": "a", "number": trust_as_template("{{ count() }}"), "count": count, **known}
        return once(Templar(loader=DataLoader(), variables=variables), variables, "number")

    return ask


def test_slow_variables_are_resolved_once_per_run(counted: Callable[..., Any]) -> None:
    assert [counted(flask_app_probes="7"), counted(flask_app_probes="7"), counted(flask_app_probes=7)] == ["1"] * 3


@pytest.mark.parametrize(
    "changed",
    [
        {"flask_app_probes": 8},
        {"flask_app_public_scheme": "https"},
        {"flask_app_server_names": [trust_as_template("{{ site }}.example")]},
        {"site": "b"},
        {"inventory_hostname": "b"},
    ],
)
def test_cached_values_apply_only_to_the_same_host_and_variables(
    counted: Callable[..., Any], changed: dict[str, Any]
) -> None:
    known = {"flask_app_server_names": [trust_as_template("{{ site }}")], "site": "a"}
    assert [counted(**known), counted(**{**known, **changed}), counted(**known)] == ["1", "2", "1"]


def test_values_that_need_typed_variables_are_cached_too(counted: Callable[..., Any]) -> None:
    """After -e each value is text, and a template may add a number to it."""
    known = {
        "flask_app_http_port": "8080",
        "flask_app_nginx_before": trust_as_template("{{ flask_app_http_port + 1 }} {{ tag }}"),
    }
    assert [counted(**known, tag="a"), counted(**known, tag="b"), counted(**known, tag="a")] == ["1", "2", "1"]


def test_nothing_is_cached_if_a_variable_is_unresolvable(counted: Callable[..., Any]) -> None:
    known = {"flask_app_nginx_before": trust_as_template("{{ nothing }}")}
    assert [counted(**known), counted(**known)] == ["1", "2"]


@pytest.mark.parametrize("name", ["flask_app_tls_key", "flask_app_notify_url"])
def test_secrets_are_not_resolved_when_not_needed(counted: Callable[..., Any], name: str) -> None:
    assert [counted(**{name: trust_as_template("{{ nothing }}")}) for _ in range(2)] == ["1", "1"]


def test_cached_values_are_private_to_the_user(counted: Callable[..., Any], tmp_path: Path) -> None:
    counted()
    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*.json")] == [0o600]
