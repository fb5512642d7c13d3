# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments have the same secret names but separate passwords, and script/secrets creates and changes both."""

from __future__ import annotations

import base64
import errno
import json
import os
import pty
import re
import runpy
import shutil
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository import repository
from tests.repository.clone import Clone
from tests.unit.killing import killed

pytestmark = pytest.mark.slow

ENVIRONMENTS = ("development", "staging", "production")
MAINS = repository.matching("inventories/*/group_vars/flask_app/main.yml")
CLIENT = "script/vault-password-client"
VALUE = "hunter2-of-the-test"
DATABASE = "sqlite:////var/lib/guestbook/guestbook.db"
MIRRORED = ["vault_flask_app_secret_key", "vault_flask_app_database_url"]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone.make(tmp_path / "clone")


@pytest.fixture
def with_plays(tmp_path: Path) -> Clone:
    return Clone.make(tmp_path / "clone", plays=True)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with staging's secrets, shared by all tests that change nothing."""
    clone = Clone.make(tmp_path_factory.mktemp("unchanged") / "clone")
    assert clone.secrets("staging").returncode == 0
    return clone


@pytest.fixture
def staging(clone: Clone) -> Clone:
    """A clone with staging's secrets."""
    done = clone.secrets("staging")
    assert done.returncode == 0, done.stderr
    return clone


def mapped(clone: Clone, environment: str, name: str, value: str) -> None:
    """Add a name to flask_app_secrets, which is at the end of main.yml."""
    with clone.main(environment).open("a", encoding="utf-8") as stream:
        stream.write(f"  {name}: {value}\n")


def vault_ids(text: str) -> list[str]:
    [line] = re.findall(r"^vault_identity_list = (.*)$", text, re.MULTILINE)
    return str(line).split(", ")


# The shipped inventories


def test_every_environment_has_the_same_names() -> None:
    assert [name.split("/")[1] for name in MAINS] == sorted(ENVIRONMENTS)
    for variable in ("flask_app_env", "flask_app_secrets"):
        names = [list(repository.load_yaml(main)[variable]) for main in MAINS]
        assert names[0]
        assert names == [names[0]] * len(MAINS), variable


@pytest.mark.parametrize("main", MAINS)
def test_every_secret_is_in_the_vault_under_its_own_name(main: str) -> None:
    secrets = repository.load_yaml(main)["flask_app_secrets"]
    assert secrets == {name: f"{{{{ vault_flask_app_{name.lower()} }}}}" for name in secrets}


def test_every_environment_has_its_own_vault_id() -> None:
    names = [name.split("/")[1] for name in MAINS]
    assert sorted(vault_ids(repository.text("ansible.cfg"))) == sorted(f"{name}@{CLIENT}" for name in names)


# Fresh secrets


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_fresh_secrets_have_exactly_the_names_of_the_inventory(clone: Clone, environment: str) -> None:
    done = clone.run("script/secrets", environment)
    assert done.returncode == 0, done.stderr
    assert clone.vault(environment).read_text().splitlines()[0] == f"$ANSIBLE_VAULT;1.2;AES256;{environment}"
    values = clone.values(environment)
    assert list(values) == MIRRORED
    assert re.fullmatch("[0-9a-f]{64}", values[MIRRORED[0]])
    assert values[MIRRORED[1]] == DATABASE
    assert not [value for value in values.values() if value in done.stdout + done.stderr]


def test_no_two_environments_have_the_same_secret_or_password(clone: Clone) -> None:
    for environment in ENVIRONMENTS:
        clone.secrets(environment)
    assert len({clone.values(environment)[MIRRORED[0]] for environment in ENVIRONMENTS}) == 3
    assert len({(clone.root / ".vault" / environment).read_text() for environment in ENVIRONMENTS}) == 3


