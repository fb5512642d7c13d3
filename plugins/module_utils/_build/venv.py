# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a virtual environment from a lock with hashes: named by its digest, built once, never changed afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from .workshop import Step, StepFailed, Workshop, workshop
from .failure import explain
from .builder import SORT
from .built import MARKER, is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import remove, write
from .instance import VAR
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import mask, url_parts
from .requirements import (
    UV_LOCK,
    Choice,
    decoded,
    lock_faults,
    normal,
    own_directories,
    project_faults,
    within_source,
)
from .tree import read_bytes

Argv: TypeAlias = list[str | Path]
#: Minimum length of a token in an index's URL; shorter pieces, such as "simple", help to see what failed.
TOKEN_CHARACTERS = 12
#: Seconds for the steps that download, and for those that don't.
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
        choice: which packages of the lock are installed, and by which installer.
        environment: extra variables for downloads (index, proxy, CA bundle); their values are masked in messages.
        uv_requirements: text of a requirements file that pins uv itself with hashes.
        tools: where uv is installed.
    """

    source: Path
    requirements: str
    python: str
    choice: Choice
    environment: Mapping[str, str]
    uv_requirements: str
    tools: Path = Path("/opt/greenlight")


def interpreter(python: str) -> tuple[str, str]:
    """Return the version of an interpreter, as ``3.13.5``, and the facts of it and its platform that a venv depends on.

    Both are empty if no Python runs at this path.
    """
    done = run([python, "-I", "-c", _INTERPRETER], seconds=20)
    try:
        version, tag, platform, path = json.loads(done.stdout)
        return ".".join(str(int(number)) for number in version), json.dumps([tag, platform, path])
    except (ValueError, TypeError):
        return "", ""


def venv_digest(identity: str, top: Path, requirements: str, choice: Choice, source: str) -> str:
    """Return SHA-256 over lock, interpreter and platform, as 64 hexadecimal digits.

    Include any choice that isn't the default, and the source if the venv contains code of it.

    Args:
        identity: of the interpreter, see :func:`interpreter`.
        top: directory of the source.
        requirements: the lock's path in it.
        choice: which packages of the lock are installed.
        source: digest of the source.

    Raises:
        GreenlightError: the lock is missing or unusable.
    """
    name = within_source(requirements)
    content = _lock(top, name)
    text = decoded(content, name)
    fault = lock_faults(text, name, choice) or project_faults(text, name, choice, top)
    if fault:
        raise GreenlightError(fault)
    total = hashlib.sha256(identity.encode())
    total.update(b"\0" + content)
    if PurePosixPath(name).name == UV_LOCK:
        total.update(b"\0" + (read_bytes(top, str(PurePosixPath(name).with_name("pyproject.toml"))) or b""))
    chosen = [sorted({*map(normal, names)}) for names in (choice.extras, choice.groups)]
    more = [*chosen, normal(choice.package), choice.project]
    if any(more):
        total.update(b"\0" + json.dumps(more).encode())
    if own_directories(text, name, choice, top):
        total.update(b"\0" + source.encode())
    return total.hexdigest()


def _lock(top: Path, name: str) -> bytes:
    """Return the content of a lock, which must be inside the source."""
    content = read_bytes(top, name)
    if content is None:
        raise GreenlightError(f"flask_app_requirements is {name}, but the source has no such file.")
    return content


def build(recipe: Recipe, venv: Path) -> None:
    """Build ``venv`` out of sight, hand it over, mark it, and finally give it its name.

    Only the download step has network access. No code of the lock or the source runs as root.

    Raises:
        GreenlightError: a package can't be downloaded or built, doesn't match its hash, or conflicts with another one.
    """
    home = venv.parents[1]
    try:
        uv = _uv(recipe, home.name) if recipe.choice.installer == "uv" else None
        with workshop(home.name, venv, home, recipe.python) as shop:
            plan = _with_uv(recipe, shop, uv) if uv else _with_pip(recipe, shop)
            # Wheels may record paths of the source, so the build sees the source where the app will.
            sandbox: dict[str, Any] = {"seconds": BUILD_SECONDS, "reads": {recipe.source: recipe.source}}
            environment = {"PIP_CACHE_DIR": str(shop.cache / "pip"), **_ENVIRONMENT, **recipe.environment}
            shop.perform(plan.download, network=True, environment=environment, **sandbox)
            gunicorn = shop.perform([*plan.build, *_closing(shop, uv)], environment=_ENVIRONMENT, **sandbox)
            shop.finish(outside=os.path.realpath(recipe.python), leads_out=(VAR,))
            remove(shop.tree / MARKER)  # in case a package has this file
            facts = {"installer": recipe.choice.installer, "gunicorn": gunicorn.strip()[-40:]}
            write(shop.tree / MARKER, json.dumps(facts) + "\n")
            shop.publish()
    except StepFailed as failed:
        raise GreenlightError(_failure(failed, recipe)) from None


@dataclass(frozen=True)
class _Plan:
    """The steps that need the network, and those that build the source's own packages."""

    download: list[Step]
    build: list[Step]


#: Use Debian's certificates, so that a company's own CA counts. Copy from the cache: it is on another mount, which hard
#: links can't cross.
_ENVIRONMENT = {
    "UV_SYSTEM_CERTS": "1",
    "UV_NATIVE_TLS": "1",
    "UV_NO_PROGRESS": "1",
    "UV_LINK_MODE": "copy",
    "UV_PYTHON_DOWNLOADS": "never",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
}
_PROBE = "import gunicorn; print(gunicorn.__version__)"
_PROBING = "importing gunicorn"


