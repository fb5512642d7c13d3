# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of docs/how-to/extend-group-vars.md works as the page says, and prints what the page shows.

Each part of the page gets a copy of the shipped inventories. Its blocks are used in their order: a YAML block is
written into the file that its first line names, a block of commands is typed as it is, and its output must match the
block that follows.
"""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import render

from tests.repository import repository
from tests.support.pages import Block, code_blocks

pytestmark = pytest.mark.slow

NAME = "docs/how-to/extend-group-vars.md"
PAGE = repository.text(NAME)
SPEC: dict[str, dict[str, Any]] = repository.load_yaml("roles/flask_app/meta/argument_specs.yml")["argument_specs"][
    "main"
]["options"]
#: The files that an example needs: copied where they may be changed, linked where they are only read.
COPIED = ("ansible.cfg", "collections/", "group_vars/", "inventories/", "playbooks/", "site.yml")
LINKED = ("meta", "plugins", "roles")
#: A separate vault id for the examples, whose password needs no script and no prompt.
PASSWORD = Path(repository.VAULT.partition("@")[2])
#: ansible-vault opens an editor only on a terminal, without this option.
NO_TERMINAL = 'ansible-vault() { command ansible-vault "$@" --skip-tty-check; }'
#: Each part has about one command, and a command waits for other processes about half the time.
AT_ONCE = 4


# The page


@dataclass(frozen=True)
class Part:
    """The blocks below one heading, up to the next heading of any level."""

    title: str
    blocks: tuple[Block, ...]


def parts(page: str) -> list[Part]:
    """Return the parts that have code blocks."""
    headings = re.split(r"^#{2,} (.*)\n", page, flags=re.MULTILINE)
    found = [Part(title, tuple(code_blocks(text))) for title, text in zip(headings[1::2], headings[2::2], strict=True)]
    return [part for part in found if part.blocks]


def is_edited(block: Block) -> bool:
    """Return whether it is typed into an editor that a command opened, instead of written into a plain file."""
    return block.language == "yaml" and block.path.endswith("/vault.yml")


PARTS = {part.title: part for part in parts(PAGE)}
ALL_BLOCKS = [block for part in PARTS.values() for block in part.blocks]


# Doing what the page says


@dataclass(frozen=True)
class Typed:
    """Commands that were typed: the output that the page shows, if any, and what they did."""

    commands: str
    shown: str
    code: int
    said: str
    complaint: str

    @property
    def by_host(self) -> dict[str, Any]:
        """Return the output of Ansible's debug module for each host."""
        answers = re.findall(r"^(\S+) \| SUCCESS => *\n((?: .*\n)+)", self.said, re.MULTILINE)
        return {host: yaml.safe_load(answer) for host, answer in answers}


@dataclass(frozen=True)
class Done:
    """A part that was run: the resulting copy of the repository, and what was typed."""

    clone: Path
    typed: list[Typed]


def put(block: Block, clone: Path) -> None:
    """Put the lines of a block into its file; they replace lines of the same names, and all others stay."""
    path = clone / block.path
    whole = block.content.startswith("---\n")
    before = "" if whole or not path.exists() else path.read_text(encoding="utf-8")
    names = yaml.safe_load(block.content).keys()
    kept = [lines for lines in re.split(r"^(?=\w+:)", before, flags=re.MULTILINE) if lines.split(":")[0] not in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(kept) + block.content, encoding="utf-8")


def type_in(commands: str, clone: Path, editor: str) -> tuple[int, str, str]:
    """Type commands like a reader with an activated venv; the vault password is given, and nothing else prompts."""
    done = repository.run(
        *("bash", "-e", "-o", "pipefail", "-c", f"{NO_TERMINAL}\n{commands}"),
        directory=clone,
        PATH=f"{repository.tool('python').parent}:{os.environ['PATH']}",
        EDITOR=editor,
        ANSIBLE_VAULT_IDENTITY_LIST=f"staging@{PASSWORD}",
    )
    return done.returncode, done.stdout, done.stderr


def do(part: Part, clone: Path) -> Done:
    """Run a part in its order. Text for an editor is shown after the command that opens the editor."""
    repository.copy([name for name in repository.tracked() if name.startswith(COPIED)], clone)
    for name in LINKED:
        (clone / name).symlink_to(repository.ROOT / name)
    secret = clone / "typed-into-the-editor"
    typed: list[Typed] = []
    for block, following in zip(part.blocks, (*part.blocks[1:], Block("", "")), strict=True):
        if block.language == "yaml" and not is_edited(block):
            put(block, clone)
        elif block.language == "sh":
            if is_edited(following):
                secret.write_text(following.content, encoding="utf-8")
            shown = following.text if following.language == "text" else ""
            typed.append(Typed(block.text, shown, *type_in(block.text, clone, f"cp {secret}")))
    return Done(clone, typed)


