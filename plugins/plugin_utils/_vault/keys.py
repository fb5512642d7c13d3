# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the vault file with the signing key, and put a new key into it."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.parsing.vault import VaultLib
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import write

from .file import (
    VaultFile,
    parsed,
    says,
    value_span,
    with_value,
)

KEY_BYTES = 32


@dataclass(frozen=True)
class KeyVault:
    """A vault file with a signing key and, in ``<name>_fallbacks``, the keys that still verify.

    Args:
        path: path of the encrypted file.
        name: name of its variable with the key.
        vault: decrypts and encrypts with this run's passwords.
    """

    path: Path
    name: str
    vault: VaultLib

    @property
    def _file(self) -> VaultFile:
        return VaultFile(self.path, self.vault)

    @property
    def fallbacks_name(self) -> str:
        return f"{self.name}_fallbacks"

    def read(self) -> dict[str, Any] | None:
        """Return ``key`` and ``fallbacks``, or None if the file or the variable doesn't exist.

        Raises:
            GreenlightError: it can't be decrypted or read.
        """
        if not self.path.is_file():
            return None
        values = self._file.values()
        fallbacks = values.get(self.fallbacks_name) or []
        if not isinstance(values.get(self.name), str) or "{{" in values[self.name]:  # it is kept elsewhere
            return None
        if not isinstance(fallbacks, list):
            raise GreenlightError(f"{self.fallbacks_name} in {self.path} is not a list. Write it as a list")
        return {"key": values[self.name], "fallbacks": fallbacks}

    def start(self) -> None:
        """Make a new key, and put the old one first in the fallbacks."""
        held = self._held()
        self._write(secrets.token_hex(KEY_BYTES), [held["key"], *held["fallbacks"]])

    def finish(self) -> None:
        """Remove the fallbacks."""
        self._write(self._held()["key"], [])

    def _held(self) -> dict[str, Any]:
        found = self.read()
        if found is None:
            raise GreenlightError(f"{self.path} holds no {self.name}")
        return found

    def _write(self, key: str, fallbacks: list[str]) -> None:
        path = self.path.resolve()  # a link stays one
        opened = self._file.open()
        values = parsed(opened.text, path)
        wanted = {**values, self.name: key, self.fallbacks_name: fallbacks}
        changed = _with_line(opened.text, self.name, json.dumps(key))
        changed = changed and _with_line(changed, self.fallbacks_name, json.dumps(fallbacks))
        if not changed or not says(changed, wanted):
            raise GreenlightError(
                f"{self.path} is written in a way that can't be changed safely. Change it by hand:"
                f" ansible-vault edit {self.path} ; add the old {self.name} to the list {self.fallbacks_name},"
                f" put a new key into {self.name}, and run this again"
            )
        encrypted = self.vault.encrypt(changed, opened.secret, vault_id=opened.vault_id)
        backup = path.with_name(f"{path.name}.before-rotation")
        shutil.copy2(path, backup)  # encrypted; removed as soon as the new file is proved readable
        write(path, encrypted.decode(), path.stat().st_mode & 0o7777)
        self._file.open()
        backup.unlink()


def _with_line(text: str, name: str, value: str) -> str | None:
    """Replace a value on the same line as its name, or add a line; None if that is not possible."""
    try:
        span = value_span(text, name)
    except ValueError:
        return None
    if span:
        start, end = span
        line = text[:start].rpartition("\n")[2]
        if name not in line or "\n" in text[start:end]:  # a list over several lines may have comments in it
            return None
    return with_value(text, name, value)
