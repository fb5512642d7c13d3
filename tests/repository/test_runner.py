# SPDX-License-Identifier: GPL-3.0-or-later
"""script/test runs every existing test."""

from __future__ import annotations

import re
import subprocess

from tests.repository import repository

LAYERS = repository.text("script/layers.mk")


def group(name: str) -> set[str]:
    """Return the layers in a group of script/layers.mk."""
    [words] = re.findall(rf"^{name} := (.*)$", LAYERS, re.MULTILINE)
    return set(words.split())


def test_every_scenario_is_a_layer() -> None:
    assert group("scenarios") == {path.parent.name for path in repository.ROOT.glob("molecule/*/molecule.yml")}


def test_no_two_servers_of_the_scenarios_share_a_port() -> None:
    ports = [
        port
        for path in repository.ROOT.glob("molecule/*/inventory/hosts.yml")
        for port in re.findall(r"\b2[0-9]{4}\b", re.sub(r"#.*", "", path.read_text(encoding="utf-8")))
    ]
    assert len(ports) > 20
    assert sorted(ports) == sorted(set(ports))


def test_every_directory_of_tests_is_in_a_layer() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "--file", "script/layers.mk", *group("fast")],
        cwd=repository.ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    directories = {path.parent.name for path in (repository.ROOT / "tests").glob("*/test_*.py")}
    assert {name for name in directories if f"tests/{name}" not in made} == set()


def test_an_unknown_layer_is_refused_with_a_hint() -> None:
    done = subprocess.run(
        [repository.ROOT / "script/test", "no-such-layer"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "script/test --help" in done.stderr) == (1, True)
