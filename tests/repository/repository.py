# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository as git would commit it, and Ansible's commands on it. Shared by the tests in this directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
#: Nothing is decrypted here, but Ansible requests the passwords that ansible.cfg names before it knows that.
VAULT = f"test@{ROOT / 'molecule/shared/unused-vault-password'}"


@cache
def tracked() -> tuple[str, ...]:
    """Return the files that git tracks, or would after ``git add --all``. Links count as files."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted(set(listed.split("\0")) - {""})
    return tuple(name for name in names if os.path.lexists(ROOT / name))


def matching(*patterns: str) -> list[str]:
    """Return the tracked files that match one of the patterns; ``**`` is any directory."""
    found = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return [name for name in tracked() if name in found]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def load_yaml(name: str) -> Any:
    """Parse a YAML file; values tagged ``!vault`` and the like become their text."""
    return yaml.load(text(name), _Loader)  # a SafeLoader with one more tag


def copy(names: Iterable[str], into: Path) -> Path:
    """Copy files of the repository, links as links."""
    for name in names:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return into


def tool(name: str) -> Path:
    """Return a program of the venv that runs the tests."""
    return Path(sys.executable).with_name(name)


def run(*command: object, directory: Path, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as in a fresh shell, without the caller's Ansible variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        env={**inherited, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_VAULT_IDENTITY_LIST": VAULT, **environment},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_multi_constructor("!", lambda loader, _suffix, node: str(node.value))