def _with_pip(recipe: Recipe, shop: Workshop) -> _Plan:
    lock = recipe.source / within_source(recipe.requirements)
    pip: Argv = [shop.target / "bin/python", "-I", "-m", "pip", "install"]
    download = [
        Step("making the venv", [recipe.python, "-I", "-m", "venv", shop.target]),
        # Relative paths in a lock are relative to the lock.
        Step("installing the locked packages with pip", [*pip, "--require-hashes", "--requirement", lock], lock.parent),
    ]
    return _Plan(download, _own_packages(recipe, shop, pip, None))


def _with_uv(recipe: Recipe, shop: Workshop, uv: Path) -> _Plan:
    lock = recipe.source / within_source(recipe.requirements)
    cached: Argv = [uv, "--no-config", "--cache-dir", shop.cache / "uv"]
    python: Argv = ["--python", shop.target / "bin/python"]
    download, local, hashed = [], None, lock
    if lock.name == UV_LOCK:
        exported, hashed, local = (shop.scratch / f"{name}.txt" for name in ("exported", "hashed", "local"))
        export: Argv = [*cached, "export", "--frozen", "--quiet", "--no-default-groups", "--no-editable"]
        export += ["--no-header", "--no-annotate", "--format=requirements.txt", "--output-file", exported]
        export += ["--python", recipe.python, *_chosen(recipe.choice)]
        download.append(Step("reading uv.lock", export, lock.parent))
        download.append(Step("sorting the locked packages", [SORT, exported, hashed, local]))
    # The app can't write to the venv, so Python would compile the modules at each start.
    sync: Argv = ["pip", "sync", "--quiet", "--compile-bytecode", *python, "--require-hashes", hashed]
    download.append(Step("making the venv", [*cached, "venv", "--quiet", "--python", recipe.python, shop.target]))
    download.append(Step("installing the locked packages with uv", [*cached, *sync], lock.parent))
    install: Argv = [uv, "--no-config", "--no-cache", "pip", "install", "--quiet", "--compile-bytecode", *python]
    return _Plan(download, _own_packages(recipe, shop, install, local))


def _chosen(choice: Choice) -> Argv:
    words = [word for name in choice.extras for word in ("--extra", name)]
    words += [word for name in choice.groups for word in ("--group", name)]
    words += ["--package", choice.package] if choice.package else []
    return [*words, *([] if choice.project else ["--no-emit-project"])]


def _own_packages(recipe: Recipe, shop: Workshop, install: Argv, local: Path | None) -> list[Step]:
    """Return the steps that install the source's own packages: without network, with the locked packages as tools.

    They use a copy, because some build tools write next to the code.
    """
    name = within_source(recipe.requirements)
    text = decoded(_lock(recipe.source, name), name)
    own = own_directories(text, name, recipe.choice, recipe.source)
    if not own:
        return []
    copy = shop.scratch / "source"
    directory = copy / (Path(name).parent if local else own[0])
    what: Argv = ["--requirement", local] if local else ["."]
    options: Argv = ["--no-deps", "--no-index", "--no-build-isolation"]
    return [
        Step("copying the source", ["cp", "-R", "--no-target-directory", recipe.source, copy]),
        Step("installing the source's own packages", [*install, *options, *what], directory),
    ]


def _closing(shop: Workshop, uv: Path | None) -> list[Step]:
    """Return the steps that check the result and print Gunicorn's version."""
    python = shop.target / "bin/python"
    check: Argv = [uv or "", "--no-config", "--no-cache", "pip", "check", "--python", python]
    checking = [Step("checking the locked packages against each other", check)] if uv else []
    return [*checking, Step(_PROBING, [python, "-I", "-c", _PROBE])]


def _uv(recipe: Recipe, app: str) -> Path:
    """Return uv at its pinned version; install it from the package index if it is missing."""
    match = re.search(r"^uv==([0-9.]+)", recipe.uv_requirements, re.MULTILINE)
    if not match:
        raise GreenlightError("The role's file uv.txt pins no uv==<version>. Install the collection again.")
    home = recipe.tools / f"uv-{match.group(1)}"
    if not is_complete(home):
        with workshop(app, home, recipe.tools, recipe.python) as shop:
            pinned = shop.leave("uv.txt", recipe.uv_requirements)
            pip: Argv = [home / "bin/python", "-I", "-m", "pip", "install", "--quiet", "--require-hashes"]
            steps = [
                Step("making a venv for uv", [recipe.python, "-I", "-m", "venv", home]),
                Step("installing uv with pip", [*pip, "--only-binary=:all:", "--requirement", pinned]),
            ]
            environment = {"PIP_CACHE_DIR": str(shop.cache / "pip"), **_ENVIRONMENT, **recipe.environment}
            shop.perform(steps, network=True, seconds=BUILD_SECONDS, environment=environment)
            shop.finish(outside=os.path.realpath(recipe.python))
            write(shop.tree / MARKER, "{}\n")
            if not is_complete(home):  # another app may have been faster
                shop.publish()
    return home / "bin/uv"


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the values, and the pieces of an index's URL that may be tokens: installers print parts of the URL."""
    urls = [value for value in environment.values() if "://" in value]
    parts = [part for url in urls for part in url_parts(url) if len(part) >= TOKEN_CHARACTERS]
    return [*environment.values(), *parts]


def _failure(failed: StepFailed, recipe: Recipe) -> str:
    # Drop control characters from the output.
    said = "".join(char if char.isprintable() or char == "\n" else " " for char in failed.said)
    masked = mask(said, _secrets(recipe.environment))
    if failed.what == _PROBING:
        return f"The new venv can't import gunicorn: {''.join(masked.splitlines()[-1:])}"
    tail = "\n".join(masked.splitlines()[-20:])
    return "\n".join(part for part in (f"{failed}:", explain(masked), tail) if part)
