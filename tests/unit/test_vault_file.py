# SPDX-License-Identifier: GPL-3.0-or-later
"""One value of a vault file is changed and reads back exactly, and everything else stays byte for byte."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.plugin_utils._vault.file import (
    VaultFile,
    WrongPasswordError,
    parsed,
    scalar,
    with_value,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.killing import killed

NAME = "vault_flask_app_api_token"
OLD = "hunter2-the-old-value"
NEW = "hunter2-the-new-value"
PASSWORDS = {"staging": VaultSecret(b"hunter2 of staging"), "default": VaultSecret(b"hunter2 of all")}
PATH = Path("vault.yml")
#: What an environment variable can hold: any text but NUL.
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
#: Other lines of a vault file, as people write them.
OTHERS = [
    "# a comment",
    f"# {NAME}: {OLD}",
    "",
    "plain: text # and why",
    "quoted: 'it''s # no comment'",
    f'double: "{NAME}: \\" x"',
    f"{NAME}_of_another: x",
    f"my_{NAME}: y",
    f"nested:\n  {NAME}: x",
    "block: |\n  one\n\n  # two",
    "folded: >-\n  one\n  two",
    "list:\n- 1\n- [2, 3]",
    "nothing:",
    "template: '{{ elsewhere }}'",
    "literal: !unsafe '{{ no template }}'",
    "é: ☺",
]
#: The old value, as people write it.
WRITTEN = [OLD, f"'{OLD}'", f'"{OLD}"', f"{OLD} # each November", "", "# none yet", f"!unsafe '{OLD}'",
           f"|\n  {OLD}\n  {OLD}", f">-\n  {OLD}\n", f"|+\n  {OLD}\n\n", f"{OLD}\n  {OLD}", "17", "null"]  # fmt: skip


class Vault:
    """A vault file and this run's passwords."""

    def __init__(self, directory: Path, *ids: str) -> None:
        self.file = VaultFile(directory / "vault.yml", VaultLib([(name, PASSWORDS[name]) for name in ids]))

    def holds(self, text: str, vault_id: str | None = "staging", password: str = "staging") -> bytes:
        encrypted: bytes = VaultLib().encrypt(text, PASSWORDS[password], vault_id=vault_id)
        self.file.path.write_bytes(encrypted)
        self.file.path.chmod(0o640)
        return encrypted

    @property
    def text(self) -> str:
        return str(VaultLib(list(PASSWORDS.items())).decrypt(self.file.path.read_bytes()).decode())

    @property
    def value(self) -> object:
        return parsed(self.text, PATH)[NAME]


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path, *PASSWORDS)


# The text


@given(
    before=st.lists(st.sampled_from(OTHERS), unique=True),
    written=st.sampled_from(WRITTEN),
    after=st.lists(st.sampled_from(OTHERS), unique=True),
    value=VALUES,
    end=st.sampled_from(["", "\n", "\n\n\n"]),
)
def test_a_changed_value_is_exact_and_other_lines_stay_unchanged(
    before: list[str], written: str, after: list[str], value: str, end: str
) -> None:
    after = [line for line in after if line not in before]
    head, tail = "\n".join(["---", *before, ""]), "\n".join(["", *after]) + end
    if written.endswith("\n"):  # of a block; the rest begins with the line break that ends it
        written, tail = written.rstrip("\n"), written[len(written.rstrip("\n")) :] + tail.removeprefix("\n")
    changed = with_value(f"{head}{NAME}: {written}{tail}", NAME, scalar(value))
    assert changed is not None
    assert changed.startswith(f"{head}{NAME}:")
    assert changed.endswith(tail)
    comment = "".join(re.findall(r" ?# .*\Z", written)[:1])
    middle = changed[len(head) : len(changed) - len(tail)]
    assert middle in (f"{NAME}: {scalar(value)}{comment}", f"{NAME}: {scalar(value)} {comment}")
    wanted = dict(parsed(f"{head}{NAME}: x{tail}", PATH))
    assert parsed(changed, PATH) == {**wanted, NAME: value}


