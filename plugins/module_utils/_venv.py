# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual environment from a lock with hashes, named by its digest, built once and never changed afterwards."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ansible_collections.greenlight.flask.plugins.module_utils._command import Finished, run
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import make_directory, read, remove, write
from ansible_collections.greenlight.flask.plugins.module_utils._masking import mask, url_parts

#: Written last: a venv without it is half-made.
MARKER = "greenlight.json"
Argv: TypeAlias = list[str | Path]
#: A piece of an index's URL that is as long may be a token; a shorter one, such as "simple", says where it failed.
TOKEN_CHARACTERS = 12
#: Seconds for one download or build step.
BUILD_SECONDS = 1200
_INTERPRETER = (
    "import json,os,sys,sysconfig; print(json.dumps([list(sys.version_info[:3]),"
    " sys.implementation.cache_tag, sysconfig.get_platform(), os.path.realpath(sys.executable)]))"
)


@dataclass(frozen=True)
class Recipe:
    """What a venv is made of.

    Args:
        source: directory of the app's source.
        requirements: the lock, relative to it: a requirements file with hashes, or ``uv.lock``.
        python: the interpreter.
        installer: ``uv`` or ``pip``.
        environment: extra variables for downloads (index, proxy, CA bundle); their values are masked in messages.
        uv_requirements: a requirements file (its text) that pins uv itself with hashes.
        tools: where uv is kept.
        cache: uv's cache, shared by the apps of the host; the same file system as the venvs makes hard links possible.
    """

    source: Path
    requirements: str
    python: str
    installer: str
    environment: Mapping[str, str]
    uv_requirements: str
    tools: Path = Path("/opt/greenlight")
    cache: Path = Path("/var/cache/greenlight/uv")


#: What a requirements file takes from elsewhere, where no hash of this file reaches.
_OTHER_FILE = re.compile(r"-[erc]|--(editable|requirement|constraint)\b")


def lock_faults(text: str, name: str) -> str:
    """Say in one sentence what makes a requirements file unfit as a lock, or return an empty text."""
    if Path(name).name == "uv.lock":
        return "" if re.search(r'^name = "gunicorn"$', text, re.MULTILINE) else _no_gunicorn(name)
    logical = re.sub(r"\\\r?\n", " ", text)
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in logical.splitlines()]
    packages = [line for line in lines if line and not line.startswith("-")]
    without = [line for line in lines if _OTHER_FILE.match(line) or (line in packages and "--hash=" not in line)]
    if without or not packages:
        example = f" (the first is {without[0].split()[0]})" if without else ""
        return (
            f"flask_app_requirements is {name}, and it is not a lock: a package has no hash{example}."
            f" Make it with: uv pip compile --generate-hashes requirements.in -o {name}"
        )
    if not any(re.match(r"gunicorn\s*(\[|=|@|;|$)", line, re.IGNORECASE) for line in packages):
        return _no_gunicorn(name)
    return ""


def _no_gunicorn(name: str) -> str:
    return f"gunicorn is not among the packages of {name}; add it to what you lock, and lock again."


def interpreter(python: str) -> tuple[str, str]:
    """Return the version of an interpreter, as ``3.13.5``, and what a venv depends on of it and of the platform.

    Both are empty where no Python runs at this path.
    """
    done = run([python, "-I", "-c", _INTERPRETER], seconds=20)
    try:
        version, *identity = json.loads(done.stdout)
        return ".".join(str(int(number)) for number in version), json.dumps(identity)
    except (ValueError, TypeError):
        return "", ""


def venv_digest(identity: str, lock: Path) -> str:
    """SHA-256 over lock, interpreter and platform, as 64 hexadecimal digits.

    Args:
        identity: of the interpreter, see :func:`interpreter`.
        lock: path of the lock.

    Raises:
        GreenlightError: the lock is missing or unfit.
    """
    text = read(lock)
    if text is None:
        raise GreenlightError(f"the source has no file {lock.name}, the lock that flask_app_requirements names")
    fault = lock_faults(text, lock.name)
    if fault:
        raise GreenlightError(fault)
    total = hashlib.sha256(identity.encode())
    for path in (lock, lock.with_name("pyproject.toml")) if lock.name == "uv.lock" else (lock,):
        total.update(b"\0" + (read(path) or "").encode())
    return total.hexdigest()


