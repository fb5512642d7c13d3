# SPDX-License-Identifier: GPL-3.0-or-later
"""A new key gets into the vault file, the old one stays until it is dropped, and everything else is unchanged."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.action import rotate, rotate_vault
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.plugin_utils._vault.keys import KeyVault

from tests.unit.killing import killed

NAME = "vault_flask_app_secret_key"
LIST = f"{NAME}_fallbacks"
KEY = "hunter2-the-first-key"
OLDER = "hunter2-an-older-key"
PASSWORDS = {"staging": VaultSecret(b"hunter2 of staging"), "default": VaultSecret(b"hunter2 of all")}
TEXT = f"""\
---
# Made in November; {NAME}: is changed by rotate.yml
{NAME}: {KEY}
vault_flask_app_database_url: 'postgresql://shop:pass-w0rd@db/shop?x=#1' # the small one

# The webhook
vault_hook: "https://example.org/é"
"""


class Vault:
    """A vault file and this run's passwords."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "vault.yml"
        self.loader = DataLoader()
        self.opened_with(*PASSWORDS)

    def opened_with(self, *ids: str) -> None:
        self.loader.set_vault_secrets([(name, PASSWORDS[name]) for name in ids])

    @property
    def keys(self) -> KeyVault:
        return KeyVault(self.path, NAME, self.loader._vault)

    def holds(self, text: str, vault_id: str | None = "staging", password: str = "staging") -> bytes:
        lib = VaultLib([(password, PASSWORDS[password])])
        encrypted: bytes = lib.encrypt(text, PASSWORDS[password], vault_id=vault_id)
        self.path.write_bytes(encrypted)
        self.path.chmod(0o640)
        return encrypted

    @property
    def text(self) -> str:
        return str(VaultLib(list(PASSWORDS.items())).decrypt(self.path.read_bytes()).decode())

    @property
    def values(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.text))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path)
    vault.holds(TEXT)
    return vault


# What it holds


@pytest.mark.parametrize(
    ("text", "fallbacks"),
    [
        ("", []),
        (f"{LIST}:\n", []),
        (f"{LIST}: []\n", []),
        (f"{LIST}: [{OLDER}]\n", [OLDER]),
        (f"{LIST}:\n  - b\n  - {OLDER}\n", ["b", OLDER]),
    ],
)
def test_the_keys_are_read(vault: Vault, text: str, fallbacks: list[str]) -> None:
    vault.holds(TEXT + text)
    assert vault.keys.read() == {"key": KEY, "fallbacks": fallbacks}


@pytest.mark.parametrize("text", ["other: 1\n", f"{NAME}:\n", f"other:\n  {NAME}: x\n"])
def test_a_file_without_the_key_gives_no_key(vault: Vault, text: str) -> None:
    before = vault.holds(text)
    assert vault.keys.read() is None
    for step in (vault.keys.start, vault.keys.finish):
        with pytest.raises(GreenlightError, match=f"{vault.path} holds no {NAME}"):
            step()
    assert vault.path.read_bytes() == before


def test_a_missing_file_gives_no_key(vault: Vault) -> None:
    vault.path.unlink()
    assert vault.keys.read() is None
    with pytest.raises(GreenlightError, match=f"holds no {NAME}"):
        vault.keys.start()
    assert not vault.path.exists()


def test_a_fallbacks_value_that_is_not_a_list_is_one_key_or_refused(vault: Vault) -> None:
    vault.holds(f"{TEXT}{LIST}: {OLDER}\n")
    try:
        found = vault.keys.read()
    except GreenlightError:
        return
    assert found == {"key": KEY, "fallbacks": [OLDER]}


# A rotation


def test_starting_adds_a_new_key_and_keeps_the_old_one_as_fallback(vault: Vault) -> None:
    vault.keys.start()
    assert re.fullmatch("[0-9a-f]{64}", vault.values[NAME])
    assert vault.values[LIST] == [KEY]
    assert vault.keys.read() == {"key": vault.values[NAME], "fallbacks": [KEY]}


def test_each_start_keeps_all_keys_newest_first(vault: Vault) -> None:
    vault.holds(f"{TEXT}{LIST}: ['{OLDER}']\n")
    vault.keys.start()
    second = vault.values[NAME]
    vault.keys.start()
    assert vault.values[LIST] == [second, KEY, OLDER]
    assert len({vault.values[NAME], second, KEY, OLDER}) == 4


