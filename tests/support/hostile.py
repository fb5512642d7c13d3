# SPDX-License-Identifier: GPL-3.0-or-later
"""The example app with packages that attack the machine that builds them, and a project that must be installed.

Each attack leaves its results in the venv: a file for each package, with the user that it ran as. So an attack that was
never tried isn't mistaken for one that failed. The lock names these packages by path, so no index is used.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.support import variants

#: Where an attack tries to leave a file: places that root, other apps and other services read.
TARGETS = (
    "/etc/cron.d/hostile", "/etc/profile.d/hostile.sh", "/etc/nginx/sites-enabled/hostile", "/usr/local/bin/hostile",
    "/root/hostile", "/opt/greenlight/hostile", "/srv/hostile", "/srv/guestbook/hostile",
    "/srv/guestbook/venvs/hostile", "/srv/guestbook/sources/hostile",
    "/var/lib/greenlight/hostile", "/var/lib/guestbook/hostile", "/var/cache/hostile",
    "/run/greenlight/hostile", "/run/lock/hostile", "/run/hostile", "/dev/shm/hostile", "/tmp/hostile",
    "/var/tmp/hostile", "/home/hostile",
)  # fmt: skip
#: What an attack tries to read.
SECRETS = (
    "/etc/guestbook/releases", "/etc/guestbook/digest.key", "/etc/shadow", "/root", "/run/greenlight/guestbook.lock",
    "/proc/1/environ", "/srv/guestbook/ledger.jsonl", "/run/dbus/system_bus_socket",
)  # fmt: skip
#: The targets that a build has to itself, so that writing them leaves nothing behind.
OWN = ("/dev/shm/hostile", "/tmp/hostile", "/var/tmp/hostile")

ATTACK = f"""
import json, os

def attack():
    got = []
    def attempt(what, action):
        try:
            action()
        except OSError:
            return
        got.append(what)
    def write(path):
        with open(path, "a") as stream:
            stream.write("hostile")
    def read(path):
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
    for path in {TARGETS!r}:
        attempt(f"write {{path}}", lambda: write(path))
    for path in {SECRETS!r}:
        attempt(f"read {{path}}", lambda: read(path))
    attempt("kill", lambda: os.kill(1, 0))
    attempt("setuid", lambda: os.setuid(0) if os.getuid() else None)
    attempt("schedule", lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)))
    return {{"user": os.getuid(), "got": got}}
"""
#: Python runs the import line of a .pth file at each start in the venv, that of an installer too.
AT_START = """
import hostile_code, json, os, sys
place = os.path.join(sys.prefix, "hostile-wheel.json")
# Not in the app's own process, which is another test's.
if os.access(sys.prefix, os.W_OK) and not os.path.exists(place):
    found = hostile_code.attack()
    try:
        os.link("/etc/passwd", os.path.join(sys.prefix, "hostile-link"))
        found["got"].append("link")
    except OSError:
        pass
    with open(place, "w") as stream:
        json.dump(found, stream)
"""
#: A build tool in the source itself (PEP 517), which needs no package.
BACKEND = """
import base64, hashlib, io, json, os, zipfile
{attack}
NAME, VERSION = {name!r}, {version!r}

def build_wheel(directory, config_settings=None, metadata_directory=None):
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    files = {{
        f"{{info}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{{NAME}}-{{VERSION}}.data/data/{{NAME}}.json": json.dumps(attack()),
    }}
    files[f"{{info}}/RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, f"{{info}}/RECORD"])
    name = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
#: The project is installed, and a program that the app starts can import the app's modules.
AT_IMPORT = """
import importlib.metadata
import subprocess
import sys

assert importlib.metadata.version("guestbook") == "4.5.6"
subprocess.run([sys.executable, "-m", "guestbook.config"], check=True)
"""
#: Each package, and the file below the venv with its attack's results.
REPORTS = {"wheel": "hostile-wheel.json", "sdist": "hostile_sdist.json", "project": "guestbook.json"}


def make(into: Path) -> Path:
    """Make the app."""
    variants.make("good_change", into, label="a hostile one")
    wheels = into / "wheels"
    wheels.mkdir(exist_ok=True)
    pth = f"import base64; exec(base64.b64decode({base64.b64encode(AT_START.encode()).decode()!r}))\n"
    locked = [
        _write(
            wheels / "hostile-1-py3-none-any.whl", wheel("hostile", {"hostile.pth": pth, "hostile_code.py": ATTACK})
        ),
        _write(wheels / "hostile_sdist-1.tar.gz", sdist("hostile_sdist", "1")),
    ]
    lock = into / "requirements.txt"
    lock.write_text(lock.read_text() + "".join(f"./wheels/{line}\n" for line in locked))
    (into / "pyproject.toml").write_text(PROJECT)
    (into / "backend.py").write_text(BACKEND.format(attack=ATTACK, name="guestbook", version="4.5.6"))
    wsgi = into / "wsgi.py"
    wsgi.write_text(wsgi.read_text() + AT_IMPORT)
    return into


def _write(path: Path, content: bytes) -> str:
    """Write a package; return its line of the lock."""
    path.write_bytes(content)
    return f"{path.name} --hash=sha256:{hashlib.sha256(content).hexdigest()}"


def wheel(name: str, files: Mapping[str, str]) -> bytes:
    info = f"{name}-1.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    everything[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in everything.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    return content.getvalue()


def sdist(name: str, version: str) -> bytes:
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": PROJECT,
        "backend.py": BACKEND.format(attack=ATTACK, name=name, version=version),
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(content.getvalue(), mtime=0)
