# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that script/generate makes are up to date, and a new step needs nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.repository import repository

STEP = """\
from typing import Any

OPTIONS: dict[str, Any] = {
    "run": {"type": "str", "default": ""},
    "times": {"type": "int", "required": True},
    "ways": {"type": "list", "elements": "str", "choices": ["up", "down"], "default": []},
}
"""
MODULE = '''\
DOCUMENTATION = r"""
---
module: wave
options:
  ways:
    description: Which.
  times:
    description:
      - How often,
        at most.
    type: str
    default: 7
extends_documentation_fragment:
  - greenlight.flask.shared.app
  - greenlight.flask.shared.run
"""
'''
DOCUMENTED = """\
  ways:
    description: Which.
    type: list
    elements: str
    choices: [up, down]
    default: []
  times:
    description:
      - How often,
        at most.
    type: int
    required: true
"""


def generate(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return repository.run(repository.tool("python"), directory / "script/generate", *options, directory=directory)


def test_generated_files_are_up_to_date() -> None:
    done = generate(repository.ROOT)
    assert (done.returncode, done.stdout) == (0, ""), f"again: script/generate --write\n{done.stdout}{done.stderr}"


def test_a_new_step_needs_only_its_file_and_documentation(tmp_path: Path) -> None:
    copied = repository.copy(repository.tracked(), tmp_path)
    (copied / "plugins/module_utils/_steps/wave.py").write_text(STEP)
    done = generate(copied)
    assert (done.returncode, "plugins/modules/wave.py" in done.stderr) == (1, True)
    (copied / "plugins/modules/wave.py").write_text(MODULE)
    done = generate(copied)
    lists = ["meta/runtime.yml", "plugins/module_utils/_steps/__init__.py"]
    assert (done.returncode, sorted(done.stdout.split())) == (
        1,
        sorted([*lists, "plugins/modules/wave.py", "plugins/action/wave.py"]),
    )
    assert generate(copied, "--write").returncode == 0
    assert generate(copied).returncode == 0
    assert (copied / "plugins/action/wave.py").readlink() == Path("step.py")
    groups = yaml.safe_load((copied / "meta/runtime.yml").read_text())["action_groups"]
    assert "wave" in groups["steps"] and "wave" in groups["steps_under_lock"]
    assert "        wave,\n" in (copied / lists[1]).read_text()
    assert DOCUMENTED in (copied / "plugins/modules/wave.py").read_text()


def test_an_undescribed_option_is_reported_by_name(tmp_path: Path) -> None:
    copied = repository.copy(repository.tracked(), tmp_path)
    path = copied / "plugins/module_utils/_steps/switch.py"
    path.write_text(path.read_text().replace("OPTIONS: dict[str, Any] = {", 'OPTIONS: dict[str, Any] = {"x": {},', 1))
    done = generate(copied)
    assert (done.returncode, "plugins/modules/switch.py doesn't describe: x" in done.stderr) == (1, True)