def test_finishing_removes_the_old_keys_and_keeps_the_new_one(vault: Vault) -> None:
    vault.keys.start()
    vault.keys.start()
    key = vault.values[NAME]
    vault.keys.finish()
    assert vault.keys.read() == {"key": key, "fallbacks": []}
    assert KEY not in vault.text


def test_the_next_rotation_begins_with_the_result_of_the_last(vault: Vault) -> None:
    vault.keys.start()
    vault.keys.finish()
    key = vault.values[NAME]
    vault.keys.start()
    assert vault.values[LIST] == [key]


@pytest.mark.parametrize(
    "key", ["'it''s \"quoted\" \\ # no comment'", '"tab \\t, \\"é\\" and \\\\"', "a: b", "'17'", "é"]
)
def test_an_awkward_old_key_is_kept_as_it_was(vault: Vault, key: str) -> None:
    quoted = key if key[0] in "'\"" else f"'{key}'"
    vault.holds(f"{NAME}: {quoted}\n")
    before = vault.values[NAME]
    vault.keys.start()
    assert vault.values[LIST] == [before]


# What stays


def test_comments_and_other_variables_stay_as_they_are(vault: Vault) -> None:
    vault.keys.start()
    assert vault.text == TEXT.replace(f"{NAME}: {KEY}", f'{NAME}: "{vault.values[NAME]}"') + f'{LIST}: ["{KEY}"]\n'
    key = vault.values[NAME]
    vault.keys.finish()
    assert vault.text == TEXT.replace(f"{NAME}: {KEY}", f'{NAME}: "{key}"') + f"{LIST}: []\n"


@pytest.mark.parametrize(
    "others",
    [
        f"{NAME}_of_another: x\nmy_{NAME}: y\n",
        f"other:\n  {NAME}: x\n  {LIST}: [y]\n",
        f"# {NAME}: {OLDER}\n",
        f"note: |\n  {NAME}: x\n\n  # no comment\n",
        "certificate: |-\n  -----BEGIN-----\n  x\n  -----END-----\nafter: 1\n",
        "base: &base {a: 1}\nother:\n  <<: *base\n",
        "number: 0017\nwhen: 2026-11-21\nnothing: null\nyes_or_no: off\nhuge: 1e3\n",
        "list:\n- 1\n- [2, 3]\n",
        "'quoted name': \"é\\n\\u263a\"\n",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_everything_else_in_the_file_stays_unchanged(vault: Vault, others: str, first: bool) -> None:
    line = f"{NAME}: {KEY}\n"
    vault.holds(others + line if first else line + others)
    before = vault.values
    vault.keys.start()
    assert vault.values == {**before, NAME: vault.values[NAME], LIST: [KEY]}
    assert others in vault.text


def test_a_comment_after_the_key_stays(vault: Vault) -> None:
    vault.holds(f"{NAME}: {KEY} # each November\n")
    vault.keys.start()
    assert "# each November" in vault.text


def test_a_comment_after_the_key_stays_through_the_whole_rotation(vault: Vault) -> None:
    vault.holds(f"{NAME}: {KEY} # each November\n")
    vault.keys.start()
    vault.keys.finish()
    assert "# each November" in vault.text


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", "\n# the end", "\r\n"])
def test_a_file_may_end_in_any_way(vault: Vault, end: str) -> None:
    vault.holds(f"{NAME}: {KEY}\nother: x{end}")
    vault.keys.start()
    assert (vault.values["other"], vault.values[LIST]) == ("x", [KEY])


@pytest.mark.parametrize(
    ("vault_id", "password", "header"),
    [
        ("staging", "staging", "$ANSIBLE_VAULT;1.2;AES256;staging"),
        ("of-somebody-else", "staging", "$ANSIBLE_VAULT;1.2;AES256;of-somebody-else"),
        (None, "default", "$ANSIBLE_VAULT;1.1;AES256"),
        (None, "staging", "$ANSIBLE_VAULT;1.1;AES256"),
    ],
)
def test_the_file_keeps_its_vault_id_and_its_password(
    vault: Vault, vault_id: str | None, password: str, header: str
) -> None:
    vault.holds(TEXT, vault_id, password)
    vault.keys.start()
    assert vault.path.read_text().splitlines()[0] == header
    vault.opened_with(password)
    assert vault.keys.read()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_file_keeps_its_mode_and_no_other_file_is_left(vault: Vault, mode: int) -> None:
    vault.path.chmod(mode)
    for step in (vault.keys.start, vault.keys.finish):
        step()
        assert vault.path.stat().st_mode & 0o7777 == mode
        assert os.listdir(vault.path.parent) == ["vault.yml"]


def test_a_link_to_a_vault_file_stays_a_link(vault: Vault) -> None:
    real = vault.path.rename(vault.path.with_name("of-two-inventories.yml"))
    vault.path.symlink_to(real.name)
    vault.keys.start()
    assert vault.path.is_symlink()


# What is refused

#: Files in which no line can be changed.
BLOCK = [
    f"{NAME}: |\n  {KEY}\nother: 1\n",
    f"{NAME}: >-\n  {KEY}\n",
    f"{NAME}: {KEY}\n  and more\n",
    f"{NAME}: &key {KEY}\nother: *key\n",
    f"{{{NAME}: {KEY}, other: 1}}\n",
    f"{NAME}: {KEY}\n{LIST}:\n  - {OLDER}\nother: 1\n",
    f"{NAME}: {KEY}\n{LIST}: [{OLDER},\n  b]\n",
    f"---\n{NAME}: {KEY}\n...\n",
]
#: Files whose changed line would mean something else.
OTHERWISE = [
    f'{NAME}: "{KEY} \U0001f600"\n',
    f"{NAME}: {OLDER}\nother: 1\n{NAME}: {KEY}\n",
]
#: Files that are not plain YAML, or not a mapping.
NO_YAML = [f"{NAME}: {KEY}\nother: !include x\n", f"{NAME}: {KEY}\n  bad: [{KEY}\n", f"- {KEY}\n", f"{KEY}\n", ""]


@pytest.mark.parametrize("text", [*BLOCK, *OTHERWISE, *NO_YAML])
def test_a_file_that_cannot_be_changed_safely_is_left_unchanged(vault: Vault, text: str) -> None:
    before = vault.holds(text)
    with pytest.raises(GreenlightError) as refused:
        vault.keys.start()
    assert str(vault.path) in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert vault.path.read_bytes() == before
    assert os.listdir(vault.path.parent) == ["vault.yml"]


@pytest.mark.parametrize(
    "text",
    [
        *BLOCK,
        *OTHERWISE,
    ],
)
def test_a_file_to_change_by_hand_is_reported_with_instructions(vault: Vault, text: str) -> None:
    vault.holds(text)
    with pytest.raises(GreenlightError) as refused:
        vault.keys.start()
    assert f"ansible-vault edit {vault.path}" in str(refused.value)
    assert f"add the old {NAME} to the list {LIST}, put a new key into {NAME}, and run this again" in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        f'"{NAME}": {KEY}\n',
        f"{NAME} : {KEY}\n",
        f"? {NAME}\n: {KEY}\n",
        f"{NAME}: '{KEY}#1' # each November\n",
        pytest.param(
            f"{NAME}: 'x #{KEY}'\n",
        ),
    ],
)
def test_after_finishing_no_line_holds_the_old_key(vault: Vault, line: str) -> None:
    vault.holds(line)
    try:
        vault.keys.start()
        vault.keys.finish()
    except GreenlightError:
        return
    assert KEY not in vault.text


