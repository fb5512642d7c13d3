# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports between rooms. ``python -m tests.repository.test_rooms`` prints the rooms and the arrows between them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from tests.repository import repository

COLLECTION = "ansible_collections.greenlight.flask."
#: The floors of the host and of the controller, from the ground up. Rooms on one floor don't import each other.
FLOORS = {
    "plugins/module_utils": [
        ("_base",),
        ("_app",),
        ("_build", "_edge"),
        ("_release",),
        ("_proof",),
        ("_protocol",),
        ("_drift",),
        ("_options",),
        ("_steps",),
        ("_adapter",),
    ],
    "plugins/plugin_utils": [
        ("_secrets", "_vault", "_notification"),
        ("_source", "_comparison"),
        ("_inventory",),
        ("_checks",),
        ("_task",),
    ],
}
#: Pairs of rooms on different floors that don't import each other either.
STRANGERS = {("_release", "_edge"), ("_proof", "_edge"), ("_drift", "_protocol")}
#: The host's rooms that the controller may use: none of them changes a host.
SHARED = {"_base", "_app", "_build", "_release", "_edge", "_proof"}
#: Plugins that Ansible calls, on top of all rooms: on the host only the one module, which imports the adapter.
ADAPTERS = {
    "plugins/action": ("module_utils", "plugin_utils", "action"),
    "plugins/filter": ("module_utils", "plugin_utils"),
    "plugins/lookup": ("module_utils", "plugin_utils"),
    "plugins/modules": ("_adapter",),
}
#: Rooms that may import Ansible.
KNOW_ANSIBLE = {"_adapter", "_task", "_vault", "_notification"}


def below(home: str, room: str) -> set[str]:
    """Return the rooms below a room."""
    found: set[str] = set()
    for floor in FLOORS[home]:
        if room in floor:
            break
        found |= {*floor}
    return {other for other in found if (room, other) not in STRANGERS}


def place(name: str) -> tuple[str, str]:
    """Return where a file belongs: its side, and its room or, outside of any room, the file itself."""
    home = next(home for home in FLOORS if name.startswith(f"{home}/"))
    return home, PurePath(name).relative_to(home).with_suffix("").parts[0]


