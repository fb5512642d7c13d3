# SPDX-License-Identifier: GPL-3.0-or-later
"""A value reaches exactly the intended hosts, in a real run and in the output of ansible-inventory.

The tests use the inventories as shipped, with site.yml and its playbook directory; only the deploy itself is replaced,
by a play that writes down each host's variables.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository import repository

pytestmark = pytest.mark.slow

ENVIRONMENTS = ("development", "staging", "production")
HOSTS = {
    "dev1": "development",
    "staging1": "staging",
    "staging2": "staging",
    "prod1": "production",
    "prod2": "production",
}
SHARED = "group_vars/all/main.yml"
STAGING = "inventories/staging/group_vars/flask_app/main.yml"
STAGING2 = "inventories/staging/host_vars/staging2.yml"
#: The variables that the tests add, by file.
ADDED = {
    SHARED: {"only_shared": "shared", "layered": "shared", "below_host": "shared"},
    STAGING: {"only_staging": "staging", "layered": "staging"},
    STAGING2: {"only_staging2": "staging2", "layered": "staging2", "below_host": "staging2"},
}
#: The variables that each host then has in addition.
EXPECTED = {
    "dev1": {"only_shared": "shared", "layered": "shared", "below_host": "shared"},
    "staging1": {
        "only_shared": "shared",
        "layered": "staging",
        "below_host": "shared",
        "only_staging": "staging",
    },
    "staging2": {
        "only_shared": "shared",
        "layered": "staging2",
        "below_host": "staging2",
        "only_staging": "staging",
        "only_staging2": "staging2",
    },
    "prod1": {"only_shared": "shared", "layered": "shared", "below_host": "shared"},
    "prod2": {"only_shared": "shared", "layered": "shared", "below_host": "shared"},
}
WRITE_DOWN = """
- name: Write down what each host got
  hosts: flask_app
  gather_facts: false
  connection: local
  tasks:
    - name: Write
      ansible.builtin.copy:
        content: "{{ dict(names | zip(query('ansible.builtin.vars', *names, default='not there'))) | to_json }}"
        dest: "{{ lookup('env', 'WRITE_INTO') }}/{{ inventory_hostname }}.json"
        mode: "0600"
      vars:
        names: [NAMES]
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""
#: Shipped values that the run must show: shared, per environment, and per host with the role's default elsewhere.
SHIPPED = ("flask_app_name", "flask_app_environment", "flask_app_gunicorn_threads")

Variables = dict[str, dict[str, Any]]


def shown(directory: Path) -> Variables:
    """Return all variables of all hosts, as ansible-inventory prints them."""

    def of(environment: str) -> Variables:
        options = ["--list", f"--inventory=inventories/{environment}", "--playbook-dir=playbooks"]
        done = repository.run(repository.tool("ansible-inventory"), *options, directory=directory)
        assert done.returncode == 0, done.stderr
        found: Variables = json.loads(done.stdout)["_meta"]["hostvars"]
        return found

    return _in_all_environments(of)


def had_in_a_run(directory: Path, into: Path) -> Variables:
    """Return some variables of all hosts, as they are in a play imported by site.yml."""
    names = sorted({name for added in ADDED.values() for name in added} | set(SHIPPED))
    play = WRITE_DOWN.replace("NAMES", ", ".join(names))
    (directory / "playbooks/deploy.yml").write_text(play, encoding="utf-8")

    def of(environment: str) -> Variables:
        options = [f"--inventory=inventories/{environment}", "site.yml"]
        done = repository.run(repository.tool("ansible-playbook"), *options, directory=directory, WRITE_INTO=str(into))
        assert done.returncode == 0, done.stdout + done.stderr
        return {}

    _in_all_environments(of)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in into.iterdir()}


def _in_all_environments(of: Any) -> Variables:
    with ThreadPoolExecutor(2) as pool:
        return {host: values for found in pool.map(of, ENVIRONMENTS) for host, values in found.items()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files that define variables: without vault files, as in a fresh clone."""
    places = ("ansible.cfg", "site.yml", "group_vars/", "inventories/", "playbooks/", "roles/", "collections/")
    names = [name for name in repository.tracked() if name.startswith(places)]
    return repository.copy(names, tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def before(clone: Path) -> Variables:
    return shown(clone)


@pytest.fixture(scope="module")
def changed(clone: Path, before: Variables) -> Path:
    """Change one shared file, one of an environment, one of a host."""
    assert before
    for name, added in ADDED.items():
        with (clone / name).open("a", encoding="utf-8") as stream:
            stream.write(yaml.safe_dump(added))
    return clone


@pytest.fixture(scope="module")
def in_a_run(changed: Path, tmp_path_factory: pytest.TempPathFactory) -> Variables:
    return had_in_a_run(changed, tmp_path_factory.mktemp("values"))


def test_the_shipped_inventories_list_the_demo_servers(before: Variables) -> None:
    assert before.keys() == HOSTS.keys()


def test_the_shipped_shared_value_reaches_every_host(before: Variables) -> None:
    assert {values["flask_app_name"] for values in before.values()} == {"guestbook"}


def test_the_shipped_values_of_an_environment_reach_its_hosts(before: Variables) -> None:
    assert {host: values["flask_app_environment"] for host, values in before.items()} == HOSTS


def test_a_shipped_host_value_reaches_only_that_host(before: Variables) -> None:
    threads = "flask_app_gunicorn_threads"
    assert {host: values[threads] for host, values in before.items() if threads in values} == {"staging2": 8}


def test_a_changed_file_affects_exactly_its_hosts(before: Variables, changed: Path) -> None:
    after = shown(changed)
    assert after == {host: {**values, **EXPECTED[host]} for host, values in before.items()}


@pytest.mark.parametrize("host", HOSTS)
def test_a_real_run_applies_changed_values_to_exactly_their_hosts(in_a_run: Variables, host: str) -> None:
    added = {name: value for name, value in in_a_run[host].items() if name not in SHIPPED and value != "not there"}
    assert added == EXPECTED[host]


@pytest.mark.parametrize(("host", "environment"), HOSTS.items())
def test_a_real_run_uses_the_shipped_values(in_a_run: Variables, host: str, environment: str) -> None:
    threads = 8 if host == "staging2" else "not there"  # elsewhere the role's default, which no inventory sets
    assert [in_a_run[host][name] for name in SHIPPED] == ["guestbook", environment, threads]


def test_no_variable_is_in_both_the_shared_and_an_environment_file() -> None:
    shared = repository.load_yaml(SHARED).keys()
    for environment in ENVIRONMENTS:
        own = repository.load_yaml(f"inventories/{environment}/group_vars/flask_app/main.yml").keys()
        assert not shared & own, environment


def test_every_environment_maps_the_same_secrets() -> None:
    maps = [
        repository.load_yaml(f"inventories/{name}/group_vars/flask_app/main.yml")["flask_app_secrets"]
        for name in ENVIRONMENTS
    ]
    assert maps[0] == maps[1] == maps[2]