def test_the_password_is_private_and_no_other_file_is_created(clone: Clone) -> None:
    before = clone.files()
    clone.secrets("staging")
    made = {name: mode for name, (mode, _) in clone.files().items() if name not in before}
    assert made == {".vault/staging": 0o600, "inventories/staging/group_vars/flask_app/vault.yml": 0o644}
    assert (clone.root / ".vault").stat().st_mode & 0o7777 == 0o700
    assert {name: clone.files()[name] for name in before} == before


def test_an_additional_name_gets_a_random_value_or_is_listed_as_missing(clone: Clone) -> None:
    mapped(clone, "staging", "API_TOKEN", '"{{ vault_flask_app_api_token }}"')
    mapped(clone, "staging", "SMTP_HOST", '"{{ vault_flask_app_smtp_host }}"')
    mapped(clone, "staging", "OTHER", "\"{{ lookup('ansible.builtin.env', 'OTHER') }}\"")
    done = clone.secrets("staging")
    assert list(clone.values("staging")) == [*MIRRORED, "vault_flask_app_api_token"]
    assert "Random: API_TOKEN." in done.stdout
    assert "It lacks vault_flask_app_smtp_host; add it with: script/secrets staging --set SMTP_HOST" in done.stdout
    assert "OTHER" not in done.stdout


def test_existing_secrets_are_never_overwritten(staging: Clone) -> None:
    mapped(staging, "staging", "API_TOKEN", '"{{ vault_flask_app_api_token }}"')
    before = staging.files()
    done = staging.secrets("staging")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("It lacks vault_flask_app_api_token; add it with: script/secrets staging --set API_TOKEN\n")
    assert staging.files() == before


# A new environment


def test_a_new_environment_has_the_usual_names_and_its_own_values(staging: Clone) -> None:
    before = staging.files()
    done = staging.secrets("--new", "qa")
    assert done.returncode == 0, done.stderr
    after = staging.files()
    made = ["hosts.yml", "group_vars/flask_app/main.yml", "group_vars/flask_app/vault.yml"]
    assert after.keys() - before.keys() == {".vault/qa", *(f"inventories/qa/{name}" for name in made)}
    assert {name for name in before if before[name] != after[name]} == {"ansible.cfg"}
    ours, theirs = (yaml.safe_load(staging.main(name).read_text()) for name in ("qa", "staging"))
    assert list(ours["flask_app_env"]) == list(theirs["flask_app_env"])
    assert ours["flask_app_secrets"] == theirs["flask_app_secrets"]
    assert ours["flask_app_environment"] == "qa"
    assert ours["flask_app_server_names"] == ["qa.guestbook.localhost"]
    assert not set(ours) & set(repository.load_yaml("group_vars/all/main.yml"))
    assert list(staging.values("qa")) == MIRRORED
    assert staging.values("qa")[MIRRORED[0]] != staging.values("staging")[MIRRORED[0]]


def test_a_new_environment_has_the_same_main_file_as_the_others(clone: Clone) -> None:
    clone.secrets("--new", "qa")
    expected = clone.main("staging").read_text().replace("staging", "qa")
    line = "flask_app_environments: [development, staging, production, qa] # the role refuses other names\n"
    assert clone.main("qa").read_text().replace(line, "") == expected


def test_only_the_new_vault_id_is_added_to_ansible_cfg(clone: Clone) -> None:
    before = (clone.root / "ansible.cfg").read_text()
    for _ in range(2):
        assert clone.secrets("--new", "qa").returncode == 0
    after = (clone.root / "ansible.cfg").read_text()
    assert vault_ids(after) == [*vault_ids(before), f"qa@{CLIENT}"]
    assert after.replace(f", qa@{CLIENT}", "") == before


def test_a_deploy_to_an_environment_without_hosts_says_so(with_plays: Clone) -> None:
    with_plays.secrets("--new", "qa")
    done = with_plays.play("-i", "inventories/qa", "site.yml")
    assert done.returncode == 0, done.stderr
    assert "no hosts matched" in done.stdout
    assert "provided hosts list is empty" in done.stderr
    assert "TASK" not in done.stdout


