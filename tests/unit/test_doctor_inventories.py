# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor reads from inventories: their own files, the vaults it can open, and what it compared."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case, Place
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.examine import Examination, examine
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import rendered

from tests.unit.cases import KEY, for_deploy, values
from tests.unit.test_doctor import (
    MAIN,
    OTHER_KEY,
    OTHER_PASSWORD,
    PASSWORD,
    SQLITE,
    found,
    inventory,
    names,
    one,
    opened,
    production,
    vault,
)

# Variables in the inventory's own files

HOSTS = """
flask_app:
  hosts:
    app1.example.org:
      HOST
  vars:
    GROUP
  children:
    web:
      hosts: {app2.example.org: }
      vars:
        CHILD
"""
INI = """
[flask_app]
app1.example.org HOST
[flask_app:vars]
GROUP
[web]
app2.example.org
[web:vars]
CHILD
[flask_app:children]
web
"""
NOTHING = {"hosts.yml": "ansible_user: deploy", "hosts": "ansible_user=deploy", "hosts.ini": "ansible_user=deploy"}


def listing(place: Path, name: str, where: str, variable: str, value: str) -> None:
    """Write the inventory's own file, with one variable in one of its places."""
    (place / "hosts.yml").unlink(missing_ok=True)
    text = HOSTS if name.endswith(".yml") else INI
    given = f"{variable}: {value}" if name.endswith(".yml") else f"{variable}={value}"
    for each in ("HOST", "GROUP", "CHILD"):
        text = text.replace(each, given if each == where else NOTHING[name])
    (place / name).write_text(text)


@pytest.mark.parametrize("where", ["HOST", "GROUP", "CHILD"])
@pytest.mark.parametrize("name", NOTHING)
def test_a_plain_text_vault_value_in_the_inventory_file_is_an_error(tmp_path: Path, name: str, where: str) -> None:
    given, place = production(tmp_path)
    listing(place, name, where, "vault_api_token", "hunter22")
    findings = found(given, place)
    assert one(findings) == ("plain-text-vault", ERROR, f"inventories/production/{name}")
    assert "vault_api_token" in findings[0].what
    assert "ansible-vault encrypt " not in findings[0].fix
    assert "hunter22" not in str(findings)
    listing(place, name, where, "flask_app_gunicorn_workers", "3")
    assert found(given, place) == []


@pytest.mark.parametrize("where", ["HOST", "GROUP", "CHILD"])
def test_a_secret_in_the_inventory_file_is_found_and_compared(tmp_path: Path, where: str) -> None:
    given, place = production(tmp_path)
    listing(place, "hosts.yml", where, "flask_app_secrets", '{SMTP_PASSWORD: hunter22, A: "{{ vault_a }}"}')
    findings = found(given, place)
    assert one(findings)[:2] == ("plain-text-secret", WARNING)
    assert "SMTP_PASSWORD" in findings[0].what
    listing(place, "hosts.yml", where, "other", "1")
    other = inventory(tmp_path, "staging", key=OTHER_KEY)
    assert found(given, place) == []
    (other / "group_vars/flask_app/main.yml").write_text("flask_app_environment: staging\n")
    listing(other, "hosts.yml", where, "flask_app_secrets", f"{{SECRET_KEY: {KEY}}}")
    assert {(each.id, each.severity) for each in found(given, place)} >= {("shared-secret", ERROR)}


@pytest.mark.parametrize("name", NOTHING)
def test_group_variables_override_a_key_in_the_inventory_file(tmp_path: Path, name: str) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    listing(other, name, "GROUP", "vault_flask_app_secret_key", KEY)
    assert names(found(given, place)) == {"plain-text-vault"}
    (other / "group_vars/flask_app/vault.yml").write_text(vault({"vault_flask_app_database_url": SQLITE}))
    assert names(found(given, place)) == {"plain-text-vault", "shared-secret"}