@given(before=st.lists(st.sampled_from(OTHERS), unique=True), value=VALUES, end=st.sampled_from(["", "\n", "\n\n\n"]))
def test_an_added_value_gets_its_own_line_at_the_end(before: list[str], value: str, end: str) -> None:
    text = "\n".join(before) + end
    changed = with_value(text, NAME, scalar(value))
    assert changed is not None
    added = changed.removeprefix(text)
    assert added.removeprefix("\n") == f"{NAME}: {scalar(value)}\n"
    was = {} if not parsed(text, PATH) else dict(parsed(text, PATH))
    assert parsed(changed, PATH) == {**was, NAME: value} or not text.endswith("\n")


@pytest.mark.parametrize("text", ["", "---\n", "# nothing yet\n", "---\n# nothing yet"])
def test_an_empty_file_gets_its_first_value(text: str) -> None:
    changed = with_value(text, NAME, scalar(NEW))
    assert changed is not None
    assert changed.startswith(text)
    assert parsed(changed, PATH) == {NAME: NEW}


def test_line_endings_of_another_system_are_kept_and_used() -> None:
    changed = with_value(f"a: 1\r\n{NAME}: {OLD}\r\nb: 2\r\n", NAME, "x")
    assert changed == f"a: 1\r\n{NAME}: x\r\nb: 2\r\n"
    assert with_value("a: 1\r\n", NAME, "x") == f"a: 1\r\n{NAME}: x\r\n"


def read_by_ansible(tmp_path: Path, written: str) -> object:
    """Return a value as Ansible reads it, from a variables file whose templates it trusts."""
    path = tmp_path / "vars.yml"
    path.write_bytes(f"{NAME}: {written}\n".encode())
    loader = DataLoader()
    variables = loader.load_from_file(str(path), cache="none", trusted_as_template=True)
    return Templar(loader=loader, variables=variables).template(variables[NAME])


@given(value=VALUES)
def test_ansible_reads_any_value_as_exactly_the_same_text(tmp_path: Path, value: str) -> None:
    assert "\n" not in scalar(value)
    assert read_by_ansible(tmp_path, scalar(value)) == value


@pytest.mark.parametrize(
    "value", ["{{ 1 + 1 }}", "{% raw %}", "a{#b", "{{", "17", "true", "~", "", " x ", "a: b", "'\"\\"]
)
def test_a_value_that_looks_like_another_type_is_text_to_ansible(tmp_path: Path, value: str) -> None:
    assert read_by_ansible(tmp_path, scalar(value)) == value


# The file


@pytest.mark.parametrize(
    ("vault_id", "password", "header"),
    [
        ("staging", "staging", "$ANSIBLE_VAULT;1.2;AES256;staging"),
        ("of-somebody-else", "staging", "$ANSIBLE_VAULT;1.2;AES256;of-somebody-else"),
        (None, "default", "$ANSIBLE_VAULT;1.1;AES256"),
    ],
)
def test_the_file_keeps_its_vault_id_its_password_and_its_mode(
    vault: Vault, vault_id: str | None, password: str, header: str
) -> None:
    vault.holds(f"{NAME}: {OLD}\n", vault_id, password)
    vault.file.put(NAME, NEW)
    assert vault.file.path.read_text().splitlines()[0] == header
    assert vault.file.path.stat().st_mode & 0o7777 == 0o640
    assert os.listdir(vault.file.path.parent) == ["vault.yml"]
    assert Vault(vault.file.path.parent, password).file.values() == {NAME: NEW}


def test_a_link_to_a_vault_file_stays_a_link(vault: Vault) -> None:
    vault.holds(f"{NAME}: {OLD}\n")
    vault.file.path.symlink_to(vault.file.path.rename(vault.file.path.with_name("of-two.yml")).name)
    vault.file.put(NAME, NEW)
    assert vault.file.path.is_symlink()
    assert vault.value == NEW