def answers(text: str) -> list[str]:
    """Split an output at unindented lines and sort the parts: Ansible prints hosts in the order they get ready.

    The hosts in the list of a play have no fixed order either.
    """
    lines = "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())
    cut = re.split(r"^(?=\S)", lines, flags=re.MULTILINE)
    return sorted("\n".join(sorted(part.splitlines())) if " hosts (" in part else part for part in cut)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Run all parts, several at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        clones = [tmp_path_factory.mktemp("clone") for _ in PARTS]
        return dict(zip(PARTS, pool.map(do, PARTS.values(), clones), strict=True))


def test_the_page_has_its_examples() -> None:
    assert len(PARTS) >= 7
    assert {block.language for block in ALL_BLOCKS} == {"yaml", "sh", "text"}


def test_every_code_block_is_executed() -> None:
    for part in PARTS.values():
        for before, block in zip((Block("", ""), *part.blocks), part.blocks, strict=False):
            if block.language == "yaml":
                assert re.fullmatch(r"(inventories/\w+/)?(group_vars|host_vars|hosts\.yml)[\w./]*", block.path), block
            if block.language == "text":
                assert before.language == "sh", f"{part.title}: what prints this? {block.text}"


@pytest.mark.parametrize("title", PARTS)
def test_each_command_prints_what_the_page_shows(title: str, done: dict[str, Done]) -> None:
    for typed in done[title].typed:
        assert typed.code == 0, f"{typed.commands}\n{typed.said}{typed.complaint}"
        assert answers(typed.said) == answers(typed.shown), typed.commands
    assert any(typed.shown for typed in done[title].typed), "a part with files and nothing to see"


def test_a_host_variable_reaches_the_app_alongside_the_group_variables(done: dict[str, Done]) -> None:
    [typed] = done["The way"].typed
    environment = {host: render(values["flask_app_env"]) for host, values in typed.by_host.items()}
    assert environment == {
        "staging1": "GREETING='Hello from staging'\n",
        "staging2": "GREETING='Hello from staging'\nSEARCH='on'\n",
    }


def test_text_typed_into_the_editor_is_encrypted_in_the_vault(done: dict[str, Done]) -> None:
    vaults = [(title, block) for title, part in PARTS.items() for block in part.blocks if is_edited(block)]
    assert vaults
    for title, block in vaults:
        encrypted = (done[title].clone / block.path).read_bytes()
        secret = VaultSecret(PASSWORD.read_bytes().strip())
        assert VaultLib([("staging", secret)]).decrypt(encrypted).decode() == block.content
        assert encrypted.startswith(b"$ANSIBLE_VAULT;1.2;AES256;staging\n")


def test_no_example_creates_a_file_hidden_by_a_directory(done: dict[str, Done]) -> None:
    for title, part in done.items():
        directories = [path for path in part.clone.glob("inventories/*/*_vars/*") if path.is_dir()]
        assert [path for path in directories if path.with_suffix(".yml").exists()] == [], title


def test_each_documented_value_is_accepted_by_the_role() -> None:
    known = {name: {**option, "required": False} for name, option in SPEC.items()}
    for block in ALL_BLOCKS:
        values = yaml.safe_load(block.content) if block.language == "yaml" else {}
        ours = {name: value for name, value in values.items() if name.startswith("flask_app_")}
        final = {name: value for name, value in ours.items() if "{{" not in str(value)}
        assert ArgumentSpecValidator(known).validate(final).error_messages == [], block.path


def test_the_key_of_each_app_is_rotated_in_its_own_vault() -> None:
    name = "flask_app_rotation_vault_file"
    files = {block.path: yaml.safe_load(block.content)[name] for block in ALL_BLOCKS if f"\n{name}: " in block.text}
    assert files
    for path, vault in files.items():
        assert vault == f"{{{{ inventory_dir }}}}/{path.replace('/main.yml', '/vault.yml')}"


# Which place wins

