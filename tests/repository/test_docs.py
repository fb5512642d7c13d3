# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the documentation shows works: commands, settings, examples, picture. For names, see test_house_rules.

script/docs checks the links between pages when it builds the site.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, Target, get
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract, Patience, prove

from tests.repository import repository
from tests.support.deployed import Played
from tests.support.pages import code_blocks

ROOT = repository.ROOT
#: The pages written by hand; those of variables and findings are generated.
PAGES = sorted({"README.md", *repository.matching("docs/**/*.md")} - {"docs/reference/variables.md"})
TEXTS = {name: repository.text(name) for name in PAGES}
MAIN = "roles/flask_app/tasks/main.yml"
LANGUAGES = {"ini", "nginx", "python", "sh", "text", "toml", "yaml"}
SPEC: dict[str, dict[str, Any]] = repository.load_yaml("roles/flask_app/meta/argument_specs.yml")["argument_specs"][
    "main"
]["options"]
#: Flask and Gunicorn in the example app's versions. script/test makes this venv before it calls pytest.
FLASK = ROOT / "build/guestbook-venv/bin/python"


def blocks(language: str, *pages: str) -> list[str]:
    """Return the code blocks of a language, in order, from some pages or all."""
    found = [block for name in pages or PAGES for block in code_blocks(TEXTS[name])]
    return [block.text for block in found if block.language == language]


def section(page: str, title: str) -> str:
    """Return a section of the second level, without its heading."""
    [found] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXTS[page], re.MULTILINE | re.DOTALL)
    return str(found)