def test_an_unencrypted_file_is_refused(vault: Vault) -> None:
    vault.path.write_text(TEXT)
    for step in (vault.keys.read, vault.keys.start, vault.keys.finish):
        with pytest.raises(GreenlightError) as refused:
            step()
        assert str(refused.value) == (
            f"{vault.path} is not encrypted. Encrypt it with: ansible-vault encrypt {vault.path}"
        )
    assert vault.path.read_text() == TEXT


@pytest.mark.parametrize("passwords", [["default"], []])
def test_a_file_that_cannot_be_decrypted_is_refused(vault: Vault, passwords: list[str]) -> None:
    before = vault.path.read_bytes()
    vault.opened_with(*passwords)
    for step in (vault.keys.read, vault.keys.start, vault.keys.finish):
        with pytest.raises(GreenlightError) as refused:
            step()
        assert str(refused.value) == f"{vault.path} can't be decrypted with the vault passwords of this run"
        assert "hunter2" not in f"{refused.value.__cause__}"
    assert vault.path.read_bytes() == before


# However it ends


def test_a_killed_rotation_leaves_a_readable_file_with_all_keys(tmp_path: Path) -> None:
    for change in itertools.count(1):
        directory = tmp_path / f"{change}"
        directory.mkdir()
        vault = Vault(directory)
        vault.holds(f"{TEXT}{LIST}: [{OLDER}]\n")
        ended = not killed(change, vault.keys.start)
        keys = vault.keys.read()
        assert keys
        assert [keys["key"], *keys["fallbacks"]][-2:] == [KEY, OLDER]
        assert vault.path.stat().st_mode & 0o7777 == 0o640
        assert vault.values["vault_hook"] == "https://example.org/é"
        vault.keys.start()
        again = vault.keys.read()
        assert again
        assert again["fallbacks"] == [keys["key"], *keys["fallbacks"]]
        assert not [name for name in os.listdir(directory) if name.endswith(".before-rotation")]
        if ended:
            break
    assert change > 5