def imports(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield what a file imports, as absolute names, each with the number of dots before it."""
    package = PurePath(name).parent.parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = f"{COLLECTION if above else ''}{'.'.join(filter(None, (*above, node.module)))}"
            yield from ((node.level, f"{module}.{alias.name}") for alias in node.names)


def faults(text: str, name: str) -> list[str]:
    """Return the imports of a file that break the rules."""
    found = []
    home, room = place(name)
    for level, target in imports(text, name):
        if target.startswith(COLLECTION):
            there, _, inside = target.removeprefix(f"{COLLECTION}plugins.").partition(".")
            other, *parts = inside.split(".")
            if f"plugins/{there}" == home and other == room:
                allowed = bool(level)  # relative, within a room
            elif f"plugins/{there}" == home:
                allowed = not level and other in below(home, room)
            else:
                allowed = there == "module_utils" and other in SHARED
            if not allowed or (other != room and any(part.startswith("_") for part in parts)):
                found.append(target)
        elif target.split(".")[0] == "ansible" and room not in KNOW_ANSIBLE:
            found.append(target)
    return found


FILES = [
    name
    for home in FLOORS
    for name in repository.matching(f"{home}/**/*.py")
    if PurePath(name).name != "__init__.py" or place(name)[1] == "_steps"
]


@pytest.mark.parametrize("home", FLOORS)
def test_every_room_is_on_a_floor(home: str) -> None:
    rooms = {place(name)[1] for name in FILES if place(name)[0] == home}
    assert rooms == {room for floor in FLOORS[home] for room in floor}
    assert len(rooms) <= 12
    packages = {PurePath(name).parent for name in FILES} - {PurePath(each) for each in FLOORS}
    assert [package for package in packages if not Path(repository.ROOT, package, "__init__.py").is_file()] == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_its_room_and_the_floors_below(name: str) -> None:
    assert faults(repository.text(name), name) == []


def faults_of_adapter(text: str, name: str) -> list[str]:
    """Return the imports of an adapter that break the rules."""
    home, found = str(PurePath(name).parent), []
    for level, target in imports(text, name):
        if target.startswith(COLLECTION):
            there, _, inside = target.removeprefix(f"{COLLECTION}plugins.").partition(".")
            room, *parts = inside.split(".")
            known = ADAPTERS[home]
            allowed = not level and (room in known or (there in known and (there != "module_utils" or room in SHARED)))
            if not allowed or any(part.startswith("_") for part in parts):
                found.append(target)
    return found


@pytest.mark.parametrize("name", [name for home in ADAPTERS for name in repository.matching(f"{home}/*.py")])
def test_adapters_import_only_public_names_of_the_rooms(name: str) -> None:
    assert faults_of_adapter(repository.text(name), name) == []


U, P = (f"{COLLECTION}{home.replace('/', '.')}" for home in FLOORS)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("module_utils/_app/lock.py", f"from {U}._release.store import Releases"),
        ("module_utils/_edge/site.py", f"from {U}._release.store import Releases"),
        ("module_utils/_release/store.py", f"from {U}._edge.site import Site"),
        ("module_utils/_drift/units.py", f"from {U}._protocol.retire import retire"),
        ("module_utils/_app/lock.py", f"from {U}._app.layout import Layout"),
        ("module_utils/_app/lock.py", f"from {U}._base.files import _leads"),
        ("module_utils/_app/lock.py", "from .._base.files import write"),
        ("module_utils/_app/lock.py", f"from {P}._task.base import execute"),
        ("module_utils/_protocol/prove.py", "from ansible.module_utils.basic import AnsibleModule"),
        ("module_utils/_protocol/prove.py", "import ansible"),
        ("plugin_utils/_secrets/judge.py", f"from {P}._checks.report import rendered"),
        ("plugin_utils/_secrets/judge.py", f"from {P}._vault.file import VaultFile"),
        ("plugin_utils/_checks/examine.py", f"from {U}._protocol.switch import switch"),
        ("plugin_utils/_checks/examine.py", "from ansible.errors import AnsibleError"),
        ("plugin_utils/_checks/rules/tls.py", "from ..._task.base import execute"),
    ],
)
def test_a_forbidden_import_is_reported(name: str, line: str) -> None:
    assert len(faults(line, f"plugins/{name}")) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("action/source.py", f"from {U}._protocol.switch import switch"),
        ("action/source.py", f"from {P}._task.base import _secret"),
        ("action/source.py", "from ..plugin_utils._task.base import execute"),
        ("filter/databases.py", f"from {U}._steps.switch import run"),
        ("modules/host_step.py", f"from {U}._steps.switch import run"),
        ("modules/switch.py", f"from {P}._task.base import execute"),
    ],
)
def test_a_forbidden_import_of_an_adapter_is_reported(name: str, line: str) -> None:
    assert len(faults_of_adapter(line, f"plugins/{name}")) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("module_utils/_app/lock.py", f"from .layout import Layout\nfrom {U}._base import http\nimport os"),
        ("plugin_utils/_checks/examine.py", f"from {U}._base.finding import Finding\nfrom .report import Reported"),
        ("plugin_utils/_checks/rules/tls.py", "from ..case import Case\nfrom .values import MALFORMED_VALUE"),
        ("plugin_utils/_task/base.py", "from ansible.errors import AnsibleError"),
    ],
)
def test_an_allowed_import_is_not_reported(name: str, line: str) -> None:
    assert faults(line, f"plugins/{name}") == []


def arrows(home: str) -> Counter[tuple[str, str]]:
    """Count the files of a room that import from another one."""
    above = f"{COLLECTION}{home.replace('/', '.')}."
    rooms = {room for floor in FLOORS[home] for room in floor}
    pairs: Counter[tuple[str, str]] = Counter()
    for name in (name for name in FILES if place(name)[0] == home):
        targets = {target.removeprefix(above).split(".")[0] for _, target in imports(repository.text(name), name)}
        room = place(name)[1]
        pairs.update((room, target) for target in targets & rooms - {room})
    return pairs


if __name__ == "__main__":
    for home, floors in FLOORS.items():
        found = arrows(home)
        sizes = Counter(place(name)[1] for name in FILES if place(name)[0] == home)
        print(f"{home}: {len(sizes)} rooms on {len(floors)} floors, {len(found)} arrows")
        climbing = [f"{start} -> {other}" for start, other in found if other not in below(home, start)]
        print(f"  not downwards: {', '.join(climbing) or 'none'}")
        for room in (room for floor in floors for room in floor):
            targets = ", ".join(f"{other} ({count})" for (start, other), count in found.items() if start == room)
            print(f"  {room} ({sizes[room]} files){' -> ' if targets else ''}{targets}")