def test_the_doctor_accepts_a_new_environment_with_a_host(with_plays: Clone) -> None:
    """The role must know the new name, and be able to decrypt its secrets with that environment's password alone."""
    with_plays.secrets("--new", "qa")
    hosts = with_plays.root / "inventories/qa/hosts.yml"
    hosts.write_text(hosts.read_text().replace("# app1.example.org:", "app1.example.org:"))
    done = with_plays.play("-i", "inventories/qa", "playbooks/doctor.yml", "-e", "flask_app_doctor_format=json")
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told = json.loads(line)
    assert told["errors"] == 0
    # The other passwords are not on this machine.
    assert {finding["id"] for finding in told["findings"]} <= {"no-tls", "unreadable-inventory"}


def test_an_existing_environment_is_left_unchanged(staging: Clone) -> None:
    before = staging.files()
    assert staging.secrets("--new", "staging").returncode == 0
    assert staging.files() == before


def test_an_environment_may_have_a_name_with_a_yaml_meaning(clone: Clone) -> None:
    assert clone.secrets("--new", "no").returncode == 0
    main = yaml.safe_load(clone.main("no").read_text())
    assert main["flask_app_environment"] == "no"
    assert main["flask_app_environments"][-1] == "no"


def test_an_ansible_cfg_without_the_vault_list_is_left_unchanged(clone: Clone) -> None:
    path = clone.root / "ansible.cfg"
    path.write_text(path.read_text().replace("vault_identity_list", "# vault_identity_list"))
    before = path.read_text()
    done = clone.secrets("--new", "qa")
    assert done.returncode == 1
    assert f"add qa@{CLIENT} to it by hand" in done.stderr
    assert path.read_text() == before


def in_this_process(clone: Clone) -> None:
    """Run the Python part of script/secrets, so that it can be killed at any instant."""
    try:
        runpy.run_path(str(clone.root / "script/secrets-files"), run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, "script/secrets failed"


def test_a_run_killed_at_any_instant_can_be_repeated(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script/secrets-files", "--new", "qa"])
    configuration = clone.root / "ansible.cfg"
    original = configuration.read_text()

    def made() -> dict[str, tuple[int, bytes]]:
        return {name: file for name, file in clone.files().items() if "qa" in name or name == "ansible.cfg"}

    def work() -> None:
        in_this_process(clone)

    assert not killed(10_000, work)
    wanted = made()
    random = {".vault/qa", "inventories/qa/group_vars/flask_app/vault.yml"}
    change = 0
    while True:
        change += 1
        shutil.rmtree(clone.root / ".vault")
        shutil.rmtree(clone.root / "inventories/qa")
        configuration.write_text(original)
        ended = not killed(change, work)
        assert not killed(10_000, work)
        found = made()
        assert {name: mode for name, (mode, _) in found.items()} == {name: mode for name, (mode, _) in wanted.items()}
        assert {name for name in found if found[name] != wanted[name]} == random
        assert list(clone.values("qa")) == MIRRORED
        if ended:
            break
    assert change > 8


# A single value


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("SECRET_KEY", "vault_flask_app_secret_key"),
        ("API_TOKEN", "vault_flask_app_api_token"),
        ("vault_flask_app_secret_key", "vault_flask_app_secret_key"),
        ("vault_other", "vault_other"),
        ("flask_app_tls_key", "vault_flask_app_tls_key"),
    ],
)
def test_a_value_is_changed_or_added_under_its_vault_name(staging: Clone, name: str, variable: str) -> None:
    before = staging.plain("staging")
    done = staging.secrets("staging", "--set", name, given=f"{VALUE}\n")
    assert done.returncode == 0, done.stderr
    lines = staging.plain("staging").splitlines()
    assert f'{variable}: "{VALUE}"' in lines
    assert [line for line in lines if VALUE not in line] == [
        line for line in before.splitlines() if not line.startswith(f"{variable}:")
    ]
    assert staging.vault("staging").read_text().splitlines()[0] == "$ANSIBLE_VAULT;1.2;AES256;staging"
    assert VALUE not in done.stdout + done.stderr


