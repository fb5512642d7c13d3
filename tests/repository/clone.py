# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the repository in which scripts and Ansible run as a user calls them. Shared by the tests here."""

from __future__ import annotations

import hashlib
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.greenlight.flask.plugins.plugin_utils._vault.file import parsed

from tests.repository import repository

#: SCRIPTS: what script/secrets needs. PLAYS: what Ansible needs in addition.
SCRIPTS = ("ansible.cfg", "collections/", "group_vars/", "inventories/", "plugins/", "requirements/controller.txt",
           "roles/flask_app/defaults/", "script/")  # fmt: skip
PLAYS = ("examples/", "galaxy.yml", "meta/", "playbooks/", "roles/flask_app/", "site.yml")


@dataclass(frozen=True)
class Clone:
    """A copy with a .venv that the scripts take for one of their own."""

    root: Path

    @classmethod
    def make(cls, root: Path, *, plays: bool = False) -> Clone:
        places = (*SCRIPTS, *PLAYS) if plays else SCRIPTS
        repository.copy([name for name in repository.tracked() if name.startswith(places)], root)
        python = root / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        # Not a link: a script that fills a venv would write through it.
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        lock = hashlib.sha256((root / "requirements/controller.txt").read_bytes()).hexdigest()
        (root / ".venv/greenlight-requirements").write_text(f"{root}\n{lock}\n")
        return cls(root)

    def run(self, *words: object, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as in a fresh shell, so that only ansible.cfg says where the vault passwords are."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.root,
            env={**self.environment, **environment},
            input=given,
            capture_output=True,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
        return {**kept, "ANSIBLE_NOCOLOR": "1"}

    def secrets(self, *words: str, given: str | bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run the Python part of script/secrets in a fork of this process, because Ansible takes long to import."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            stdin.write(given.encode() if isinstance(given, str) else given)
            stdin.seek(0)
            child = os.fork()
            if child == 0:
                self._be_secrets(words, [stdin.fileno(), stdout.fileno(), stderr.fileno()])
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(words, code, stdout.read().decode(), stderr.read().decode())

    def _be_secrets(self, words: Sequence[str], handles: Sequence[int]) -> NoReturn:
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
        code: object = 0
        try:
            os.chdir(self.root)
            os.environ.clear()
            os.environ.update(self.environment)
            sys.argv = ["script/secrets-files", *words]
            runpy.run_path(str(self.root / "script/secrets-files"), run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)

    def play(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(repository.tool("ansible-playbook"), *words, given=b"", **environment)

    def main(self, environment: str) -> Path:
        return self.root / f"inventories/{environment}/group_vars/flask_app/main.yml"

    def vault(self, environment: str) -> Path:
        return self.main(environment).with_name("vault.yml")

    def plain(self, environment: str) -> str:
        """Return the content of the vault file, decrypted like Ansible does."""
        password = (self.root / ".vault" / environment).read_bytes().strip()
        return str(
            VaultLib([(environment, VaultSecret(password))]).decrypt(self.vault(environment).read_bytes()).decode()
        )

    def values(self, environment: str) -> dict[str, Any]:
        return dict(parsed(self.plain(environment), self.vault(environment)))

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return mode and content of every file, except links."""
        found = {}
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
                found[str(path.relative_to(self.root))] = (path.stat().st_mode & 0o7777, path.read_bytes())
        return found
