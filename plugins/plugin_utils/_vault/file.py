# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an encrypted file of variables, and change one value in it without touching the rest.

It is decrypted and encrypted in memory; the plain text is never on a disk.
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

#: Ansible would read this as a template.
_TEMPLATE = re.compile(r"\{[{%#]")


class WrongPasswordError(GreenlightError):
    """None of the passwords decrypts the file."""


@dataclass(frozen=True)
class Opened:
    """The content of a vault file, and how it was encrypted.

    Args:
        text: the decrypted text.
        secret: the password that decrypted it.
        vault_id: from its first line; None if that has none.
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
            WrongPasswordError: no password of this run decrypts it.
            GreenlightError: it is not encrypted, or holds no text.
        """
        raw = self.path.read_bytes()
        if not VaultLib.is_encrypted(raw):
            raise GreenlightError(f"{self.path} is not encrypted. Encrypt it with: ansible-vault encrypt {self.path}")
        try:
            text, _, used = self.vault.decrypt_and_get_vault_id(raw)
        except AnsibleError as error:
            raise WrongPasswordError(f"{self.path} can't be decrypted with the vault passwords of this run") from error
        vault_id = parse_vaulttext_envelope(raw)[3]
        try:
            return Opened(text.decode(), used, None if vault_id == "default" else vault_id)
        except UnicodeDecodeError:  # its text would quote the bytes
            raise GreenlightError(f"{self.path} is not UTF-8 text") from None

    def values(self) -> Mapping[str, Any]:
        return parsed(self.open().text, self.path)

    def put(self, name: str, value: str) -> None:
        """Set a variable: replace its value in place, or add a line at the end.

        Raises:
            GreenlightError: the file can't be read or changed safely. It is then unchanged.
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
            raise GreenlightError(f"{self.path} could not be encrypted in a readable way; it is unchanged")
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
        raise GreenlightError(f"{path} is not plain YAML") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise GreenlightError(f"{path} is not a mapping of variables to values")
    return found


def says(text: str, wanted: Mapping[str, Any]) -> bool:
    """Return whether a text has exactly these variables."""
    try:
        return bool(yaml.load(text, _Loader) == wanted)  # noqa: S506  # as above
    except (yaml.YAMLError, ValueError):
        return False


def scalar(value: str) -> str:
    """Return a text as one line of YAML that Ansible reads as exactly this text, even if it looks like a template."""
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).removesuffix("\n")
    return f"!unsafe {quoted}" if _TEMPLATE.search(value) else quoted


def value_span(text: str, name: str) -> tuple[int, int] | None:
    """Return where a variable's value begins and ends, or None if the text doesn't have the variable.

    Raises:
        ValueError: the text has it twice, is one mapping in braces, or is not YAML.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError:
        raise ValueError("not YAML") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.start_mark.index == root.end_mark.index):
        return None  # empty, or only comments
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise ValueError("not a block mapping")
    spans = [
        (value.start_mark.index, value.end_mark.index)
        for key, value in root.value
        if isinstance(key, yaml.ScalarNode) and key.value == name
    ]
    if len(spans) > 1:
        raise ValueError("listed twice")
    if not spans:
        return None
    [(start, end)] = spans
    return start, start + len(text[start:end].rstrip())  # without the empty lines after a block


def with_value(text: str, name: str, written: str) -> str | None:
    """Put a YAML value into a text; None if that is not possible."""
    try:
        span = value_span(text, name)
    except ValueError:
        return None
    if span is None:
        line_end = "\r\n" if "\r\n" in text else "\n"
        return f"{text}{line_end if text and not text.endswith(line_end) else ''}{name}: {written}{line_end}"
    start, end = span
    gap = " " if start == end else ""  # an empty value has no space after the colon
    return f"{text[:start]}{gap}{written}{text[end:]}"


class _Loader(yaml.SafeLoader):
    pass


def _construct_unsafe(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


_Loader.add_constructor("!unsafe", _construct_unsafe)