def test_a_concurrent_reader_sees_the_complete_old_file(vault: Vault) -> None:
    before = vault.path.read_bytes()
    with vault.path.open("rb") as reader:
        vault.keys.start()
        assert reader.read() == before


def test_the_old_file_stays_until_the_new_one_is_verified(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vault.path.read_bytes()
    encrypt: Callable[..., bytes] = VaultLib.encrypt

    def wrongly(self: VaultLib, text: str, secret: object, **more: object) -> bytes:
        return encrypt(self, text, VaultSecret(b"another"), **more)

    monkeypatch.setattr(VaultLib, "encrypt", wrongly)
    with pytest.raises(GreenlightError, match="can't be decrypted"):
        vault.keys.start()
    assert vault.path.with_name("vault.yml.before-rotation").read_bytes() == before


# The actions


def action(module: Any, vault: Vault, *, check_mode: bool = False, **arguments: object) -> Any:
    """Make the action of a task, like Ansible."""
    name = module.__name__.rpartition(".")[2]
    return module.ActionModule(
        task=SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, action=f"greenlight.flask.{name}"),
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nonexistent")),
        play_context=None,
        loader=vault.loader,
        templar=Templar(loader=vault.loader, variables={}),
    )


def turned(vault: Vault, step: str, *, live: bool = True, check_mode: bool = False) -> dict[str, Any]:
    done = action(
        rotate_vault, vault, check_mode=check_mode, step=step, file=str(vault.path), name=NAME, live=live
    ).run(task_vars={})
    assert "hunter2" not in str(done)
    return dict(done)


def test_starting_prints_the_next_step(vault: Vault) -> None:
    done = turned(vault, "start")
    assert done["changed"] is True
    assert vault.values[LIST] == [KEY]
    assert "drop it with -e flask_app_rotation_step=finish." in done["said"]
    assert done["said"].endswith(f" Commit {vault.path}.")
    assert vault.values[NAME] not in str(done)


def test_finishing_prints_the_next_step(vault: Vault) -> None:
    vault.keys.start()
    done = turned(vault, "finish")
    assert done["changed"] is True
    assert vault.values[LIST] == []
    assert "-e flask_app_rotation_step=purge." in done["said"]
    assert done["said"].endswith(f" Commit {vault.path}.")


@pytest.mark.parametrize("step", ["start", "finish"])
def test_keys_not_live_on_every_host_are_deployed_first(vault: Vault, step: str) -> None:
    before = vault.holds(f"{TEXT}{LIST}: [{OLDER}]\n")
    done = turned(vault, step, live=False)
    assert done == {
        "changed": False,
        "said": "Hosts and inventory have different keys. The inventory's keys are deployed now.",
    }
    assert vault.path.read_bytes() == before


def test_finishing_without_an_old_key_changes_nothing(vault: Vault) -> None:
    before = vault.path.read_bytes()
    assert turned(vault, "finish") == {"changed": False, "said": "There is no old key to drop."}
    assert vault.path.read_bytes() == before


def test_starting_twice_makes_no_third_key(vault: Vault) -> None:
    assert turned(vault, "start")["changed"] is True
    begun = vault.path.read_bytes()
    again = turned(vault, "start")
    assert again["changed"] is False
    assert "A rotation is already in progress" in again["said"]
    assert vault.path.read_bytes() == begun


@pytest.mark.parametrize(("step", "fallbacks"), [("start", "[]"), ("finish", f"[{OLDER}]")])
def test_check_mode_touches_no_vault(vault: Vault, step: str, fallbacks: str) -> None:
    before = vault.holds(f"{TEXT}{LIST}: {fallbacks}\n")
    assert turned(vault, step, check_mode=True)["changed"] is True
    assert vault.path.read_bytes() == before
    assert os.listdir(vault.path.parent) == ["vault.yml"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("start", "put a new key there and the old one into flask_app_secret_key_fallbacks"),
        ("finish", "empty flask_app_secret_key_fallbacks"),
    ],
)
@pytest.mark.parametrize("absent", ["file", "variable"])
def test_keys_kept_in_another_store_are_reported_with_instructions(
    vault: Vault, step: str, words: str, absent: str
) -> None:
    vault.holds("other: 1\n")
    if absent == "file":
        vault.path.unlink()
    with pytest.raises(AnsibleActionFail) as failed:
        turned(vault, step)
    assert f"{vault.path} holds no {NAME}. If you keep your keys elsewhere, {words}, and run this again" in str(
        failed.value
    )


