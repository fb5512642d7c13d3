# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault file that holds the key which signs: read it, and put a new key into it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, parse_vaulttext_envelope
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import write

KEY_BYTES = 32


@dataclass(frozen=True)
class KeyVault:
    """A vault file with a key that signs and, in ``<name>_fallbacks``, those that still verify.

    Args:
        path: of the encrypted file.
        name: of the variable in it that holds the key.
        vault: what decrypts and encrypts, with this run's passwords.
    """

    path: Path
    name: str
    vault: VaultLib

    @property
    def fallbacks_name(self) -> str:
        return f"{self.name}_fallbacks"

    def read(self) -> dict[str, Any] | None:
        """Return ``key`` and ``fallbacks``, or None where there is no such file or no such variable in it.

        Raises:
            GreenlightError: it can't be decrypted or read.
        """
        if not self.path.is_file():
            return None
        values = _values(self._decrypted()[0], self.path)
        fallbacks = values.get(self.fallbacks_name) or []
        if not isinstance(values.get(self.name), str) or "{{" in values[self.name]:  # it is kept elsewhere
            return None
        if not isinstance(fallbacks, list):
            raise GreenlightError(f"{self.fallbacks_name} in {self.path} is no list; make it one")
        return {"key": values[self.name], "fallbacks": fallbacks}

    def start(self) -> None:
        """Make a new key; the old one goes to the fallbacks, before those that are there."""
        held = self._held()
        self._write(secrets.token_hex(KEY_BYTES), [held["key"], *held["fallbacks"]])

    def finish(self) -> None:
        """Drop the fallbacks."""
        self._write(self._held()["key"], [])

    def _held(self) -> dict[str, Any]:
        found = self.read()
        if found is None:
            raise GreenlightError(f"{self.path} holds no {self.name}")
        return found

    def _write(self, key: str, fallbacks: list[str]) -> None:
        path = self.path.resolve()  # a link stays one
        text, secret, vault_id = self._decrypted()
        values = _values(text, path)
        wanted = {**values, self.name: key, self.fallbacks_name: fallbacks}
        changed = _with_line(text, self.name, json.dumps(key))
        if self.fallbacks_name in values:
            changed = changed and _with_line(changed, self.fallbacks_name, json.dumps(fallbacks))
        else:
            changed = changed and f"{changed.rstrip()}\n{self.fallbacks_name}: {json.dumps(fallbacks)}\n"
        if not changed or not _says(changed, wanted):
            raise GreenlightError(
                f"{self.path} is written in a way that can't be changed safely. Change it by hand:"
                f" ansible-vault edit {self.path} ; put the old {self.name} into the list {self.fallbacks_name},"
                f" a new one into {self.name}, and run this again"
            )
        encrypted = self.vault.encrypt(changed, secret, vault_id=vault_id)
        backup = path.with_name(f"{path.name}.before-rotation")
        shutil.copy2(path, backup)  # encrypted; gone as soon as the new file is known to be readable
        write(path, encrypted.decode(), path.stat().st_mode & 0o7777)
        self._decrypted()
        backup.unlink()

    def _decrypted(self) -> tuple[str, Any, str | None]:
        """Return the text, the password that opened it, and the vault id to write it with."""
        raw = self.path.read_bytes()
        if not VaultLib.is_encrypted(raw):
            raise GreenlightError(f"{self.path} is not encrypted; do so with: ansible-vault encrypt {self.path}")
        try:
            text, _, used = self.vault.decrypt_and_get_vault_id(raw)
        except AnsibleError as error:
            raise GreenlightError(f"{self.path} can't be decrypted with the vault passwords of this run") from error
        vault_id = parse_vaulttext_envelope(raw)[3]
        return text.decode(), used, None if vault_id == "default" else vault_id


def _values(text: str, path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:  # its text would quote the file
        raise GreenlightError(f"{path} holds something that is no plain YAML") from None
    if not isinstance(found, Mapping):
        raise GreenlightError(f"{path} holds no mapping of variables to values")
    return found


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == wanted)
    except yaml.YAMLError:
        return False


def _with_line(text: str, name: str, value: str) -> str:
    """Replace the value of a variable that stands on one line, with the comment behind it kept; else an empty text."""
    text_or_quoted = r"""(?:[ \t]*"(?:[^"\\\n]|\\.)*"|[^\n#'"]*?)"""
    line = re.compile(rf"^({re.escape(name)}:){text_or_quoted}((?:[ \t]+#[^\n]*)?\r?)$", re.MULTILINE)
    if not line.search(text):
        line = re.compile(rf"^({re.escape(name)}:).*?(\r?)$", re.MULTILINE)
    changed, count = line.subn(lambda found: f"{found[1]} {value}{found[2]}", text, count=1)
    return changed if count else ""
