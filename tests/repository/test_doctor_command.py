# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor and the preflight as a user calls them, with the shipped inventories and fresh secrets."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.repository import repository

pytestmark = pytest.mark.slow

ENVIRONMENTS = ("development", "staging", "production")
PLACES = ("ansible.cfg", "group_vars/", "inventories/", "playbooks/", "roles/", "collections/", "plugins/", "meta/",
          "galaxy.yml", "examples/", "molecule/default/inventory/", "molecule/shared/",
          "script/vault-password-client")  # fmt: skip
DATABASE = "sqlite:////var/lib/guestbook/guestbook.db"


def fill(clone: Path, environment: str, key: str) -> None:
    """Encrypt an environment's secrets, like script/secrets."""
    password = clone / ".vault" / environment
    password.parent.mkdir(exist_ok=True)
    if not password.exists():
        password.write_text(secrets.token_hex())
    lib = VaultLib([(environment, VaultSecret(password.read_bytes().strip()))])
    text = f"vault_flask_app_secret_key: {key}\nvault_flask_app_database_url: {DATABASE}\n"
    encrypted = lib.encrypt(text, vault_id=environment)
    (clone / f"inventories/{environment}/group_vars/flask_app/vault.yml").write_bytes(encrypted)


@pytest.fixture
def keys() -> dict[str, str]:
    return {environment: secrets.token_hex() for environment in ENVIRONMENTS}


@pytest.fixture
def clone(tmp_path: Path, keys: dict[str, str]) -> Path:
    names = [name for name in repository.tracked() if name.startswith(PLACES)]
    into = repository.copy(names, tmp_path / "clone")
    for environment, key in keys.items():
        fill(into, environment, key)
    return into


