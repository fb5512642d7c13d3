# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom. ``python -m tests.repository.test_rooms`` prints the rooms and the arrows between them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from tests.repository import repository

COLLECTION = "ansible_collections.greenlight.flask."
HOST = "plugins/module_utils"
#: Each room of the host with those that it stands on, directly or not.
BELOW: dict[str, set[str]] = {"_base": set(), "_app": {"_base"}}
BELOW["_build"] = BELOW["_edge"] = {"_base", "_app"}
BELOW["_release"] = {*BELOW["_build"], "_build"}
BELOW["_proof"] = {*BELOW["_release"], "_release"}
BELOW["_protocol"] = {*BELOW["_proof"], "_proof", "_edge"}
BELOW["_drift"] = {*BELOW["_protocol"], "_protocol"}
BELOW["_steps"] = {*BELOW["_drift"], "_drift", "_options"}
BELOW["_options"] = set()
BELOW["_adapter"] = {*BELOW["_steps"], "_steps"}
#: What alone may know Ansible, below ``plugins/module_utils``.
KNOWS_ANSIBLE = {"_adapter"}


def room(name: str) -> str:
    """Return the room of a file on the host: its package, or the file itself where it is in none."""
    parts = PurePath(name).relative_to(HOST).with_suffix("").parts
    return parts[0]


def imports(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield what a file imports, as absolute names, each with the number of dots before it."""
    package = f"{COLLECTION}{'.'.join(PurePath(name).parent.parts)}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package if node.level == 1 else "?" * node.level if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((node.level, f"{module}.{alias.name}") for alias in node.names)


def faults(text: str, name: str) -> list[str]:
    """Return what a file on the host imports against the rules."""
    found = []
    mine = room(name)
    above = f"{COLLECTION}{HOST.replace('/', '.')}."
    for level, target in imports(text, name):
        if target.startswith(above):
            other, *inside = target.removeprefix(above).split(".")
            if other == mine:
                if not level:
                    found.append(f"{target}: inside a room imports are relative")
            elif level or other not in BELOW[mine]:
                found.append(f"{target}: {mine} does not stand on {other}")
            elif len(inside) > 1 and any(part.startswith("_") for part in inside):
                found.append(f"{target}: private to {other}")
        elif target.startswith((COLLECTION, "?")):
            found.append(f"{target}: nothing above module_utils reaches a host")
        elif target.split(".")[0] == "ansible" and mine not in KNOWS_ANSIBLE:
            found.append(f"{target}: only {', '.join(KNOWS_ANSIBLE)} may know Ansible")
    return found


FILES = [name for name in repository.matching(f"{HOST}/**/*.py") if PurePath(name).name != "__init__.py"]


def test_every_room_has_its_place() -> None:
    assert {room(name) for name in FILES} == set(BELOW)
    assert len({room(name) for name in FILES}) <= 12
    packages = {str(PurePath(name).parent) for name in FILES} - {HOST}
    assert [name for name in packages if not Path(repository.ROOT, name, "__init__.py").is_file()] == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_its_own_room_and_those_below(name: str) -> None:
    assert faults(repository.text(name), name) == []


U = f"{COLLECTION}plugins.module_utils"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("_app/lock.py", f"from {U}._release.store import Releases"),
        ("_edge/site.py", f"from {U}._release.store import Releases"),
        ("_release/store.py", f"from {U}._edge.site import Site"),
        ("_app/lock.py", f"from {U}._app.layout import Layout"),
        ("_app/lock.py", f"from {U}._base.files import _leads"),
        ("_app/lock.py", "from .._base.files import write"),
        ("_app/lock.py", f"from {COLLECTION}plugins.plugin_utils._action import execute"),
        ("_protocol/prove.py", "from ansible.module_utils.basic import AnsibleModule"),
        ("_protocol/prove.py", "import ansible"),
    ],
)
def test_an_import_against_the_rules_is_found(name: str, line: str) -> None:
    assert len(faults(line, f"{HOST}/{name}")) == 1


def test_an_import_inside_a_room_and_one_from_below_are_none() -> None:
    assert faults(f"from .layout import Layout\nfrom {U}._base import http\nimport os", f"{HOST}/_app/lock.py") == []


def arrows() -> Counter[tuple[str, str]]:
    """Count the imports between two rooms."""
    above = f"{COLLECTION}{HOST.replace('/', '.')}."
    pairs: Counter[tuple[str, str]] = Counter()
    for name in FILES:
        targets = {target.removeprefix(above).split(".")[0] for _, target in imports(repository.text(name), name)}
        pairs.update((room(name), target) for target in targets if target in BELOW and target != room(name))
    return pairs


if __name__ == "__main__":
    sizes = Counter(map(room, FILES))
    print(f"{len(sizes)} rooms, {len(arrows())} arrows")
    for one in BELOW:
        targets = ", ".join(f"{other} {count}" for (start, other), count in sorted(arrows().items()) if start == one)
        print(f"{one:10} {sizes[one]:2} files  -> {targets}")