def is_complete(venv: Path) -> bool:
    return (venv / MARKER).is_file() and (venv / "bin/python").exists()


def build(recipe: Recipe, venv: Path) -> None:
    """Build ``venv`` in place (its scripts hold its path), marker last; what a killed run left is removed first.

    Raises:
        GreenlightError: a package can't be had, doesn't match its hash, or contradicts another one.
    """
    make_directory(venv.parent)
    remove(venv)
    with tempfile.TemporaryDirectory() as scratch:
        if recipe.installer == "pip":
            _build_with_pip(recipe, venv)
        else:
            _build_with_uv(recipe, venv, Path(scratch))
    # Whatever modes the wheels and the installer (uv's own .lock is 0666) have: all may read, root alone may write.
    _step(recipe, ["chmod", "-R", "a+rX,go-w", venv], "closing the venv")
    probe = run([venv / "bin/python", "-I", "-c", "import gunicorn; print(gunicorn.__version__)"])
    if probe.code != 0:
        raise GreenlightError(f"the new venv can't import gunicorn: {''.join(probe.output.splitlines()[-1:])}")
    write(venv / MARKER, json.dumps({"installer": recipe.installer, "gunicorn": probe.stdout.strip()}) + "\n")


def _build_with_pip(recipe: Recipe, venv: Path) -> None:
    _step(recipe, [recipe.python, "-m", "venv", venv], "making the venv")
    lock = recipe.source / recipe.requirements
    command: Argv = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options: Argv = ["--no-input", "--require-hashes", "--requirement", lock]
    _step(recipe, [*command, *options], "installing the locked packages with pip")


def _build_with_uv(recipe: Recipe, venv: Path, scratch: Path) -> None:
    uv = _uv(recipe)
    command: Argv = [uv, "--no-config", "--cache-dir", recipe.cache]
    lock = recipe.source / recipe.requirements
    if lock.name == "uv.lock":
        exported = scratch / "requirements.txt"
        export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--format=requirements.txt"]
        where: Argv = ["--project", lock.parent, "--python", recipe.python, "--output-file", exported, "--quiet"]
        _step(recipe, [*command, *export, *where], "reading uv.lock")
        lock = exported
    _step(recipe, [*command, "venv", "--quiet", "--python", recipe.python, venv], "making the venv")
    python: Argv = ["--python", venv / "bin/python"]
    sync: Argv = ["pip", "sync", "--quiet", *python, "--require-hashes", "--compile-bytecode", lock]
    _step(recipe, [*command, *sync], "installing the locked packages with uv")
    _step(recipe, [*command, "pip", "check", *python], "checking the locked packages against each other")


def _uv(recipe: Recipe) -> Path:
    """Return uv at its pinned version, installed from the package index where it isn't there yet."""
    match = re.search(r"^uv==([0-9.]+)", recipe.uv_requirements, re.MULTILINE)
    if not match:
        raise GreenlightError("the role's file uv.txt pins no uv==<version>; take it from the collection again")
    home = recipe.tools / f"uv-{match.group(1)}"
    if not is_complete(home):
        remove(home)
        make_directory(recipe.tools)
        _step(recipe, [recipe.python, "-m", "venv", home], "making a place for uv")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
            pinned.write(recipe.uv_requirements)
            pinned.flush()
            command: Argv = [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            options = ["--no-input", "--require-hashes", "--only-binary=:all:", "--requirement", pinned.name]
            _step(recipe, [*command, *options], "installing uv with pip")
        write(home / MARKER, "{}\n")
    return home / "bin/uv"


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the values, and of an index's URL what may be a token: installers print the URL without its password."""
    urls = [value for value in environment.values() if "://" in value]
    parts = [part for url in urls for part in url_parts(url) if len(part) >= TOKEN_CHARACTERS]
    return [*environment.values(), *parts]


def _step(recipe: Recipe, argv: Argv, what: str) -> Finished:
    # Debian's certificates, so that a company's own CA counts; a builder must not leave files only root can read.
    environment = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_NO_PROGRESS": "1", **recipe.environment}
    done = run(["sh", "-c", 'umask 022; exec "$@"', "sh", *argv], seconds=BUILD_SECONDS, environment=environment)
    if done.code != 0:
        tail = "\n".join(done.output.splitlines()[-20:])
        raise GreenlightError(f"{what} failed (exit code {done.code}):\n{mask(tail, _secrets(recipe.environment))}")
    return done