def test_a_refusal_fails_the_task_without_showing_a_secret(vault: Vault) -> None:
    vault.holds(OTHERWISE[1])
    with pytest.raises(AnsibleActionFail, match="can't be changed safely") as failed:
        turned(vault, "start")
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("arguments", [{"step": "purge"}, {"file": None}])
def test_a_task_with_invalid_arguments_is_refused(vault: Vault, arguments: dict[str, Any]) -> None:
    given = {"step": "start", "file": str(vault.path), "name": NAME, "live": True, **arguments}
    with pytest.raises(AnsibleActionFail):
        action(rotate_vault, vault, **{name: value for name, value in given.items() if value}).run(task_vars={})


def passed_keys(vault: Vault, monkeypatch: pytest.MonkeyPatch, **variables: object) -> dict[str, Any]:
    """Return the keys that the action passes to the step."""
    got: list[dict[str, Any]] = []
    made = action(
        rotate,
        vault,
        app="shop",
        variable="SECRET_KEY",
        variables_from=["flask_app_secrets", "__flask_app_fallbacks"],
        vault_file=str(vault.path),
        vault_name=NAME,
    )

    def execute(*, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert (module_name, module_args["step"]) == ("greenlight.flask.host_step", "rotate")
        got.append(json.loads(module_args["options"]))
        return {"changed": True, "invocation": {"module_args": module_args}}

    monkeypatch.setattr(made, "_execute_module", execute)
    made._templar.available_variables = variables
    assert made.run(task_vars=variables) == {"changed": True}
    (arguments,) = got
    keys = arguments.pop("keys")
    assert arguments == {"app": "shop", "variable": "SECRET_KEY"}
    return dict(keys)


def test_a_host_gets_the_current_keys_of_the_file(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.keys.start()
    old = {"flask_app_secrets": {"SECRET_KEY": KEY}, "__flask_app_fallbacks": {}}
    assert passed_keys(vault, monkeypatch, **old) == {"key": vault.values[NAME], "fallbacks": [KEY]}


def test_a_templated_key_is_never_deployed_as_its_template_text(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.holds(f"{NAME}: '{{{{ elsewhere }}}}'\n")
    secrets = {"SECRET_KEY": trust_as_template("{{ elsewhere }}")}
    try:
        found = passed_keys(vault, monkeypatch, elsewhere=KEY, flask_app_secrets=secrets)
    except AnsibleActionFail:
        return
    assert found["key"] == KEY


def test_for_a_templated_key_a_host_gets_the_keys_of_the_inventory(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who is told to rotate the key elsewhere does so and runs the play again, which must then deploy it."""
    vault.holds(f"{NAME}: '{{{{ elsewhere }}}}'\n")
    secrets = {"SECRET_KEY": trust_as_template("{{ elsewhere }}")}
    found = passed_keys(vault, monkeypatch, elsewhere=KEY, flask_app_secrets=secrets)
    assert found == {"key": KEY, "fallbacks": []}


@pytest.mark.parametrize("absent", ["file", "variable"])
@pytest.mark.parametrize("fallbacks", [[], [OLDER, "b"]])
def test_without_a_vault_file_a_host_gets_the_keys_of_the_inventory(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, absent: str, fallbacks: list[str]
) -> None:
    vault.holds("other: 1\n")
    if absent == "file":
        vault.path.unlink()
    known = {
        "elsewhere": KEY,
        "flask_app_secrets": {"SECRET_KEY": trust_as_template("{{ elsewhere }}"), "OTHER": "x"},
        "__flask_app_fallbacks": {"SECRET_KEY_FALLBACKS": json.dumps(fallbacks)} if fallbacks else {},
    }
    assert passed_keys(vault, monkeypatch, **known) == {"key": KEY, "fallbacks": fallbacks}


def test_a_vault_file_that_cannot_be_decrypted_is_an_error(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.opened_with("default")
    with pytest.raises(AnsibleActionFail, match="can't be decrypted with the vault passwords of this run"):
        passed_keys(vault, monkeypatch, flask_app_secrets={"SECRET_KEY": KEY})
