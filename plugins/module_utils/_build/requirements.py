# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock: what it installs, and what is wrong with it. It is a requirements file with hashes, or ``uv.lock``."""

from __future__ import annotations

import codecs
import difflib
import posixpath
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from .tree import read_bytes

UV_LOCK = "uv.lock"
#: Makes one lock for all platforms and for every Python from this version on.
LOCK_COMMAND = "uv pip compile --universal --python-version 3.11 --generate-hashes requirements.in -o"
#: Files that describe how a project is built.
PROJECT_FILES = ("pyproject.toml", "setup.py")
#: uv includes this backend (https://docs.astral.sh/uv/concepts/build-backend/).
_UV_BACKEND = "uv-build"
Package: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """Which packages of a lock are installed.

    Args:
        extras: optional dependencies of the project, by ``uv.lock``'s names.
        groups: dependency groups of the project; without a name here none is installed.
        package: the member of the workspace that is deployed; empty for the project next to the lock.
        project: whether the project itself is installed.
        installer: the program that installs it; not part of a venv's digest.
    """

    extras: Sequence[str] = ()
    groups: Sequence[str] = ()
    package: str = ""
    project: bool = False
    installer: Literal["uv", "pip"] = "uv"


#: The default choice.
AS_LOCKED = Choice()


def within_source(requirements: str) -> str:
    """Return a lock's path in the source as git names it; ``./requirements.txt`` is ``requirements.txt``.

    Raises:
        GreenlightError: it is outside of the source.
    """
    path = posixpath.normpath(requirements)
    if path.startswith(("/", "../")) or path in (".", ".."):
        raise GreenlightError(
            f"flask_app_requirements is {requirements}, which is not a file in the source."
            " Fix: give the lock's path in the source, such as requirements.txt or backend/uv.lock."
        )
    return path


def how_to_lock(name: str) -> str:
    """Return the command that makes the lock ``name``."""
    if _is_uv(name):
        return f"uv lock{_in_directory(name)}"
    return f"{LOCK_COMMAND} {name}"


def _in_directory(name: str) -> str:
    directory = PurePosixPath(name).parent
    return "" if str(directory) == "." else f" --project {directory}"


def _is_uv(name: str) -> bool:
    return PurePosixPath(name).name == UV_LOCK


def decoded(content: bytes, name: str) -> str:
    """Return the text of a lock, without the byte order mark that editors and shells on Windows write.

    Raises:
        GreenlightError: it isn't text.
    """
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise GreenlightError(
            f"flask_app_requirements is {name}, which is not UTF-8 text. Fix: save it as UTF-8, or create it again"
            f" with: {how_to_lock(name)}"
        ) from None


#: References of a requirements file to something that its hashes don't cover.
_OTHER_FILE = re.compile(r"-[erc]|--(editable|requirement|constraint)\b")


def lock_faults(text: str, name: str, choice: Choice = AS_LOCKED) -> str:
    """Return what is wrong with a lock for this choice, or an empty text."""
    if _is_uv(name):
        return _faults_of_uv(text, name, choice)
    uv_only = {"extras": choice.extras, "groups": choice.groups, "package": choice.package}
    given = [f"flask_app_uv_{kind}" for kind, value in uv_only.items() if value]
    if given:
        return (
            f"{given[0]} needs a {UV_LOCK}, but flask_app_requirements is {name}."
            f" Fix: remove {' and '.join(given)}, or set flask_app_requirements: {UV_LOCK}"
        )
    logical = re.sub(r"\\\r?\n", " ", text)
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in logical.splitlines()]
    packages = [line for line in lines if line and not line.startswith("-")]
    without = [line for line in lines if _OTHER_FILE.match(line) or (line in packages and "--hash=" not in line)]
    if without or not packages:
        example = f" (the first is {without[0].split()[0]})" if without else ""
        itself = any(re.match(r"(-e|--editable)?[ =]?\.(/\.)?/?$", line) for line in without)
        project = " and set flask_app_install_project: true, which installs the project itself" if itself else ""
        return (
            f"flask_app_requirements is {name}, which is not a lock: a package has no hash{example}."
            f" Fix: create it with: {how_to_lock(name)}{project}"
        )
    return "" if "gunicorn" in required_names(text) else _no_gunicorn(name)


def _no_gunicorn(name: str) -> str:
    return f"{name} does not contain gunicorn. Fix: add gunicorn to your requirements, and lock again."


# uv.lock


