# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory's own files: the groups and hosts they list, and the variables in them."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_YAML = (".yml", ".yaml", ".json")
_INI = ("", ".ini")
_SECTION = re.compile(r"\[([^\]:\s]+)(?::(vars|children))?\]\s*(?:#.*)?")
#: Larger than any inventory that a person wrote.
_LARGEST = 1_000_000
ALL = "all"


@dataclass
class Listed:
    """The content of an inventory's files.

    Args:
        groups: group to its variables.
        parents: group to its parent groups.
        hosts: host to the groups that list it.
        host_variables: host to its variables.
    """

    groups: dict[str, dict[str, Any]] = field(default_factory=lambda: {ALL: {}})
    parents: dict[str, set[str]] = field(default_factory=dict)
    hosts: dict[str, set[str]] = field(default_factory=dict)
    host_variables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def variables(self) -> Iterator[dict[str, Any]]:
        """Yield the variables of each group and each host."""
        yield from self.groups.values()
        yield from self.host_variables.values()

    def groups_of(self, host: str) -> list[str]:
        """Return a host's groups except all in Ansible's order, weakest first: by depth, and then by name."""
        found: set[str] = set()
        waiting = list(self.hosts.get(host, ()))
        while waiting:
            group = waiting.pop()
            if group not in found:
                found.add(group)
                waiting += self.parents.get(group, ())
        return sorted(found - {ALL}, key=lambda group: (self._depth(group, frozenset()), group))

    def _depth(self, group: str, below: frozenset[str]) -> int:
        above = self.parents.get(group, set()) - below - {group}
        return 1 + max((self._depth(one, below | {group}) for one in above), default=0)

    def add_yaml(self, content: Any) -> None:
        for name, group in content.items() if _is_inventory(content) else ():
            self._add_group(str(name), group or {})

    def _add_group(self, name: str, group: dict[str, Any]) -> None:
        held = {kind: given if isinstance(given, dict) else {} for kind, given in group.items()}
        self.groups.setdefault(name, {}).update(held.get("vars", {}))
        for host, own in held.get("hosts", {}).items():
            self._add_host(str(host), name, own if isinstance(own, dict) else {})
        for child, more in held.get("children", {}).items():
            self.parents.setdefault(str(child), set()).add(name)
            self._add_group(str(child), more if isinstance(more, dict) else {})

    def _add_host(self, host: str, group: str, own: dict[str, Any]) -> None:
        self.hosts.setdefault(host, set()).add(group)
        self.host_variables.setdefault(host, {}).update(own)

    def add_ini(self, text: str) -> None:
        group, kind = "ungrouped", None
        for line in map(str.strip, text.splitlines()):
            section = _SECTION.fullmatch(line)
            if section:
                group, kind = section.groups()
                self.groups.setdefault(group, {})
            elif not line or line[0] in "#;[":
                continue
            elif kind == "vars":
                name, _, value = line.partition("=")
                self.groups[group][name.strip()] = _literal(value.strip())
            elif kind == "children":
                child = line.split()[0]
                self.groups.setdefault(child, {})
                self.parents.setdefault(child, set()).add(group)
            else:
                words = _words(line)
                pairs = [word.partition("=") for word in words[1:]]
                self._add_host(words[0], group, {name: _literal(value) for name, _, value in pairs})


def _is_inventory(content: Any) -> bool:
    """Return whether a file has only groups: no plugin's settings and no variables."""
    return isinstance(content, dict) and all(
        group is None or (isinstance(group, dict) and group.keys() <= {"hosts", "vars", "children"})
        for group in content.values()
    )


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True) or [line]
    except ValueError:
        return line.split()


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError):
        return value


def inventory_files(directory: Path) -> list[Path]:
    """Return the files in a directory that Ansible may read as inventories, except scripts."""
    try:
        found = [path for path in sorted(directory.iterdir()) if path.is_file()]
    except OSError:
        return []
    return [path for path in found if is_inventory_file(path)]


def is_inventory_file(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix not in (*_YAML, *_INI):
        return False
    is_script = path.suffix in _INI and os.access(path, os.X_OK)
    return not is_script and path.stat().st_size < _LARGEST


def is_yaml(path: Path) -> bool:
    return path.suffix in _YAML


def has_group(listed: Listed, names: Iterable[str]) -> bool:
    return not listed.groups.keys().isdisjoint(names)