HOSTS = "inventories/staging/hosts.yml"
CANARY = "a group below `flask_app`"
#: Each row's text -> the file that sets the value. Empty: the inventory, the play or its command line sets it.
PLACES = {
    "`roles/flask_app/defaults/main.yml`": "roles/flask_app/defaults/main.yml",
    "`vars:` of a group in `inventories/<environment>/hosts.yml`": "",
    "`inventories/<environment>/group_vars/all/`": "inventories/staging/group_vars/all/main.yml",
    "`group_vars/all/`": "group_vars/all/main.yml",
    "`inventories/<environment>/group_vars/flask_app/`": "inventories/staging/group_vars/flask_app/main.yml",
    f"`inventories/<environment>/group_vars/<group>/`, {CANARY}": "inventories/staging/group_vars/canary/main.yml",
    "`group_vars/<group>/`, the group `flask_app`": "group_vars/flask_app/main.yml",
    f"`group_vars/<group>/`, {CANARY}": "group_vars/canary/main.yml",
    "the host's own lines in `inventories/<environment>/hosts.yml`": "",
    "`inventories/<environment>/host_vars/`": "inventories/staging/host_vars/staging1/main.yml",
    "`vars:` of the play": "",
    "`vars_files:` of the play": "playbooks/vars.yml",
    "`roles/flask_app/vars/`": "roles/flask_app/vars/main.yml",
    "`vars:` of the task that calls the role": "",
    "`-e` on the command line": "",
}
#: The page's other statements about places: name of a variable, the files that set it, the file that wins.
SAID = {
    "side_by_side": ("group_vars/large/main.yml", "group_vars/canary/main.yml", "group_vars/large/main.yml"),
    "beside_a_directory": ("host_vars/staging1.yml", ""),
}


def rows() -> list[str]:
    [table] = re.findall(r"^\| place \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return re.findall(r"^\| (.*?) \|", table, re.MULTILINE)


def write(clone: Path, name: str, content: Any) -> None:
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    with (clone / name).open("a", encoding="utf-8") as stream:
        stream.write(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def winners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run a play whose role prints its variables; each row of the table and the next one set the same variable."""
    clone = tmp_path_factory.mktemp("places")
    values = {row: {f"row{at}": row, f"row{at + 1}": row} for at, row in enumerate(rows())}
    group, host, play, task, line = (values[row] for row in PLACES if not PLACES[row])
    repository.copy(["ansible.cfg", "playbooks/group_vars"], clone)
    both = {name: {"hosts": {"staging1": None}} for name in ("canary", "large")}
    write(clone, HOSTS, {"flask_app": {"children": both, "hosts": {"staging1": host}, "vars": group}})
    for row, path in PLACES.items():
        if path:
            write(clone, path, values[row])
    for name, (*paths, _) in SAID.items():
        for path in paths:
            write(clone, f"inventories/staging/{path}", {name: path})
    names = [*(f"row{at}" for at in range(1, len(values))), *SAID]
    tell = "{{ dict(names | zip(query('ansible.builtin.vars', *names, default=''))) | to_json }}"
    write(clone, "roles/flask_app/tasks/main.yml", [{"ansible.builtin.debug": {"msg": tell}}])
    call = {"ansible.builtin.import_role": {"name": "flask_app"}, "vars": {**task, "names": names}}
    given = {"vars": play, "vars_files": ["vars.yml"]}
    write(clone, "playbooks/deploy.yml", [{"hosts": "flask_app", "gather_facts": False, **given, "tasks": [call]}])
    options = ["--inventory=inventories/staging", "--extra-vars", json.dumps(line), "playbooks/deploy.yml"]
    ran = repository.run(
        repository.tool("ansible-playbook"), *options, directory=clone, ANSIBLE_CALLBACK_RESULT_FORMAT="json"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [told] = re.findall(r"^ok: .* => (\{.*?^\})", ran.stdout, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = json.loads(json.loads(told)["msg"])
    return found


def test_the_table_lists_exactly_the_tested_places() -> None:
    assert sorted(rows()) == sorted(PLACES)


@pytest.mark.parametrize("at", range(1, len(PLACES)))
def test_each_place_overrides_the_one_above_it(at: int, winners: dict[str, Any]) -> None:
    assert winners[f"row{at}"] == rows()[at]


@pytest.mark.parametrize("name", SAID)
def test_the_documented_file_of_two_takes_precedence(name: str, winners: dict[str, Any]) -> None:
    assert winners[name] == SAID[name][-1]


# The rest of what the page says


def test_no_play_gathers_facts() -> None:
    plays = [play for name in repository.matching("playbooks/*.yml") for play in repository.load_yaml(name)]
    assert [play["name"] for play in plays if play.get("gather_facts") is not False] == []
    tasks = [repository.text(name) for name in repository.matching("roles/flask_app/tasks/*.yml")]
    assert tasks
    assert [text for text in tasks if re.search(r"builtin\.(setup|gather_facts)\b", text)] == []