@dataclass(frozen=True)
class _Lock:
    """A parsed ``uv.lock``."""

    packages: Sequence[Package]
    #: Dependency groups of a workspace without a project.
    groups: Mapping[str, Sequence[Package]]

    @classmethod
    def of(cls, text: str) -> _Lock | None:
        try:
            whole = tomllib.loads(text)
            found = [package for package in whole.get("package", []) if isinstance(package["name"], str)]
            return cls(found, whole.get("manifest", {}).get("dependency-groups", {}))
        except (tomllib.TOMLDecodeError, RecursionError, KeyError, TypeError, AttributeError):
            return None

    @property
    def members(self) -> list[Package]:
        """The project and the members of its workspace."""
        return [package for package in self.packages if _local(package) and not package["source"].get("directory")]

    def roots(self, choice: Choice) -> list[Package]:
        """Return the chosen project, or all members if a workspace has no project."""
        if choice.package:
            return [package for package in self.members if package["name"] == normal(choice.package)]
        return [package for package in self.members if _local(package) == "."] or self.members

    def reached(self, choice: Choice, *, always: bool = False) -> list[Package]:
        """Return what is installed on any platform, or with ``always`` on every platform; without the roots."""
        roots = self.roots(choice)
        if not self.members:  # another tool made the lock: install all of it
            return list(self.packages)
        by_name: dict[str, list[Package]] = {}
        for package in self.packages:
            by_name.setdefault(package["name"], []).append(package)
        waiting = [(root, extra) for root in roots for extra in ("", *map(normal, choice.extras))]
        groups = [*map(normal, choice.groups)]
        chosen = [one for root in roots for name in groups for one in _table(root, "dev-dependencies").get(name, [])]
        chosen += [one for name in groups for one in self.groups.get(name, [])]
        waiting += list(_edges(chosen, by_name, always))
        seen: dict[tuple[int, str], Package] = {}
        while waiting:
            package, extra = waiting.pop()
            if (id(package), extra) not in seen:
                seen[id(package), extra] = package
                optional = _table(package, "optional-dependencies")
                needs = optional.get(extra, []) if extra else package.get("dependencies", [])
                waiting += _edges(needs, by_name, always)
        unique = {id(package): package for package in seen.values()}
        return [package for package in unique.values() if not any(package is root for root in roots)]


def _edges(needs: Sequence[Package], by_name: Mapping[str, Sequence[Package]], always: bool) -> Iterator[Any]:
    for need in needs:
        if not (always and "marker" in need):
            for package in by_name.get(need["name"], []):
                if need.get("version") in (None, package.get("version")):
                    yield from ((package, extra) for extra in ("", *need.get("extra", [])))


def _table(package: Package, name: str) -> Mapping[str, Sequence[Package]]:
    table: Mapping[str, Sequence[Package]] = package.get(name, {})
    return table


def _local(package: Package) -> str:
    """Return a package's directory in the source; empty if it comes from elsewhere."""
    source = package.get("source", {})
    return str(next((source[kind] for kind in ("editable", "virtual", "directory") if kind in source), ""))


def normal(name: str) -> str:
    """Normalize a package's name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by_uv(text: str, choice: Choice = AS_LOCKED) -> set[str]:
    """Return the names of the packages that ``uv.lock`` installs; none if it can't be read."""
    lock = _Lock.of(text)
    if lock is None:
        return set()
    own = lock.roots(choice) if choice.project else []
    return {package["name"] for package in [*lock.reached(choice), *own]}


def _faults_of_uv(text: str, name: str, choice: Choice) -> str:
    lock = _Lock.of(text)
    if lock is None:
        return (
            f"flask_app_requirements is {name}, which is not a lock written by uv: it is not TOML with packages."
            f" Fix: create it again with: {how_to_lock(name)}"
        )
    if choice.installer != "uv":
        return (
            f"flask_app_requirements is {name}, which {choice.installer} can't read."
            " Fix: set flask_app_installer: uv, or name a requirements file with hashes."
        )
    fault = _unknown(lock, name, choice) or _unproved(lock, name, choice)
    if fault or "gunicorn" in installed_by_uv(text, choice):
        return fault
    return _gunicorn_elsewhere(lock, choice) or _no_gunicorn(name)


def _unproved(lock: _Lock, name: str, choice: Choice) -> str:
    """Return what can't be installed as locked, or an empty text."""
    if choice.project and not any({"editable", "directory"} & {*root["source"]} for root in lock.roots(choice)):
        return (
            f"flask_app_install_project is true, but {name} has no project that can be installed: its pyproject.toml"
            " has no [build-system]. Fix: add one and lock again, or remove flask_app_install_project."
        )
    for package in lock.reached(choice, always=True):
        artifacts = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        if "git" in package.get("source", {}):
            return (
                f"{name} takes {package['name']} from git, where no hash can prove what is installed."
                " Fix: lock a released version, or a wheel in the source ([tool.uv.sources], path)."
            )
        if not _local(package) and not all(one.get("hash") for one in artifacts):
            again = f"Fix: create the lock again with: {how_to_lock(name)}"
            return f"{name} has no hash for {package['name']}, because its index provides none. {again}"
    return ""