def test_the_mapping_in_main_yml_decides_the_vault_variable(staging: Clone) -> None:
    mapped(staging, "staging", "API_TOKEN", '"{{ vault_shop_token }}"')
    assert staging.secrets("staging", "--set", "API_TOKEN", given=VALUE).returncode == 0
    assert staging.values("staging")["vault_shop_token"] == VALUE


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (" x \n\n", " x \n"),
        ("x\r\n", "x\r"),
        ("-----BEGIN-----\nx\n-----END-----\n", "-----BEGIN-----\nx\n-----END-----"),
        ("{{ 1 + 1 }} é☺\U0001f600 '\"\\$`!&", "{{ 1 + 1 }} é☺\U0001f600 '\"\\$`!&"),
        ("x" * 100_000, "x" * 100_000),
    ],
)
def test_a_piped_value_loses_only_one_trailing_newline(staging: Clone, given: str, held: str) -> None:
    assert staging.secrets("staging", "--set", "API_TOKEN", given=given).returncode == 0
    assert staging.values("staging")["vault_flask_app_api_token"] == held


def test_a_random_value_is_new_and_not_shown(staging: Clone) -> None:
    seen = {staging.values("staging")[MIRRORED[0]]}
    for _ in range(2):
        done = staging.secrets("staging", "--set", "SECRET_KEY", "--random", given=VALUE)
        assert done.returncode == 0, done.stderr
        value = staging.values("staging")[MIRRORED[0]]
        assert re.fullmatch("[0-9a-f]{64}", value)
        assert value not in done.stdout + done.stderr
        seen.add(value)
    assert len(seen) == 3


def test_adding_a_name_prints_the_line_main_yml_needs(staging: Clone) -> None:
    done = staging.secrets("staging", "--set", "API_TOKEN", given=VALUE)
    line = 'API_TOKEN: "{{ vault_flask_app_api_token }}"'
    assert "inventories/staging/group_vars/flask_app/main.yml, under flask_app_secrets: " + line in done.stdout
    mapped(staging, "staging", *line.split(": "))
    assert "main.yml" not in staging.secrets("staging", "--set", "API_TOKEN", given=VALUE).stdout
    assert list(yaml.safe_load(staging.main("staging").read_text())["flask_app_secrets"])[-1] == "API_TOKEN"


