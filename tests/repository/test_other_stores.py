# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret from another store, as its page shows it: the app gets exactly the stored value, and nobody else does.

The page is docs/how-to/secret-stores.md. age is the real program. Of SOPS only Ansible's part is tested: the program is
a stand-in that decrypts with age, because no package of Debian, PyPI or npm has the real one.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository import repository
from tests.repository.clone import Clone

pytestmark = pytest.mark.slow

STORED = {
    "API_TOKEN": "hunter2-of-the-environment {{ 1 + 1 }}",
    "MAIL_PASSWORD": "hunter2-of-age 'é\" $x",
    "HOOK_TOKEN": "hunter2-of-sops\nin two lines",
}
SOPS = """\
#!/bin/sh
case "$*" in
  "--version --disable-version-check") echo "sops 3.10.2" ;;
  "decrypt "*/hook_token.sops) exec age --decrypt --identity "$SOPS_AGE_KEY_FILE" "$2" ;;
  *) echo "not how SOPS is called: $*" >&2; exit 1 ;;
esac
"""
WRITE_DOWN = """
- name: Write down what the app would get
  hosts: flask_app[0]
  gather_facts: false
  connection: local
  tasks:
    - name: Write
      ansible.builtin.copy:
        content: "{{ flask_app_secrets | to_json | b64encode }}"
        dest: "{{ lookup('env', 'WRITE_INTO') }}"
        mode: "0600"
      vars:
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


def shown() -> dict[str, Any]:
    """Return flask_app_secrets with the entry of each store that the page calls tested."""
    page = repository.text("docs/how-to/secret-stores.md")
    stores = re.findall(r"^\| \[(.*?)\]\(#[\w-]+\) \| (?:yes|in part)", page, re.MULTILINE)
    assert len(stores) == len(STORED)
    found = {name: f"{{{{ vault_flask_app_{name.lower()} }}}}" for name in ("SECRET_KEY", "DATABASE_URL")}
    for store in stores:
        [section] = re.findall(rf"^## {re.escape(store)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        [block, *_] = [each for each in re.findall(r"^```yaml\n(.*?)^```$", section, re.M | re.S) if "lookup(" in each]
        found |= yaml.safe_load(block)["flask_app_secrets"]
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    if not shutil.which("age"):
        pytest.skip("the program age is not on this machine; script/test installs it (apt-get install age)")
    clone = Clone.make(tmp_path / "clone", plays=True)
    assert clone.secrets("staging").returncode == 0
    main = clone.main("staging")
    variables = {**yaml.safe_load(main.read_text()), "flask_app_secrets": shown()}
    main.write_text(yaml.safe_dump(variables, width=1000, sort_keys=False))
    identity = clone.root / "home/.config/age/key.txt"
    identity.parent.mkdir(parents=True)
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    [recipient] = re.findall("public key: (age1[0-9a-z]+)", identity.read_text())
    for name, file in {"MAIL_PASSWORD": "mail_password.age", "HOOK_TOKEN": "hook_token.sops"}.items():
        words = ["age", "--recipient", recipient, "--output", main.with_name(file)]
        subprocess.run(words, input=STORED[name].encode(), check=True)
    (clone.root / "bin").mkdir()
    sops = clone.root / "bin/sops"
    sops.write_text(SOPS)
    sops.chmod(0o755)
    return clone


def stores(clone: Clone) -> dict[str, str]:
    """Return the environment in which the stores can be read."""
    home = clone.root / "home"
    return {
        "HOME": str(home),
        "PATH": f"{clone.root}/bin:{clone.environment['PATH']}",
        "SOPS_AGE_KEY_FILE": str(home / ".config/age/key.txt"),
        "STAGING_API_TOKEN": STORED["API_TOKEN"],
    }


def doctor(clone: Clone, inventory: str, environment: Mapping[str, str]) -> tuple[int, dict[str, Any], str]:
    """Run the doctor as verbosely as possible; return its exit code, its findings and its output."""
    words = ("-vvvv", "-i", f"inventories/{inventory}", "playbooks/doctor.yml", "-e", "flask_app_doctor_format=json")
    done = clone.play(*words, **environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr


def test_the_app_gets_exactly_the_values_of_the_store(clone: Clone, tmp_path: Path) -> None:
    (clone.root / "write.yml").write_text(WRITE_DOWN)
    into = tmp_path / "written"
    done = clone.play("-i", "inventories/staging", "write.yml", WRITE_INTO=str(into), **stores(clone))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(base64.b64decode(into.read_bytes()))
    assert {name: written[name] for name in STORED} == STORED
    assert written.keys() == {"SECRET_KEY", "DATABASE_URL", *STORED}


def test_the_doctor_finds_no_fault_and_prints_no_value(clone: Clone) -> None:
    code, told, printed = doctor(clone, "staging", stores(clone))
    assert code == 0, printed
    assert {finding["id"] for finding in told["findings"]} <= {"no-tls", "unreadable-inventory"}
    assert {finding["subject"] for finding in told["findings"] if finding["id"] == "unreadable-inventory"} <= {
        "inventories/production", "inventories/development",  # their passwords are not on this machine
    }  # fmt: skip
    assert "hunter2" not in printed


def test_the_doctor_checks_store_values_and_finds_plain_text_ones(clone: Clone) -> None:
    main = clone.main("staging")
    plain = {"flask_app_secrets": {**shown(), "HOOK_TOKEN": "0123456789abcdef-hunter2"}}
    main.write_text(yaml.safe_dump({**yaml.safe_load(main.read_text()), **plain}, width=1000, sort_keys=False))
    code, told, printed = doctor(clone, "staging", {**stores(clone), "STAGING_API_TOKEN": "change-me"})
    assert code != 0, printed
    assert ("placeholder", "API_TOKEN") in {(finding["id"], finding["subject"]) for finding in told["findings"]}
    [finding] = [finding for finding in told["findings"] if finding["id"] == "plain-text-secret"]
    assert "HOOK_TOKEN" in str(finding), printed
    assert "API_TOKEN" not in str(finding)
    assert "MAIL_PASSWORD" not in str(finding)


def test_the_doctor_asks_no_foreign_store_and_lists_what_it_skipped(clone: Clone) -> None:
    assert clone.secrets("production").returncode == 0
    asked = clone.root / "asked"
    (clone.root / "bin/sops").write_text(f"#!/bin/sh\ntouch '{asked}'\nexit 1\n")
    code, told, printed = doctor(clone, "production", stores(clone))
    assert code == 0, printed
    assert {finding["id"] for finding in told["findings"]} <= {"no-tls", "unreadable-inventory"}
    [finding] = [one for one in told["findings"] if one["subject"] == "inventories/staging"]
    for name in STORED:
        assert f"flask_app_secrets.{name} " in finding["what"]
    assert not asked.exists()
    assert "hunter2" not in printed


@pytest.mark.parametrize("missing", ["STAGING_API_TOKEN", "HOME"])  # Ansible looks up one, a program the other
def test_an_unreachable_store_stops_the_run_and_is_named(clone: Clone, missing: str) -> None:
    environment = {**stores(clone), missing: "/nonexistent"}
    if missing == "STAGING_API_TOKEN":
        del environment[missing]
    code, _, printed = doctor(clone, "staging", environment)
    assert code != 0
    assert "flask_app_secrets can't be read" in printed
    assert "hunter2" not in printed


def test_a_secret_from_another_store_needs_no_vault_entry(clone: Clone) -> None:
    done = clone.secrets("staging", "--list")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if "(from elsewhere)" in line] == list(STORED)
    assert clone.secrets("staging").stdout == ""
