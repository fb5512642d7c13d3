# SPDX-License-Identifier: GPL-3.0-or-later
"""An encrypted file of variables: read it, and change one value in it while all else stays as it is.

What is in it is decrypted and encrypted in memory; the plain text is never on a disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, parse_vaulttext_envelope
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import write

#: What Ansible would take for a template.
_TEMPLATE = re.compile(r"\{[{%#]")


class WrongPasswordError(GreenlightError):
    """None of the passwords opens the file."""


@dataclass(frozen=True)
class Opened:
    """What a vault file holds, and how it was encrypted.

    Args:
        text: as it was before its encryption.
        secret: the password that opened it.
        vault_id: of its first line; None where that has none.
    """

    text: str
    secret: Any
    vault_id: str | None


@dataclass(frozen=True)
class VaultFile:
    """A file of variables that is encrypted as a whole.

    Args:
        path: of the file.
        vault: what decrypts and encrypts, with this run's passwords.
    """

    path: Path
    vault: VaultLib

    def open(self) -> Opened:
        """Decrypt it.

        Raises:
            WrongPasswordError: no password of this run opens it.
            GreenlightError: it is not encrypted, or holds no text.
        """
        raw = self.path.read_bytes()
        if not VaultLib.is_encrypted(raw):
            raise GreenlightError(f"{self.path} is not encrypted; do so with: ansible-vault encrypt {self.path}")
        try:
            text, _, used = self.vault.decrypt_and_get_vault_id(raw)
        except AnsibleError as error:
            raise WrongPasswordError(f"{self.path} can't be decrypted with the vault passwords of this run") from error
        vault_id = parse_vaulttext_envelope(raw)[3]
        try:
            return Opened(text.decode(), used, None if vault_id == "default" else vault_id)
        except UnicodeDecodeError:  # it would quote the bytes
            raise GreenlightError(f"{self.path} holds something that is not text in UTF-8") from None

    def values(self) -> Mapping[str, Any]:
        return parsed(self.open().text, self.path)

    def put(self, name: str, value: str) -> None:
        """Give a variable a value, in its place where it has one, else in a line of its own at the end.

        Raises:
            GreenlightError: the file can't be read, or can't be changed safely. It is then as it was.
        """
        opened = self.open()
        values = parsed(opened.text, self.path)
        changed = with_value(opened.text, name, scalar(value))
        is_one_value = not isinstance(values.get(name), (list, dict))
        if not changed or not is_one_value or not says(changed, {**values, name: value}):
            raise GreenlightError(
                f"{self.path} has {name} in a way that can't be changed safely. Change it by hand:"
                f" ansible-vault edit {self.path}"
            )
        encrypted = self.vault.encrypt(changed, opened.secret, vault_id=opened.vault_id)
        if self.vault.decrypt(encrypted).decode() != changed:
            raise GreenlightError(f"{self.path} could not be encrypted so that it can be read again; it is as it was")
        path = self.path.resolve()  # a link stays one
        write(path, encrypted.decode(), path.stat().st_mode & 0o7777)


def parsed(text: str, path: Path) -> Mapping[str, Any]:
    """Return the variables of a decrypted text.

    Raises:
        GreenlightError: it is not a mapping in plain YAML. The error names the file and quotes nothing.
    """
    try:
        found = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader with one more tag
    except (yaml.YAMLError, ValueError):  # its text would quote the file
        raise GreenlightError(f"{path} holds something that is not plain YAML") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise GreenlightError(f"{path} holds no mapping of variables to values")
    return found


def says(text: str, wanted: Mapping[str, Any]) -> bool:
    """Say whether a text has exactly these variables."""
    try:
        return bool(yaml.load(text, _Loader) == wanted)  # noqa: S506  # as above
    except (yaml.YAMLError, ValueError):
        return False


def scalar(value: str) -> str:
    """Write a text as one line of YAML that Ansible reads as exactly this text, also where it looks like a template."""
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).removesuffix("\n")
    return f"!unsafe {quoted}" if _TEMPLATE.search(value) else quoted


def value_span(text: str, name: str) -> tuple[int, int] | None:
    """Return where the value of a variable begins and ends, or None where the text has no such variable.

    Raises:
        ValueError: the text has it twice, is written as one value in braces, or is not YAML.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError:
        raise ValueError("no YAML") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.start_mark.index == root.end_mark.index):
        return None  # empty, or nothing but a comment
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise ValueError("no mapping in lines")
    spans = [
        (value.start_mark.index, value.end_mark.index)
        for key, value in root.value
        if isinstance(key, yaml.ScalarNode) and key.value == name
    ]
    if len(spans) > 1:
        raise ValueError("it is there twice")
    if not spans:
        return None
    [(start, end)] = spans
    return start, start + len(text[start:end].rstrip())  # the empty lines behind a block are not the value's


def with_value(text: str, name: str, written: str) -> str | None:
    """Put a value, written as YAML, into a text; None where that is not possible."""
    try:
        span = value_span(text, name)
    except ValueError:
        return None
    if span is None:
        line_end = "\r\n" if "\r\n" in text else "\n"
        return f"{text}{line_end if text and not text.endswith(line_end) else ''}{name}: {written}{line_end}"
    start, end = span
    gap = " " if start == end else ""  # nothing is there yet, not even the space behind the colon
    return f"{text[:start]}{gap}{written}{text[end:]}"


class _Loader(yaml.SafeLoader):
    pass


def _construct_unsafe(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


_Loader.add_constructor("!unsafe", _construct_unsafe)