def test_ansible_passes_exactly_the_value_that_was_set(with_plays: Clone, tmp_path: Path) -> None:
    assert with_plays.secrets("staging").returncode == 0
    value = f"{VALUE} {{{{ 1 + 1 }}}} {{# x #}}\n'é\"\\ "
    mapped(with_plays, "staging", "API_TOKEN", '"{{ vault_flask_app_api_token }}"')
    assert with_plays.secrets("staging", "--set", "API_TOKEN", given=value).returncode == 0
    play = [
        {
            "name": "Write down",
            "hosts": "flask_app[0]",
            "gather_facts": False,
            "connection": "local",
            "tasks": [
                {
                    "name": "Write",
                    "ansible.builtin.copy": {
                        "content": "{{ flask_app_secrets.API_TOKEN | b64encode }}",
                        "dest": str(tmp_path / "value"),
                        "mode": "0600",
                    },
                    "vars": {"ansible_python_interpreter": sys.executable},
                }
            ],
        }
    ]
    (with_plays.root / "write.yml").write_text(yaml.safe_dump(play))
    done = with_plays.play("-i", "inventories/staging", "write.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert base64.b64decode((tmp_path / "value").read_bytes()).decode() == value


def test_concurrent_changes_are_all_kept(staging: Clone) -> None:
    names = [f"TOKEN_{number}" for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        words = ("script/secrets", "staging", "--set")
        done = list(pool.map(lambda name: staging.run(*words, name, given=name.encode()), names))
    assert [one.returncode for one in done] == [0] * 3
    held = staging.values("staging")
    assert [held.get(f"vault_flask_app_{name.lower()}") for name in names] == names


def test_no_file_and_no_program_ever_gets_the_plain_value(staging: Clone) -> None:
    """Record every started program and every written text; the value comes through a pipe."""
    watching = """
import runpy, sys
from ansible.plugins.loader import init_plugin_loader  # what Ansible starts for itself when it is imported
starts = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty"}
sys.addaudithook(lambda event, _: print("started", event, file=sys.stderr) if event in starts else None)
sys.argv[0] = "script/secrets-files"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    python = repository.tool("python")
    done = staging.run(python, "-c", watching, "staging", "--set", "API_TOKEN", given=f"{VALUE}\n".encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert staging.values("staging")["vault_flask_app_api_token"] == VALUE
    assert [name for name, (_, content) in staging.files().items() if VALUE.encode() in content] == []


def test_a_typed_value_is_not_echoed(staging: Clone) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(staging.root)
        os.execve("script/secrets", ["script/secrets", "staging", "--set", "API_TOKEN"], staging.environment)
    shown = b""
    try:
        while b"vault_flask_app_api_token: " not in shown:
            shown += os.read(terminal, 1024)
        assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        os.write(terminal, f"{VALUE}\n".encode())
        while more := _read(terminal):
            shown += more
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert VALUE.encode() not in shown
    assert staging.values("staging")["vault_flask_app_api_token"] == VALUE


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError as error:  # how Linux reports the end of a terminal
        assert error.errno == errno.EIO
        return b""


# The names


def test_the_names_are_listed_without_values(staging: Clone) -> None:
    mapped(staging, "staging", "API_TOKEN", '"{{ vault_flask_app_api_token }}"')
    mapped(staging, "staging", "OTHER", "\"{{ lookup('ansible.builtin.env', 'OTHER') }}\"")
    staging.secrets("staging", "--set", "vault_old", given=VALUE)
    done = staging.secrets("staging", "--list")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["SECRET_KEY", "vault_flask_app_secret_key"],
        ["DATABASE_URL", "vault_flask_app_database_url"],
        ["API_TOKEN", "vault_flask_app_api_token", "(missing)"],
        ["OTHER", "(from", "elsewhere)"],
        ["(unused)", "vault_old"],
    ]
    assert not [value for value in staging.values("staging").values() if value in done.stdout]


# Refusals


@pytest.mark.parametrize(
    ("words", "given", "told"),
    [
        (["nope"], "", "there is no inventories/nope; there are development, production, staging."),
        (["nope", "--set", "A"], VALUE, "there is no inventories/nope"),
        ([f"../{VALUE}"], "", "this is not an environment name"),
        (["--new", f"Q {VALUE}"], "", "lower-case letters, digits, - and _"),
        (["staging", "--set", f"API_TOKEN={VALUE}"], "", "that is not a name: letters, digits and _ only"),
        (["staging", "--set", "API_TOKEN", VALUE], "", "the value is not a word of the command"),
        (["staging", "--set", "API_TOKEN"], "", "the value is empty"),
        (["staging", "--set", "API_TOKEN"], "\n", "the value is empty"),
        (["staging", "--set", "API_TOKEN"], f"{VALUE}\0", "no environment variable can hold"),
        (["staging", "--set", "API_TOKEN"], VALUE.encode() + b"\xff", "not text in UTF-8"),
        (["staging", "--set", "GREETING"], VALUE, "GREETING is public, in flask_app_env"),
        (["staging", "--set", "flask_app_environment"], VALUE, "takes flask_app_environment from somewhere else"),
        (["staging", f"--{VALUE}"], "", "see script/secrets --help"),
        (["--list"], "", "see script/secrets --help"),
        (["production", "--set", "API_TOKEN"], VALUE, "make them with: script/secrets production"),
        (["production", "--list"], "", "make them with: script/secrets production"),
    ],
)
def test_an_impossible_change_is_reported_without_values_and_changes_nothing(
    unchanged: Clone, words: list[str], given: str | bytes, told: str
) -> None:
    before = unchanged.files()
    done = unchanged.secrets(*words, given=given)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("secrets: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert VALUE not in done.stdout + done.stderr
    assert unchanged.files() == before


def harm(clone: Clone, what: str) -> None:
    password, vault = clone.root / ".vault/staging", clone.vault("staging")
    if what == "no password":
        password.unlink()
    elif what == "wrong password":
        password.write_text("another")
    elif what == "no vault":
        vault.unlink()
    elif what == "plain vault":
        vault.write_text(f"vault_flask_app_secret_key: {VALUE}\n")
    elif what == "cut vault":
        vault.write_bytes(vault.read_bytes()[:200])
    elif what == "broken main.yml":
        clone.main("staging").write_text(f"a: [{VALUE}\n")


@pytest.mark.parametrize("words", [["staging"], ["staging", "--set", "API_TOKEN"]])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no password", r"password.* into \.vault/staging"),
        ("wrong password", r"can't be decrypted with the password in \.vault/staging; put the right one there"),
        ("no vault", "there is no inventories/staging/.*; make it with: script/secrets staging"),
        ("plain vault", "is not encrypted. Encrypt it with: ansible-vault encrypt inventories/staging"),
        ("cut vault", "can't be decrypted"),
        ("broken main.yml", "main.yml can't be read as YAML"),
    ],
)
def test_broken_files_are_reported_without_a_traceback(staging: Clone, words: list[str], what: str, told: str) -> None:
    harm(staging, what)
    before: dict[str, Any] = staging.files()
    done = staging.secrets(*words, given=VALUE)
    if what == "no vault" and words == ["staging"]:
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert re.search(told, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert VALUE not in done.stdout + done.stderr
    assert staging.files() == before


def test_a_value_from_another_store_is_not_changed_here(staging: Clone) -> None:
    mapped(staging, "staging", "API_TOKEN", f"\"{{{{ lookup('ansible.builtin.env', '{VALUE}') }}}}\"")
    done = staging.secrets("staging", "--set", "API_TOKEN", given=VALUE)
    assert done.returncode == 1
    assert "takes API_TOKEN from somewhere else than vault.yml" in done.stderr
    assert VALUE not in done.stderr


def test_help_needs_no_tools_and_missing_arguments_are_an_error(clone: Clone) -> None:
    (clone.root / ".venv/bin/python").unlink()
    asked = clone.run("script/secrets", "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    for option in ("--new", "--set", "--random", "--list"):
        assert option in asked.stdout
    nothing = clone.run("script/secrets")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (2, "", asked.stdout)


@pytest.mark.parametrize("name", ["all", "default", "group_vars"])
def test_an_environment_cannot_have_a_name_reserved_by_ansible(unchanged: Clone, name: str) -> None:
    done = unchanged.secrets("--new", name)
    assert done.returncode == 1
    assert f"{name} means something to Ansible" in done.stderr
    assert not (unchanged.root / "inventories" / name).exists()


def test_a_closed_standard_input_is_reported_in_one_sentence(staging: Clone) -> None:
    done = staging.run("sh", "-c", "script/secrets staging --set API_TOKEN <&-")
    assert done.returncode == 1
    assert "standard input is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_sqlite_database_of_a_new_environment_is_pointed_out(clone: Clone) -> None:
    assert "A file of SQLite: DATABASE_URL." in clone.secrets("--new", "qa").stdout