def typed(*pages: str) -> list[str]:
    """Return the commands typed on the reader's machine, each on one line."""
    found = [block for name in pages or PAGES for block in code_blocks(TEXTS[name])]
    here = [block.text for block in found if block.language == "sh" and not block.is_on_server]
    lines = [line for block in here for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def commands(program: str, *pages: str) -> list[str]:
    """Return the shown commands that start with a word."""
    return sorted({line for line in typed(*pages) if re.match(rf"{program}\b", line)})


def variables(block: str) -> dict[str, Any]:
    """Return the role's variables that a YAML block sets, at its top level or in a play."""
    content = yaml.safe_load(block)
    tasks = [task for each in content for task in each.get("tasks", [each])] if isinstance(content, list) else []
    places = [task.get("vars", {}) for task in tasks]
    places += [content] if isinstance(content, dict) else []
    return {name: value for place in places for name, value in place.items() if name.startswith("flask_app_")}


SCRIPTS = sorted({*commands("script/"), *re.findall(r"`(script/[\w-]+(?: [^`]+)?)`", "\n".join(TEXTS.values()))})
PLAYS = commands("ansible-playbook")
YAML = blocks("yaml")


#: Lists the tasks of plays like ansible-playbook, but imports Ansible only once. Of several commands with the same
#: inventory and playbook, it runs only the first, and only parses the words of the others.
LIST_TASKS = """
import contextlib, io, json, os, sys
from ansible.cli.playbook import PlaybookCLI

seen = set()
for line in sys.stdin:
    words = json.loads(line)
    new = str(words[:3]) not in seen
    seen.add(str(words[:3]))
    if os.fork() == 0:
        said, code = io.StringIO(), 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                play = PlaybookCLI(["ansible-playbook", *words, "--list-tasks"])
                code = play.run() if new else play.parse()
            except BaseException as error:
                code = repr(error)
        print(json.dumps([code or 0, said.getvalue()]), flush=True)
        os._exit(0)
    os.wait()
"""


@cache
def listed(directory: Path) -> dict[str, str]:
    """Return the output of the plays shown for a directory."""
    words = {play: shlex.split(play)[1:] for play in PLAYS if ("inventories/" in play) is (directory == ROOT)}
    done = repository.run(
        *(repository.tool("python"), "-c", LIST_TASKS),
        directory=directory,
        given="".join(f"{json.dumps(each)}\n" for each in words.values()),
        ANSIBLE_COLLECTIONS_PATH="collections",
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = {}
    for (play, each), line in zip(words.items(), done.stdout.splitlines(), strict=True):
        code, said = json.loads(line)
        assert code == 0, f"{play}: {code}\n{said}"
        found[play] = said or next(found[like] for like in words if words[like][:3] == each[:3])
    return found


ELSEWHERE = "docs/how-to/other-repository.md"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make another repository as its page says: the installed collection, an inventory, a playbook, but no vault."""
    directory = tmp_path_factory.mktemp("elsewhere")
    repository.copy(repository.tracked(), directory / "path/to/greenlight")
    [command] = commands("ansible-galaxy", ELSEWHERE)
    _, *words = shlex.split(command)
    options = ("--offline", "--collections-path", directory / "collections")
    done = repository.run(repository.tool("ansible-galaxy"), *words, *options, directory=directory)
    assert done.returncode == 0, done.stderr
    named = {block.partition("\n")[0].removeprefix("# "): block for block in blocks("yaml", ELSEWHERE)}
    for name in ("deploy.yml", "site.yml", "staging/hosts.yml", "staging/group_vars/flask_app/main.yml"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(named[name], encoding="utf-8")
    return directory


# The pages


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_its_language(page: str) -> None:
    fences = re.findall(r"^ *```(.*)$", TEXTS[page], re.MULTILINE)
    assert {*fences[::2]} <= LANGUAGES
    assert {*fences[1::2]} <= {""}


def test_the_first_page_leads_to_each_other() -> None:
    linked = {f"docs/{link}" for link in re.findall(r"\]\(([\w/-]+\.md)\)", TEXTS["docs/README.md"])}
    pages = {*repository.matching("docs/**/*.md")} - {"docs/README.md"}
    assert pages - linked == set()


@pytest.mark.parametrize("name", repository.matching("*.md", "benchmarks/*.md", "examples/**/*.md", "tests/**/*.md"))
def test_a_link_beside_the_site_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", repository.text(name))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


# Settings and examples


def test_the_reference_has_a_heading_for_each_variable() -> None:
    page = repository.text("docs/reference/variables.md")
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == list(SPEC)


@pytest.mark.parametrize("block", YAML)
def test_each_documented_value_is_accepted_by_the_role(block: str) -> None:
    shown = {name: value for name, value in variables(block).items() if "{{" not in str(value)[:2]}
    known = {name: {**option, "required": False} for name, option in SPEC.items()}
    assert ArgumentSpecValidator(known).validate(shown).error_messages == []
    assert shown.get("flask_app_health_fields", {}).keys() <= SPEC["flask_app_health_fields"]["default"].keys()


@pytest.mark.parametrize("block", YAML)
def test_a_block_of_settings_says_its_file(block: str) -> None:
    assert re.match(r"# [\w./<>-]+\.yml\n", block)


@pytest.mark.parametrize("block", blocks("python"))
def test_a_block_of_python_says_its_file_and_is_python(block: str) -> None:
    assert re.match(r"# [\w./-]+\.py(, \w+)?\n", block)
    ast.parse(block)


@pytest.mark.parametrize("block", blocks("sh"))
def test_a_block_of_commands_is_one(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_sandbox_has_the_setting_that_the_example_overrides() -> None:
    unit = repository.text("roles/flask_app/templates/etc/systemd/system/app@release.service.j2")
    shown = [found[name] for found in map(variables, YAML) for name in found if name.endswith("service_settings")]
    off = [(name, value) for settings in shown for name, value in settings.items() if value == "no"]
    assert off
    for name, value in off:
        assert f"\n{name}=" in unit
        assert f"\n{name}={value}\n" not in unit


# Commands


PLAYBOOKS = "docs/reference/playbooks.md"


def test_the_table_lists_every_playbook() -> None:
    shown = dict(re.findall(r"^\| `(\S+)` \| `(\S+)` \|", section(PLAYBOOKS, "Playbooks"), re.MULTILINE))
    ours = {Path(name).stem for name in repository.matching("playbooks/*.yml")} - {"throwaway_servers"}
    names = {"site.yml" if name == "deploy" else f"playbooks/{name}.yml": f"greenlight.flask.{name}" for name in ours}
    assert shown == names


def test_the_documents_contain_each_kind_of_command() -> None:
    assert len(SCRIPTS) >= 4
    assert len(PLAYS) >= 3


#: Programs whose commands only readers try: they need a network, a terminal or a server.
TRIED_BY_READERS = {
    "cd", "curl", "echo", "flask", "git", "gunicorn", "mkdir", "mv", "openssl", "pip", "python3", "ssh", "ssh-keygen",
    "ssh-keyscan", "uv",
}  # fmt: skip
CHECKED_HERE = {
    "script",
    "source",
    "ansible",
    *(f"ansible-{more}" for more in ("inventory", "playbook", "galaxy", "vault")),
}


def test_every_command_shown_is_of_a_program_that_somebody_checks() -> None:
    program = re.compile(r"(?:\w+=\S+ )*(?:\S*\.venv/bin/)?([\w-]+)")
    words = {line: match[1] for line in typed() if (match := program.match(line))}
    assert [line for line in typed() if words.get(line) not in CHECKED_HERE | TRIED_BY_READERS] == []


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_documented_script_exists_with_its_options(command: str) -> None:
    script, *words = shlex.split(command)
    assert os.access(ROOT / script, os.X_OK)
    for before, word in zip(["", *words], words, strict=False):
        if before in ("--new", "--set"):  # a name that doesn't exist yet follows
            continue
        environment = ROOT / "inventories" / word
        assert word in repository.text(script) if word.startswith("-") else environment.is_dir(), word


@pytest.mark.parametrize("command", PLAYS)
def test_every_documented_play_loads(command: str, elsewhere: Path) -> None:
    said = listed(ROOT if "inventories/" in command else elsewhere)[command]
    other = {
        "compare.yml": "flask_app : compare | ",
        "doctor.yml": "flask_app : doctor | ",
        "maintenance.yml": "flask_app : maintenance | ",
        "releases.yml": "Print the releases",
        "unlock.yml": "Break the lock",
        "verify.yml": "flask_app : verify | ",
    }
    expected = next((told for name, told in other.items() if name in command), "flask_app : switch | ")
    assert expected in said


@pytest.mark.slow
@pytest.mark.parametrize("playbook", ["greenlight.flask.deploy", "deploy.yml"])
def test_a_playbook_in_another_repository_runs_the_installed_role(playbook: str, elsewhere: Path) -> None:
    """It runs as far as its preflight, which misses only what the reader supplies: a vault, an app, a host."""
    words = ("-i", "staging", playbook, "--connection=local", "--extra-vars={ansible_become: false}")
    ansible = repository.tool("ansible-playbook")
    done = repository.run(ansible, *words, directory=elsewhere, ANSIBLE_COLLECTIONS_PATH="collections")
    assert done.returncode != 0
    told = Played(done.returncode, done.stdout + done.stderr)
    wrong = {("unreadable-variable", "flask_app_secrets"), ("unfit-source", "flask_app_source_directory")}
    assert {each for each in told.findings if each[1].startswith("flask_app_")} == wrong, told.output
    assert "vault_flask_app_secret_key" in told.output


def test_the_secrets_to_edit_match_those_the_script_creates() -> None:
    [edit] = commands("ansible-vault edit", "docs/how-to/secrets.md")
    made = map(shlex.split, commands("script/secrets", "docs/how-to/secrets.md"))
    script, environment = next(words for words in made if len(words) == 2)
    told = repository.run(ROOT / script, "--help", directory=ROOT).stdout
    assert f"  {edit}\n" in told.replace("<environment>", environment)


def test_the_documented_venv_is_the_one_of_the_scripts() -> None:
    [command] = commands("source")
    assert command == "source .venv/bin/activate"
    assert "$repository/.venv" in repository.text("script/lib.sh")


# The example


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_the_example_app_meets_the_contract_under_gunicorn(environment: str, tmp_path: Path) -> None:
    assert FLASK.exists(), "script/test fast makes what this needs"
    [example] = blocks("python", "docs/reference/app-contract.md")
    name = SPEC["flask_app_wsgi"]["default"].split(":")[0]
    assert example.startswith(f"# {name}.py\n")
    (tmp_path / f"{name}.py").write_text(example, encoding="utf-8")
    socket = tmp_path / "socket"
    settings = f"bind = 'unix:{socket}'\ncontrol_socket_disable = True\n"
    (tmp_path / "gunicorn.conf.py").write_text(settings, encoding="utf-8")
    given = {
        SPEC["flask_app_environment_variable"]["default"]: environment,
        SPEC["flask_app_revision_variable"]["default"]: "r1",
        SPEC["flask_app_release_variable"]["default"]: "20261121T094420Z-1a2b3c4d",
        "SECRET_KEY": "for-this-test",
    }
    contract = Contract(
        environment=environment,
        debug=environment == "development",
        revision="r1",
        release="20261121T094420Z-1a2b3c4d",
        fields=SPEC["flask_app_health_fields"]["default"],
    )
    target = Target(str(socket), "hello.example.org", "/health")
    command = [FLASK, "-m", "gunicorn", SPEC["flask_app_wsgi"]["default"]]
    with subprocess.Popen(command, cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True) as gunicorn:
        try:
            proof = prove(
                lambda seconds, worth: get(target, seconds, worth),
                contract,
                Patience(start_seconds=20, probe_seconds=5, successes=1, probes=1, interval_seconds=0),
                alive=lambda: gunicorn.poll() is None,
            )
        finally:
            gunicorn.terminate()
        _, journal = gunicorn.communicate(timeout=20)
    assert proof.kept, f"{proof.failures}\n{journal}"


def test_the_documented_reason_matches_a_wrong_environment() -> None:
    contract = Contract("staging", False, "r1", "", fields=SPEC["flask_app_health_fields"]["default"])
    answer = Answer(200, '{"env": "production", "debug": false, "revision": "r1"}', 0.0)
    [failure] = contract.failures(answer)
    assert f"`{failure}`" in TEXTS["docs/explanation/guarantees.md"]


# The flow and the tags


@pytest.mark.parametrize(("page", "title"), [("README.md", "A deploy"), ("docs/reference/role.md", "The flow")])
def test_the_diagram_shows_the_steps_of_the_role_in_order(page: str, title: str) -> None:
    deploy, _absent = repository.load_yaml(MAIN)
    tasks = [*deploy["block"], *deploy["always"]]
    [picture] = re.findall(r"```text\n(.*?)```", section(page, title), re.DOTALL)
    drawn = re.findall(r"^([= ]) (\S.*?) *(?:  .*|[┐│┘=].*)?$", picture, re.MULTILINE)
    assert [words for _, words in drawn] == [task["name"] for task in tasks]
    [switch] = [task["name"] for task in tasks if task["ansible.builtin.import_tasks"] == "switch.yml"]
    assert [words for mark, words in drawn if mark == "="] == [switch]


def test_tags_are_set_as_the_table_says() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section(PLAYBOOKS, "Tags"), re.MULTILINE) == ["flask_app", "always"]
    said = listed(ROOT)["ansible-playbook -i inventories/staging site.yml"]
    found = re.findall(r"flask_app : (\w+) \| .*TAGS: \[(.*)\]", said)
    assert found
    for step, tags in found:
        always = step in ("preflight", "failure", "unlock")
        assert tags == ("always, flask_app" if always else "flask_app"), step


# Platforms


def test_the_documented_platforms_are_the_tested_ones() -> None:
    said = section("docs/reference/platforms.md", "Supported platforms")
    hosts = repository.load_yaml("molecule/default/inventory/hosts.yml")["flask_app"]["hosts"]
    assert re.findall(r"Debian (\d+)", said) == sorted(name.removeprefix("debian") for name in hosts)
    [core] = re.findall(r"ansible-core ([\d.]+)", said)
    assert core in repository.load_yaml("meta/runtime.yml")["requires_ansible"]
    assert f"ansible-core=={core}." in repository.text("requirements/controller.txt")
    [python] = re.findall(r"Python ([\d.]+)", said)
    assert f"sys.version_info < ({python.replace('.', ', ')})" in repository.text("script/lib.sh")