def test_no_plain_text_is_ever_written(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.holds(f"{NAME}: {OLD}\n")
    written: list[str] = []
    module = "ansible_collections.greenlight.flask.plugins.plugin_utils._vault.file"
    monkeypatch.setattr(f"{module}.write", lambda path, content, mode: written.append(content))
    vault.file.put(NAME, NEW)
    [content] = written
    assert content.startswith("$ANSIBLE_VAULT;")
    assert "hunter2" not in content


def test_a_killed_change_leaves_the_old_or_the_new_vault_file(tmp_path: Path) -> None:
    change = 0
    while True:
        change += 1
        vault = Vault(tmp_path, "staging")
        vault.holds(f"{NAME}: {OLD}\nother: 1\n")
        ended = not killed(change, lambda vault=vault: vault.file.put(NAME, NEW))  # type: ignore[misc]
        assert vault.text in (f"{NAME}: {OLD}\nother: 1\n", f'{NAME}: "{NEW}"\nother: 1\n')
        for name in os.listdir(tmp_path):
            assert b"hunter2" not in (tmp_path / name).read_bytes()
        vault.file.put(NAME, NEW)
        assert os.listdir(tmp_path) == ["vault.yml"]
        if ended:
            break
    assert change > 3


@pytest.mark.parametrize(
    "text",
    [
        f"{NAME}: &key {OLD}\nother: *key\n",
        f"{NAME}: {OLD}\nother: 1\n{NAME}: {OLD}\n",
        f"{{{NAME}: {OLD}, other: 1}}\n",
        "{other: 1}\n",
        f"{NAME}: [{OLD}]\n",
        f"{NAME}:\n  - {OLD}\n",
        f"{NAME}:\n  a: {OLD}\n",
        "---\nother: 1\n...\n",
        f"other: !include {OLD}\n",
        f"{NAME}: {OLD}\n  bad: [{OLD}\n",
        f"- {OLD}\n",
        f"{OLD}\n",
        f"when: 2026-99-99\n{NAME}: {OLD}\n",
    ],
)
def test_a_file_that_cannot_be_changed_safely_is_left_unchanged(vault: Vault, text: str) -> None:
    before = vault.holds(text)
    with pytest.raises(GreenlightError) as refused:
        vault.file.put(NAME, NEW)
    assert str(vault.file.path) in str(refused.value)
    assert "hunter2" not in f"{refused.value}{refused.value.__cause__}"
    assert vault.file.path.read_bytes() == before
    assert os.listdir(vault.file.path.parent) == ["vault.yml"]


def test_a_file_to_change_by_hand_is_reported_with_instructions(vault: Vault) -> None:
    vault.holds(f"{NAME}: [{OLD}]\n")
    with pytest.raises(GreenlightError, match=f"{NAME} .* by hand: ansible-vault edit {vault.file.path}"):
        vault.file.put(NAME, NEW)


def test_a_wrong_password_is_distinguished(vault: Vault) -> None:
    before = vault.holds(f"{NAME}: {OLD}\n")
    with pytest.raises(WrongPasswordError):
        Vault(vault.file.path.parent, "default").file.put(NAME, NEW)
    assert vault.file.path.read_bytes() == before


def test_a_file_in_plain_text_is_refused(vault: Vault) -> None:
    vault.file.path.write_text(f"{NAME}: {OLD}\n")
    with pytest.raises(GreenlightError, match="is not encrypted"):
        vault.file.put(NAME, NEW)
    assert vault.file.path.read_text() == f"{NAME}: {OLD}\n"


def test_bytes_that_are_not_text_are_refused_without_being_shown(vault: Vault) -> None:
    encrypted = VaultLib().encrypt(b"hunter2: \xff\xfe", PASSWORDS["staging"], vault_id="staging")
    vault.file.path.write_bytes(encrypted)
    with pytest.raises(GreenlightError, match="not UTF-8 text") as refused:
        vault.file.put(NAME, NEW)
    assert refused.value.__suppress_context__


def test_a_file_that_cannot_be_read_back_is_not_written(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vault.holds(f"{NAME}: {OLD}\n")
    encrypted = VaultLib().encrypt("other: 1\n", PASSWORDS["staging"], vault_id="staging")
    monkeypatch.setattr(VaultLib, "encrypt", lambda *_, **__: encrypted)
    with pytest.raises(GreenlightError, match="it is unchanged"):
        vault.file.put(NAME, NEW)
    assert vault.file.path.read_bytes() == before