def test_an_inventory_without_group_variables_is_compared_too(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    (tmp_path / "inventories/staging").mkdir()
    hosts = {"hosts": {"a": None}, "vars": {"flask_app_secrets": {"SECRET_KEY": OTHER_KEY}}}
    for key, expected in ((KEY, True), (OTHER_KEY, False)):
        hosts["vars"] = {"flask_app_secrets": {"SECRET_KEY": key}}
        text = yaml.safe_dump({"all": {"children": {"flask_app": hosts}}})
        (tmp_path / "inventories/staging/hosts.yml").write_text(text)
        assert ("shared-secret" in names(found(given, place))) is expected


@pytest.mark.parametrize(
    "text",
    ["plugin: amazon.aws.aws_ec2\nvault_x: y\n", "[1, 2]\n", "a: [\n", "flask_app:\n", "flask_app: {hosts: {a: 1}}\n"],
)
def test_other_files_in_an_inventory_are_ignored(tmp_path: Path, text: str) -> None:
    given, place = production(tmp_path)
    (inventory(tmp_path, "staging") / "more.yml").write_text(text)
    (place / "more.yml").write_text(text)
    script = place / "script"
    script.write_text("#!/bin/sh\n[flask_app:vars]\nvault_x=y\n")
    script.chmod(0o755)
    assert found(given, place) == []


@pytest.mark.parametrize(
    ("secret", "more", "literal"),
    [
        ("{{ staging_key }}", {"staging_key": KEY}, "staging_key"),
        ("{{ staging_key | b64encode }}", {"staging_key": KEY}, "staging_key"),
        ("{{ key_of_shop }}", {"key_of_shop": "{{ staging_key }}", "staging_key": KEY}, "staging_key"),
        ("{{ number }}", {"number": 9182736450123456}, "number"),
        ("postgresql://{{ db_user }}:{{ db_password }}@db.internal/x",
         {"db_user": "shopowner", "db_password": "hunter22"}, "db_password"),
        ("{{ staging_key }}", {"staging_key": "{{ vault_flask_app_secret_key }}"}, ""),
        ("{{ db_url }}", {"db_url": SQLITE}, ""),
        ("{{ lookup('env', variable_key) }}", {"variable_key": "NAME_OF_IT"}, ""),
        ("{{ prefix }}-{{ vault_flask_app_secret_key }}", {"prefix": "shop-of-ours"}, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place_of_it", ["main", "hosts", "playbook"])
def test_a_secret_built_from_a_plain_text_variable_is_reported(
    tmp_path: Path, secret: str, more: dict[str, Any], literal: str, place_of_it: str
) -> None:
    given, place = production(tmp_path)
    kept = {"flask_app_secrets": {**MAIN["flask_app_secrets"], "API": secret}}
    (place / "group_vars/flask_app/main.yml").write_text(yaml.safe_dump(kept))
    (tmp_path / "playbooks/group_vars").mkdir(parents=True)
    files = {
        "main": "inventories/production/group_vars/flask_app/more.yml",
        "hosts": "inventories/production/hosts.yml",
        "playbook": "playbooks/group_vars/all.yml",
    }
    hosts = {"flask_app": {"hosts": {"a": None}, "vars": more}}
    (tmp_path / files[place_of_it]).write_text(yaml.safe_dump(hosts if place_of_it == "hosts" else more))
    findings = found(given, place, tmp_path / "playbooks")
    if not literal:
        assert findings == []
        return
    assert one(findings) == ("plain-text-secret", WARNING, files[place_of_it])
    assert literal in findings[0].what
    assert "API" in findings[0].what.replace(literal, "")
    assert not [value for value in more.values() if str(value) in str(findings)]


# Vaults of other environments


def labelled(content: Mapping[str, Any], vault_id: str) -> str:
    return str(PASSWORD.encrypt(yaml.safe_dump(dict(content)), vault_id=vault_id).decode())


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("lib", [PASSWORD, OTHER_PASSWORD])
def test_a_vault_labelled_for_another_environment_is_an_error(tmp_path: Path, inline: bool, lib: VaultLib) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging")
    file = place / "group_vars/flask_app/more.yml"

    def write(vault_id: str) -> None:
        text = str(lib.encrypt("hunter22", vault_id=vault_id).decode())
        file.write_text(f"vault_api: !vault |\n  {text.replace(chr(10), chr(10) + '  ')}\n" if inline else text)

    write("staging")
    findings = found(given, place)
    assert one(findings) == ("foreign-vault", ERROR, "inventories/production/group_vars/flask_app/more.yml")
    assert "staging" in findings[0].what
    assert "script/secrets production" in findings[0].fix
    assert ("encrypt_string" if inline else "rekey") in findings[0].fix
    for own in ("production", "team", "default"):
        write(own)
        assert found(given, place) == []


def test_the_vault_of_another_inventory_of_this_environment_is_accepted(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "production-us", flask_app_environment="production")
    (place / "group_vars/flask_app/more.yml").write_text(labelled({"vault_a": "b"}, "production-us"))
    assert found(given, place) == []


# What was compared


def examined(given: Mapping[str, Any], place: Path, *groups: str, file: Path | None = None) -> Examination:
    return examine(Case(given, place=Place(place, None, opened, file, groups)))


def test_the_compared_inventories_are_listed(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    assert examined(given, place).compared == []
    inventory(tmp_path, "staging")
    inventory(tmp_path, "development")
    inventory(tmp_path, "production-us", flask_app_environment="production")
    absent = inventory(tmp_path, "qa")
    (absent / "group_vars/flask_app/vault.yml").unlink()
    seen = examined(given, place)
    assert seen.compared == ["inventories/development", "inventories/staging"]
    assert [each.subject for each in seen.findings] == ["inventories/qa"]
    assert rendered([], "shop", ["x"], ["a"], seen.compared).splitlines()[-1] == (
        "secrets: compared with inventories/development, inventories/staging"
    )
    assert rendered([], "shop", ["x"], ["a"], []).splitlines()[-1].startswith("secrets: not compared")
    assert rendered(seen.findings, "shop", ["x"], ["a"], []).splitlines()[-1].endswith("could be compared")


def test_a_deploy_warns_only_about_inventories_without_their_password(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    locked = inventory(tmp_path, "staging")
    (locked / "group_vars/flask_app/vault.yml").write_text(vault({"vault_flask_app_secret_key": KEY}, OTHER_PASSWORD))
    absent = inventory(tmp_path, "qa")
    (absent / "group_vars/flask_app/vault.yml").unlink()
    inventory(tmp_path, "development", flask_app_secrets={"A": "{{ lookup('env', 'A') }}"})
    problems, warnings = for_deploy(given, Place(place, None, opened))
    assert problems == []
    assert len(warnings) == 1
    assert "inventories/staging was not compared" in warnings[0]
    assert "vault password. (locked-inventory:inventories/staging)" in warnings[0]
    accepted = {**given, "flask_app_accepted_findings": ["locked-inventory"]}
    assert for_deploy(accepted, Place(place, None, opened)) == ([], [])
    fixes = {finding.subject: finding.fix for finding in found(given, place)}
    assert {subject for subject, fix in fixes.items() if "vault password" in fix} == {"inventories/staging"}
    assert "undefined" in fixes["inventories/qa"]
    assert "by hand" in fixes["inventories/development"]


# Inventories that are files


def flat(top: Path, environment: str, key: str, inside: bool, ending: str = ".yml") -> Path:
    """Make an inventory of one file in a shared directory, with its secrets inside or in a separate group."""
    own = {
        "flask_app_environment": environment,
        "flask_app_secrets": {"SECRET_KEY": "{{ vault_flask_app_secret_key }}"},
    }
    held = {"vault_flask_app_secret_key": key}
    top.mkdir(exist_ok=True)
    file = top / f"{environment}{ending}"
    variables = {**own, "flask_app_secrets": {"SECRET_KEY": key}} if inside else {}
    groups = {"flask_app": {"children": {environment: None}}, environment: {"hosts": {f"{environment}1": None}}}
    file.write_text(yaml.safe_dump({**groups, environment: {**groups[environment], "vars": variables}}))
    if not inside:
        group = top / "group_vars" / environment
        group.mkdir(parents=True)
        (group / "main.yml").write_text(yaml.safe_dump(own))
        (group / "vault.yml").write_text(vault(held))
    return file


@pytest.mark.parametrize("inside", [True, False])
def test_inventory_files_are_compared(tmp_path: Path, inside: bool) -> None:
    top = tmp_path / "hosts"
    file = flat(top, "production", KEY, inside)
    flat(top, "staging", KEY, inside)
    (top / "site.yml").write_text("- hosts: flask_app\n")
    given = values(flask_app_secrets={"SECRET_KEY": KEY, "DATABASE_URL": SQLITE})
    seen = examined(given, top, "flask_app", "production", file=file)
    assert seen.compared == ["staging.yml"]
    assert {(each.id, each.subject) for each in seen.findings if each.severity == ERROR} == {
        ("shared-secret", "SECRET_KEY")
    }
    assert {each.subject for each in seen.findings if each.id == "plain-text-secret"} == (
        {"production.yml", "staging.yml"} if inside else set()
    )
    given["flask_app_secrets"]["SECRET_KEY"] = OTHER_KEY
    assert names(examined(given, top, "flask_app", "production", file=file).findings) <= {"plain-text-secret"}


def test_a_plain_text_vault_counts_for_the_inventory_with_its_group(tmp_path: Path) -> None:
    file = flat(tmp_path / "hosts", "production", KEY, inside=False)
    flat(tmp_path / "hosts", "staging", OTHER_KEY, inside=False)
    given = values(flask_app_secrets={"SECRET_KEY": KEY, "DATABASE_URL": SQLITE})
    for environment, severity in (("staging", WARNING), ("production", ERROR)):
        more = tmp_path / "hosts/group_vars" / environment / "more.yml"
        more.write_text("vault_more: hunter22\n")
        assert one(examined(given, tmp_path / "hosts", "flask_app", "production", file=file).findings) == (
            "plain-text-vault", severity, f"group_vars/{environment}/more.yml"
        )  # fmt: skip
        more.unlink()


def test_a_file_of_a_directory_inventory_is_not_a_separate_environment(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    (place / "more.yml").write_text("flask_app: {hosts: {app2: }}\n")
    assert examined(given, place, "flask_app", file=place / "hosts.yml").findings == []
    assert examined(given, place, "flask_app").compared == []


# Several apps


def of_app(place: Path, app_name: str, key: str, **more: Any) -> None:
    group = place / "group_vars" / app_name
    group.mkdir(parents=True)
    (group / "main.yml").write_text(yaml.safe_dump({"flask_app_name": app_name, **MAIN, **more}))
    (group / "vault.yml").write_text(vault({"vault_flask_app_secret_key": key, "vault_flask_app_database_url": SQLITE}))


@pytest.mark.parametrize("app_name", ["blog", "shop", "zoo"])
@pytest.mark.parametrize("listed", [True, False])
def test_only_the_same_app_is_compared(tmp_path: Path, app_name: str, listed: bool) -> None:
    place = tmp_path / "inventories/production"
    for environment in ("production", "staging"):
        where = tmp_path / "inventories" / environment
        for each in ("blog", "shop", "zoo"):
            key = KEY if each == app_name else secrets.token_hex()
            of_app(where, each, key, flask_app_environment=environment)
        if listed:
            children = {each: {"hosts": {f"{each}1": None}} for each in ("blog", "shop", "zoo")}
            (where / "hosts.yml").write_text(yaml.safe_dump({"flask_app": {"children": children}}))
    given = values(flask_app_name=app_name, flask_app_secrets={"SECRET_KEY": KEY, "DATABASE_URL": SQLITE})
    seen = examined(given, place, app_name, "flask_app")
    assert one(seen.findings) == ("shared-secret", ERROR, "SECRET_KEY")
    assert seen.compared == ["inventories/staging"]
    other = next(each for each in ("blog", "shop") if each != app_name)
    assert examined({**given, "flask_app_name": other}, place, other, "flask_app").findings == []


def test_apps_named_by_the_play_are_distinguished_by_their_groups(tmp_path: Path) -> None:
    place, other = (tmp_path / "inventories" / name for name in ("production", "staging"))
    for where in (place, other):
        of_app(where, "shop", OTHER_KEY, flask_app_name="{{ of_the_play }}")
        of_app(where, "blog", KEY, flask_app_name="{{ of_the_play }}")
        children = {each: {"hosts": {f"{each}1": None}} for each in ("shop", "blog")}
        (where / "hosts.yml").write_text(yaml.safe_dump({"flask_app": {"children": children}}))
    given = values(flask_app_secrets={"SECRET_KEY": KEY, "DATABASE_URL": SQLITE})
    assert examined(given, place, "shop").findings == []
    assert names(examined(given, place, "blog").findings) == {"shared-secret"}


def test_apps_named_by_their_hosts_are_distinguished_by_name(tmp_path: Path) -> None:
    given, place = production(tmp_path)
    other = inventory(tmp_path, "staging")
    hosts = {"a": {"flask_app_name": "shop"}, "b": {"flask_app_name": "blog", "vault_flask_app_secret_key": KEY}}
    (other / "hosts.yml").write_text(yaml.safe_dump({"flask_app": {"hosts": hosts}}))
    (other / "group_vars/flask_app/vault.yml").write_text(vault({"vault_flask_app_database_url": SQLITE}))
    assert "shared-secret" not in names(examined(given, place, "flask_app").findings)
    given["flask_app_name"] = "blog"
    assert "shared-secret" in names(examined(given, place, "flask_app").findings)


# Values of every kind

SAME_SECRETS = [
    ("API_TOKEN", 918273645, 918273645),
    ("API_TOKEN", 918273645, "918273645"),
    ("THE_NUMBER", "9182736450123456", 9182736450123456),
    ("SIGNING", "/" + KEY, "/" + KEY),
    ("SIGNING", "/aB3/" + KEY[:20] + "/9xQ", "/aB3/" + KEY[:20] + "/9xQ"),
    ("CACHE", "redis://c1.internal/0?password=hunter22", "redis://c2.internal/0?password=hunter22"),
    ("DSN", "host=a.internal dbname=shop password=hunter22", "host=b.internal dbname=shop password='hunter22'"),
    ("DSN", "Driver={ODBC Driver 18};Server=a.internal;Database=x;UID=s;PWD=hunter22",
     "Driver={FreeTDS};Server=b.internal;Database=y;UID=s;Pwd={hunter22};"),
    ("DB", "mssql+pyodbc:///?odbc_connect=Server%3Da.internal%3BPWD%3Dhunter22", "Server=b.internal;PWD=hunter22"),
    ("HOOK", "https://hooks.slack.com/services/T0/B0/k3vQ9rTx7LwB2mYc8NdE5pHs",
     "https://hooks.slack.com/services/T0/B1/k3vQ9rTx7LwB2mYc8NdE5pHs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mine", "other"), SAME_SECRETS)
def test_a_shared_secret_is_found_in_every_form(tmp_path: Path, name: str, mine: object, other: object) -> None:
    name = "SHARED_BROKER" if name == "DB" else name  # a name that ends in DB is not a secret
    given, place = production(tmp_path)
    secret = {name: "{{ vault_it }}", "SECRET_KEY": "{{ vault_flask_app_secret_key }}"}
    staging = inventory(tmp_path, "staging", flask_app_secrets=secret)
    held = {"vault_flask_app_secret_key": OTHER_KEY}
    given["flask_app_secrets"][name] = mine
    (staging / "group_vars/flask_app/vault.yml").write_text(vault({**held, "vault_it": other}))
    findings = found(given, place)
    assert ("shared-secret", ERROR, name) in {(each.id, each.severity, each.subject) for each in findings}
    assert "hunter22" not in str(findings)
    (staging / "group_vars/flask_app/vault.yml").write_text(vault({**held, "vault_it": "of-its-own-7Zq"}))
    assert found(given, place) == []


@pytest.mark.parametrize(
    "value",
    [
        5432, 12345678, "/var/lib/shop/uploads", "/etc/shop/Jwt2026.pem", "/srv/Shop/v2/Uploads", "/internal-status",
        "https://login.example.com/8c2f1a9e-3b1d-4f6a-9d2e-7c5b1a0f3e4d/v2.0", "https://example.org/the-release-of-2026",
        "https://example.org/jobs/91827364509182736450", "host=a.internal dbname=shop", 3.5,
        "redis://cache.internal/0?ssl_ca_certs=/etc/ssl/ca.pem&db=3",
    ],
)  # fmt: skip
def test_a_value_that_environments_may_share_is_not_a_secret(tmp_path: Path, value: object) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", flask_app_secrets={**MAIN["flask_app_secrets"], "SETTING": value})
    given["flask_app_secrets"]["SETTING"] = value
    assert "shared-secret" not in names(found(given, place))
    assert "plain-text-secret" not in names(found(given, place))


PARTS = {"DB_HOST": "db.internal", "DB_NAME": "shop"}


@pytest.mark.parametrize(
    ("mine", "other", "same"),
    [
        (PARTS, {**PARTS, "DB_PORT": 5432}, True),
        ({**PARTS, "DB_PORT": "3306"}, PARTS, True),
        (PARTS, {"SHOP_URL": "postgresql://a@db.internal/shop"}, True),
        ({"DATABASE_URL": "mysql://a@db.internal:3306/shop"}, PARTS, True),
        ({"DSN": "Server=tcp:db.internal,1433;Database=shop"}, {**PARTS, "DB_PORT": 1433}, True),
        ({**PARTS, "DB_PORT": "5433"}, PARTS, False),
        ({**PARTS, "DB_PORT": "5432"}, {**PARTS, "DB_PORT": 3306}, False),
        (PARTS, {"SHOP_URL": "postgresql://a@db.internal/shop2"}, False),
        (PARTS, {"SHOP_URL": "postgresql://a@db.internal:6432/shop"}, False),
        (PARTS, {"REDIS_URL": "redis://db.internal/shop"}, False),
    ],
)
def test_a_database_is_recognized_however_it_is_described(
    tmp_path: Path, mine: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    given, place = production(tmp_path)
    inventory(tmp_path, "staging", flask_app_env=other)
    findings = found({**given, "flask_app_env": mine, "flask_app_secrets": {"SECRET_KEY": KEY, **mine}}, place)
    assert ({each.id for each in findings} - {"missing-secret"} == {"shared-database"}) is same
    assert len([each for each in findings if each.id == "shared-database"]) == same
