# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the first tutorial from its own text: a bare server gets HTTPS, a database and an app.

The test supplies what a reader brings along: the address of the server, a name that resolves to it, Pebble in place of
Let's Encrypt, a repository to clone, and a venv that was filled before.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import repository
from tests.support.deployed import DIRECTORY, PODMAN, PROJECT, ROOT
from tests.support.pages import code_blocks

PAGE = (ROOT / "docs/tutorials/first-server.md").read_text(encoding="utf-8")
NAME, ADDRESS = "notes.example.org", "203.0.113.10"
REPOSITORY = "https://git.example.org/greenlight.git"
SETTINGS = "inventories/production/group_vars/flask_app/main.yml"
#: Enough for apt, pip and two deploys.
SECONDS = 900


@pytest.fixture(scope="module")
def address() -> str:
    """Return the server's own address, where it listens on the ports that the tutorial names."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    command = [str(PODMAN), "inspect", "--format", template, f"{PROJECT}-first"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def typed() -> Iterator[str]:
    """Yield what a reader types and writes, as parts of one script."""
    for number, block in enumerate(code_blocks(PAGE)):
        if block.is_on_server:
            yield f"ssh root@{ADDRESS} bash -es <<'END-{number}'\n{block.text}END-{number}\n"
        elif block.language == "sh":
            yield block.text.replace(
                f"git clone {REPOSITORY}\ncd greenlight\n", f"git clone {REPOSITORY}\ncd greenlight\nvenv\n"
            )
        elif block.language != "text":
            more = "flask_app_acme_directory: https://world.test:14000/dir\n" if block.path == SETTINGS else ""
            yield (
                f"mkdir -p {Path(block.path).parent}\n"
                f"cat > {block.path} <<'END-{number}'\n{block.content}{more}END-{number}\n"
            )


@pytest.fixture
def home(address: str) -> Iterator[Path]:
    """A reader's home: a key for the server, a repository to clone, and programs that look for their files here."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as directory:
        made = Path(directory)
        (made / ".ssh").mkdir(mode=0o700)
        shutil.copy(DIRECTORY / "id_ed25519", made / ".ssh/id_ed25519")
        (made / ".ssh/config").write_text(
            f"IdentityFile {made}/.ssh/id_ed25519\nUserKnownHostsFile {made}/.ssh/known_hosts\n"
            "StrictHostKeyChecking yes\n"
        )
        (made / "bin").mkdir()
        programs = {
            "ssh": f'exec {shutil.which("ssh")} -F {made}/.ssh/config "$@"',
            "ssh-keygen": f'exec {shutil.which("ssh-keygen")} -f {made}/.ssh/known_hosts "$@"',
        }
        for name, text in programs.items():
            (made / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (made / "bin" / name).chmod(0o755)
        repository.copy(repository.tracked(), made / "greenlight.git")
        git = ["git", "-C", str(made / "greenlight.git"), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
            subprocess.run([*git, *words], check=True)
        (made / "hosts").write_text(f"127.0.0.1 localhost\n{address} {NAME}\n")
        yield made


def environment(home: Path, address: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    settings = {
        f"url.{home}/greenlight.git.insteadOf": REPOSITORY,
        "user.name": "Test",
        "user.email": "test@example.org",
    }
    config = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        config |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **kept,
        **config,
        "HOME": str(home),
        "PATH": f"{home}/bin:{kept['PATH']}",
        "CURL_CA_BUNDLE": str(DIRECTORY / "world-roots.pem"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_PROXY": f"{kept.get('NO_PROXY', '')},{NAME},{address}",
        "no_proxy": f"{kept.get('no_proxy', '')},{NAME},{address}",
    }


def filled_venv() -> str:
    """Return a shell function that makes .venv as script/secrets would, from the packages installed here."""
    lock = hashlib.sha256((ROOT / "requirements/controller.txt").read_bytes()).hexdigest()
    packages = next(path for path in sys.path if path.endswith("/site-packages"))
    programs = shlex.quote(str(Path(sys.executable).parent))
    return f"""venv() {{
  {sys.executable} -m venv .venv
  echo {packages} > .venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/tests.pth
  ln -s {programs}/ansible* {programs}/uv .venv/bin
  printf '%s\\n' "$PWD" {lock} > .venv/greenlight-requirements
}}
"""


def first_server(command: str) -> None:
    subprocess.run([str(PODMAN), "exec", "-i", f"{PROJECT}-first", "sh", "-se"], input=command, text=True, check=True)


def test_the_first_tutorial_works_as_it_is_written(home: Path, address: str) -> None:
    # The provider's part: the reader's key gives access as root. Then what only this network needs.
    trust = (DIRECTORY / "world-ca.pem").read_text()
    first_server(f"""
install -d -m 700 /root/.ssh
install -m 600 /home/deploy/.ssh/authorized_keys /root/.ssh/authorized_keys
cat > /usr/local/share/ca-certificates/world.crt <<'END'
{trust}END
update-ca-certificates
""")
    whole = f"set -eo pipefail\n{filled_venv()}cd {home}\n" + "".join(typed())
    script = home / "tutorial.sh"
    script.write_text(whole.replace(ADDRESS, address))
    namespace = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    begin = f"mount --bind {home}/hosts /etc/hosts && exec bash {script}"
    done = subprocess.run(
        [*namespace, "bash", "-c", begin],
        env=environment(home, address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    said = " ".join(done.stdout.split())
    assert re.findall(r"<h1>(.*?)</h1>", said) == ["Notes", "My notes", "Notes"]
    for text in (block.text for block in code_blocks(PAGE) if block.language == "text"):
        pattern = re.escape(" ".join(text.split())).replace("…", ".{1,90}?")
        assert re.search(pattern, said), f"{text}\nis not in\n{done.stdout}"