def _unknown(lock: _Lock, name: str, choice: Choice) -> str:
    """Return which choice isn't in the lock, or an empty text."""
    roots = lock.roots(choice)
    members = [package["name"] for package in lock.members]
    if choice.package and not roots:
        return _unknown_selection("package", choice.package, members, f"the workspace of {name}")
    metadata = [root.get("metadata", {}) for root in roots]
    known = {
        "extras": [
            *(each for root in roots for each in _table(root, "optional-dependencies")),
            *(each for one in metadata for each in one.get("provides-extras", [])),
        ],
        "groups": [
            *(each for root in roots for each in _table(root, "dev-dependencies")),
            *(each for one in metadata for each in one.get("requires-dev", {})),
            *lock.groups,
        ],
    }
    for kind, wanted in (("extras", choice.extras), ("groups", choice.groups)):
        for one in wanted:
            if normal(one) not in map(normal, known[kind]):
                return _unknown_selection(kind, one, known[kind], f"{choice.package or 'the project'} in {name}")
    return ""


def _unknown_selection(kind: str, wanted: str, known: Collection[str], where: str) -> str:
    names = sorted({*known})
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}? " if near else ""
    there = f"Choose from {', '.join(names)}." if names else f"Remove it: there are no {kind.removesuffix('s')}s."
    return f"flask_app_uv_{kind} names {wanted}, which {where} does not have. Fix: {hint}{there}"


def _gunicorn_elsewhere(lock: _Lock, choice: Choice) -> str:
    """Return where the project has gunicorn if the choice leaves it out, or an empty text."""
    for root in lock.roots(choice):
        for kind, table in (("extras", "optional-dependencies"), ("groups", "dev-dependencies")):
            for name, needs in _table(root, table).items():
                if any(need["name"] == "gunicorn" for need in needs):
                    return (
                        f"gunicorn is locked but not installed: only {name} of the {kind} has it."
                        f" Fix: set flask_app_uv_{kind}: [{name}]"
                    )
    if not choice.package:
        for member in lock.members:
            if any(package["name"] == "gunicorn" for package in lock.reached(Choice(package=member["name"]))):
                return (
                    f"gunicorn is locked but not installed: only the package {member['name']} has it."
                    f" Fix: set flask_app_uv_package: {member['name']}"
                )
    return ""


# Packages that are built from the source itself


def own_directories(text: str, name: str, choice: Choice, top: Path) -> list[str]:
    """Return the directories in the source that are built and installed, relative to it.

    If there is one, a venv contains code of the source, and not only what the lock proves.

    Args:
        text: the lock.
        name: its path in the source.
        choice: which of its packages are installed.
        top: the source.
    """
    home = PurePosixPath(name).parent
    if not _is_uv(name):
        if not choice.project:
            return []
        return [str(home) if _has_project(top, str(home)) else "."]
    lock = _Lock.of(text)
    packages = [] if lock is None else [*lock.reached(choice), *(lock.roots(choice) if choice.project else [])]
    found = {_local(package) for package in packages if "virtual" not in package.get("source", {})} - {""}
    return sorted(posixpath.normpath(home / directory) for directory in found)


def project_faults(text: str, name: str, choice: Choice, top: Path) -> str:
    """Return why the locked packages aren't enough to build the source's own ones, or an empty text.

    Build tools must be among the locked packages, because otherwise they would come from the index without a proof.
    """
    names = installed_by_uv(text, choice) if _is_uv(name) else required_names(text)
    for directory in own_directories(text, name, choice, top):
        if directory.startswith(("/", "..")):
            return (
                f"{name} installs {directory}, which is outside of the source."
                " Fix: move it into the source, or set flask_app_source_directory to a directory that contains both."
            )
        if not _has_project(top, directory):
            return (
                f"{top / directory} has no pyproject.toml, so there is no project to install."
                " Fix: add one, or remove flask_app_install_project."
            )
        where = posixpath.join(directory, "pyproject.toml")
        for tool in _build_tools(top, where):
            if tool not in names and not (tool == _UV_BACKEND and choice.installer == "uv"):
                return (
                    f"{posixpath.normpath(where)} builds with {tool}, which {name} does not contain."
                    f" Fix: add {tool} to your requirements, and lock again."
                )
    return ""


def _has_project(top: Path, directory: str) -> bool:
    return any(read_bytes(top, posixpath.join(directory, file)) is not None for file in PROJECT_FILES)


def _build_tools(top: Path, name: str) -> list[str]:
    """Return the packages that a project needs to be built (PEP 518)."""
    try:
        text = (read_bytes(top, name) or b"").decode()
        needs = tomllib.loads(text).get("build-system", {}).get("requires", ["setuptools"])
        return [normal(match[0]) for need in needs if (match := re.match(r"[A-Za-z0-9][\w.-]*", str(need).strip()))]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return []  # the build reports what is wrong


#: A requirement by its name, and one by the path or the address of a wheel or of a source archive.
_BY_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(==|@|~=|>=|<=|===|;|\\|--|$)")
_BY_PATH = re.compile(r"(?:\S*/)?([A-Za-z0-9][\w.]*)-\d\S*(\.whl|\.tar\.gz|\.zip)(?=[\s;\\]|$)")


def required_names(text: str) -> set[str]:
    """Return the names of the packages in a requirements file."""
    matches = (_BY_PATH.match(line) or _BY_NAME.match(line) for line in text.splitlines())
    return {normal(match[1]) for match in matches if match}