def play(clone: Path, inventory: str, *words: str, playbook: str = "doctor") -> subprocess.CompletedProcess[str]:
    client = clone / "script/vault-password-client"
    return repository.run(
        repository.tool("ansible-playbook"), "-vvv", "-i", inventory, f"playbooks/{playbook}.yml", *words,
        directory=clone, ANSIBLE_VAULT_IDENTITY_LIST=",".join(f"{name}@{client}" for name in ENVIRONMENTS),
    )  # fmt: skip


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("inventory", [*(f"inventories/{name}" for name in ENVIRONMENTS), "molecule/default/inventory"])
def test_the_inventories_of_this_repository_have_no_error(inventory: str, clone: Path) -> None:
    done = play(clone, inventory, "-e", "flask_app_doctor_format=json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = report(done)
    assert told["errors"] == 0
    assert {finding["id"] for finding in told["findings"]} <= {"no-tls"}
    others = [f"inventories/{name}" for name in sorted(ENVIRONMENTS) if f"inventories/{name}" != inventory]
    assert told["compared"] == (others if inventory.startswith("inventories/") else [])


def test_a_clone_without_secrets_gets_the_command_to_create_them(clone: Path) -> None:
    (clone / "inventories/production/group_vars/flask_app/vault.yml").unlink()
    done = play(clone, "inventories/production")
    assert done.returncode != 0
    assert "error unreadable-variable:flask_app_secrets" in done.stdout
    assert "script/secrets production" in done.stdout


def test_staging_secrets_in_production_are_reported(clone: Path, keys: dict[str, str]) -> None:
    fill(clone, "production", keys["staging"])
    done = play(clone, "inventories/production")
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "SECRET_KEY has the same value in inventories/staging" in said
    assert not [key for key in keys.values() if key in said]


def test_a_deploy_reports_all_doctor_errors_at_once(clone: Path, keys: dict[str, str]) -> None:
    """A secret of another environment, a token in an address, and variables of the role in the unit."""
    fill(clone, "production", keys["staging"])
    faults = {
        "flask_app_source_directory": "",
        "flask_app_source_git_url": "https://hunter22@example.org/shop.git",
        "flask_app_service_settings": {"Environment": "FLASK_CONFIG=production"},
        "flask_app_accepted_findings": ["environment-by-hand"],
        "ansible_become": False,
    }
    local = ("--check", "--connection=local", "-e", json.dumps(faults))
    done = play(clone, "inventories/production", *local, playbook="deploy")
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "SECRET_KEY has the same value in inventories/staging" in said
    assert "flask_app_source_git_url holds a user name, a password or a token" in said
    assert "flask_app_service_settings sets FLASK_CONFIG, which the role sets itself" in said
    assert not [value for value in ("hunter22", *keys.values()) if value in said]


def test_misspelt_and_invalid_variables_are_errors(clone: Path) -> None:
    wrong = {"flask_app_keep_release": 3, "flask_app_keep_releases": 0, "flask_app_doctor_format": "json"}
    done = play(clone, "inventories/staging", "-e", json.dumps(wrong))
    assert done.returncode != 0
    told = {(finding["id"], finding["subject"]) for finding in report(done)["findings"]}
    assert told == {("unknown-variable", "flask_app_keep_release"), ("out-of-range", "flask_app_keep_releases")}


def test_a_fault_on_all_hosts_is_reported_once_and_can_be_accepted(clone: Path) -> None:
    faults = {
        "flask_app_env": {"FLASK_DEBUG": "1", "FLASK_CONFIG": "staging"},
        "flask_app_service_settings": {"Environment": "FLASK_CONFIG=staging"},
        "flask_app_doctor_format": "json",
    }
    done = play(clone, "inventories/production", "-e", json.dumps(faults))
    assert done.returncode != 0
    told = {finding["id"]: finding["hosts"] for finding in report(done)["findings"]}
    assert told == {name: ["prod1", "prod2"] for name in ("flask-debug", "environment-by-hand", "no-tls")}
    accepted = {**faults, "flask_app_env": {"FLASK_DEBUG": "1"}, "flask_app_service_settings": {}}
    accepted["flask_app_accepted_findings"] = ["flask-debug:FLASK_DEBUG"]
    done = play(clone, "inventories/production", "-e", json.dumps(accepted))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (report(done)["errors"], report(done)["accepted"]) == (0, 1)


def test_two_inventories_are_compared_as_ansible_reads_them(clone: Path, keys: dict[str, str]) -> None:
    (clone / "inventories/production/group_vars/flask_app/more.yml").write_text("flask_app_tls: acme\n")
    done = play(clone, "inventories/staging", "-e", "flask_app_doctor_format=json", playbook="compare")
    assert done.returncode == 0, done.stdout + done.stderr
    told = {each["setting"]: (each["one"], each["other"]) for each in report(done)["differences"]}
    assert told["flask_app_tls"] == ("none", "acme")
    assert told["flask_app_nginx_hsts_seconds"] == ("0", "63072000")  # the role's defaults compute it from this one
    assert told["flask_app_gunicorn_threads"] == ("16 on staging1; 8 on staging2", "16")
    assert told["flask_app_secrets.SECRET_KEY"] == ("different", "different")
    assert told["flask_app_secrets.DATABASE_URL"] == ("same", "same")
    assert not told.keys() & {"flask_app_source_directory", "flask_app_environment", "flask_app_name"}
    assert not [key for key in keys.values() if key in done.stdout + done.stderr]


def test_a_missing_inventory_is_reported(clone: Path) -> None:
    words = ("-e", json.dumps({"flask_app_compared": ["staging", "prodution"]}))
    done = play(clone, "inventories/staging", *words, playbook="compare")
    assert done.returncode != 0
    assert "doesn't exist" in done.stdout + done.stderr


def test_a_staging_vault_in_production_is_reported(clone: Path) -> None:
    password = (clone / ".vault/staging").read_bytes().strip()
    content = VaultLib([("staging", VaultSecret(password))]).encrypt("vault_more: hunter22", vault_id="staging")
    (clone / "inventories/production/group_vars/flask_app/more.yml").write_bytes(content)
    done = play(clone, "inventories/production")
    assert done.returncode != 0, done.stdout + done.stderr
    assert "error foreign-vault:inventories/production/group_vars/flask_app/more.yml" in done.stdout
    assert "secrets: compared with inventories/development, inventories/staging" in done.stdout


def test_a_deploy_warns_once_about_an_inventory_it_could_not_compare(clone: Path) -> None:
    (clone / ".vault/staging").write_text("another password")
    (clone / "inventories/development/group_vars/flask_app/vault.yml").unlink()
    local = ("--check", "--connection=local", "--extra-vars={ansible_become: false}")
    done = play(clone, "inventories/production", *local, playbook="deploy")
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert said.count("WARNING]: inventories/staging was not compared") == 1, said
    assert "inventories/development was not compared" not in said


@pytest.mark.parametrize("same", [True, False])
def test_inventory_files_in_one_directory_are_compared(clone: Path, keys: dict[str, str], same: bool) -> None:
    hosts = clone / "inventories/files"  # as deep as the others, because group_vars/all/ has a relative source path
    (hosts / "group_vars").mkdir(parents=True)
    for name in ("staging", "production"):
        (clone / f"inventories/{name}/group_vars/flask_app").rename(hosts / "group_vars" / name)
        listed = {"flask_app": {"children": {name: None}}, name: {"hosts": {f"{name}1": None}}}
        (hosts / f"{name}.yml").write_text(json.dumps(listed))
    if same:
        shutil.copy(hosts / "group_vars/staging/vault.yml", hosts / "group_vars/production/vault.yml")
    done = play(clone, "inventories/files/production.yml", "-e", "flask_app_doctor_format=json")
    told = report(done)
    assert told["compared"] == ["inventories/development", "staging.yml"]
    errors = {finding["id"] for finding in told["findings"] if finding["severity"] == "error"}
    assert errors == ({"shared-secret", "foreign-vault"} if same else set()), done.stdout
    assert (done.returncode != 0) is same
