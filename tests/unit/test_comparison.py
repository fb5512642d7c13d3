# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences of two inventories are complete, the important ones first, and without values of secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.plugin_utils._comparison import (
    Difference,
    Side,
    Unreadable,
    differences,
    rendered,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.files import versions


def side(name: str = "staging", packages: dict[str, str] | None = None, **values: Any) -> Side:
    return Side(name, {"app1": {f"flask_app_{key}": value for key, value in values.items()}}, packages or {})


def compared(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    found = differences(side(**one), side("production", **other))
    return [(each.group, each.setting, each.one, each.other) for each in found]


@pytest.mark.parametrize(
    ("variable", "one", "other", "group"),
    [
        ("gunicorn_workers", 1, 4, "server"),
        ("gunicorn_settings", {"worker_class": "sync"}, {"worker_class": "gthread"}, "server"),
        ("service_memory_max", "40%", "1G", "server"),
        ("nginx_rate_limit", 0, 10, "Nginx"),
        ("nginx_headers", {}, {"X": "y"}, "Nginx"),
        ("http_port", 80, 8080, "Nginx"),
        ("tls", "self_signed", "acme", "TLS"),
        ("acme_directory", "https://a", "https://b", "TLS"),
        ("requirements", "a.txt", "b.txt", "packages"),
        ("python", "/a", "/b", "packages"),
        ("source_git_ref", "main", "v1", "source"),
        ("keep_releases", 5, 3, "other"),
    ],
)
def test_a_difference_is_listed_with_its_group(variable: str, one: Any, other: Any, group: str) -> None:
    (found,) = differences(side(**{variable: one}), side(**{variable: other}))
    assert (found.group, found.setting, found.matters) == (group, f"flask_app_{variable}", group != "other")
    assert found.one != found.other


def test_equal_settings_and_expected_differences_are_not_listed() -> None:
    same = {"tls": "acme", "env": {"A": "1"}, "gunicorn_workers": 2}
    own = {"environment": "staging", "server_names": ["a"]}
    assert compared({**same, **own}, {**same, "environment": "production", "server_names": ["b"]}) == []


def test_important_differences_are_listed_first() -> None:
    one = {"keep_releases": 5, "tls": "none", "gunicorn_workers": 1, "nginx_http3": False, "secrets": {"A": "1"}}
    other = {"keep_releases": 3, "tls": "acme", "gunicorn_workers": 2, "nginx_http3": True, "secrets": {"A": "2"}}
    assert [group for group, *_ in compared(one, other)] == ["server", "Nginx", "TLS", "other", "secret"]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("hunter2-a", "hunter2-b", ("different", "different")),
        ("hunter2-a", "hunter2-a", ("same", "same")),
        ("hunter2-a", "", ("different", "missing")),
        (None, "hunter2-a", ("missing", "different")),
        (Unreadable("vault_a is undefined"), "hunter2-a", ("can't be read: vault_a is undefined", "different")),
    ],
)
def test_for_a_secret_only_equality_is_reported(one: Any, other: Any, said: tuple[str, str]) -> None:
    found = compared({"secrets": {"A": one}}, {"secrets": {"A": other}})
    assert found == [("secret", "flask_app_secrets.A", *said)]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("variable", ["tls_key", "notify_url", "build_environment", "acme_eab_hmac_key"])
def test_other_secret_variables_are_not_shown_either(variable: str) -> None:
    found = compared({variable: "hunter2-a"}, {variable: "hunter2-b"})
    assert [each[0] for each in found] == ["secret"]
    assert "hunter2" not in str(found)
    assert compared({variable: ""}, {variable: ""}) == []


def test_public_settings_that_look_secret_are_not_shown() -> None:
    one = {"env": {"API_TOKEN": "hunter2-a", "LEVEL": "info"}}
    found = compared(one, {"env": {"API_TOKEN": "hunter2-b", "LEVEL": "debug"}})
    assert found == [
        ("other", "flask_app_env.LEVEL", "info", "debug"),
        ("secret", "flask_app_env.API_TOKEN", "different", "different"),
    ]


def test_another_database_engine_is_listed_without_the_address() -> None:
    one = {"secrets": {"DATABASE_URL": "sqlite:////x.db"}}
    found = compared(one, {"secrets": {"DATABASE_URL": "postgresql+psycopg://a:hunter22@db/x"}})
    assert ("database", "engine of DATABASE_URL", "sqlite", "postgresql+psycopg") in found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hunter22@example.org/a.git", "https://********@example.org/a.git"),
        ("https://x:hunter22@example.org/a.git", "https://********@example.org/a.git"),
        ("https://example.org/a.git?access_token=hunter22", "https://example.org/a.git?access_token=********"),
        ("https://example.org/@team/a.git", "https://example.org/@team/a.git"),
        ("git@example.org:a.git", "git@example.org:a.git"),
    ],
)
def test_credentials_in_a_url_are_not_shown(url: str, shown: str) -> None:
    assert compared({"source_git_url": url}, {"source_git_url": "x"})[0][2] == shown
    ((*_, value, _),) = compared({"gunicorn_settings": {"a": url}}, {"gunicorn_settings": {}})
    assert value == f'{{"a": "{shown}"}}'


def test_urls_that_differ_only_in_credentials_are_listed() -> None:
    one, other = ({"source_git_url": f"https://{user}@example.org/a.git"} for user in ("hunter21", "hunter22"))
    shown = "https://********@example.org/a.git"
    assert compared(one, other) == [("source", "flask_app_source_git_url", shown, shown)]


def test_different_values_on_hosts_of_one_inventory_are_shown() -> None:
    one = Side("staging", {"a": {"flask_app_http_port": 80}, "b": {"flask_app_http_port": 81}})
    (found,) = differences(one, side(http_port=80))
    assert (found.one, found.other) == ("80 on a; 81 on b", "80")


def test_another_version_of_a_package_is_listed() -> None:
    found = differences(side(packages={"flask": "3.1", "x": "1"}), side(packages={"flask": "3.0"}))
    assert [(each.group, each.setting, each.one, each.other) for each in found] == [
        ("packages", "package flask", "3.1", "3.0"),
        ("packages", "package x", "1", "missing"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "Flask==3.1.0 \\\n    --hash=sha256:0\n# x==1\nuvicorn[standard]==1.2 ; python_version\n"),
        (
            "uv.lock",
            '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\n'
            'dependencies = [{ name = "flask" }, { name = "uvicorn" }]\n'
            '[[package]]\nname = "flask"\nversion = "3.1.0"\n[[package]]\nname = "uvicorn"\nversion = "1.2"\n'
            '[[package]]\nname = "for-developers"\nversion = "1"\n',
        ),
    ],
)
def test_package_versions_are_read_from_a_lock(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert versions(tmp_path, name) == {"flask": "3.1.0", "uvicorn": "1.2"}


def test_differences_are_printed_by_group() -> None:
    found = [Difference("TLS", "flask_app_tls", "none", "acme"), Difference("secret", "A", "same", "same")]
    assert rendered(found, "staging", "production").splitlines() == [
        "staging and production: 1 setting differs, of which 1 matters.",
        "TLS",
        "  flask_app_tls: staging none | production acme",
        "secrets (same, different or missing)",
        "  A: same",
    ]
