# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in an app's source: keys that signed it into git, cookie flags, packages for debugging."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from ansible_collections.greenlight.flask.plugins.module_utils._inspector import DEBUGGERS
from ansible_collections.greenlight.flask.plugins.module_utils._requirements import (
    AS_LOCKED,
    UV_LOCK,
    Choice,
    installed_by_uv,
    normal,
    required_names,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._doctor_python import (
    COOKIE_FLAGS,
    Reader,
    Spot,
    by_line,
    for_developers,
)

#: Packages that show an app's inside to whoever asks, normalised as in PEP 503.
DEBUG_PACKAGES = tuple(name.replace("_", "-") for name in DEBUGGERS)
#: Larger ones are no source that somebody wrote.
_BYTES = 2**20
_ELSEWHERE = re.compile(r"(^|/)(tests?|testing|docs?|examples?|node_modules|\.[^/]+)/")
_TEST_FILE = re.compile(
    r"(test_.*|.*_test|conftest|(.*_)?(dev|development|local|testing|tests?)(_(config|settings))?)\.py\Z"
)
#: What Flask, dynaconf and configparser read.
_SETTINGS_FILE = re.compile(r"(^|[/._-])(config|settings|secrets)\.(toml|cfg|ini|json)\Z")


def python_files(names: Collection[str]) -> list[str]:
    """Return the files of a source that run in production, as far as their names tell."""
    return [
        name
        for name in names
        if name.endswith(".py") and not _ELSEWHERE.search(name) and not _TEST_FILE.match(PurePosixPath(name).name)
    ]


def survey(top: Path, names: Collection[str], keys: Collection[str]) -> tuple[list[Spot], list[Spot]]:
    """Read the source once.

    Args:
        top: its directory.
        names: the files that git would take.
        keys: names of the settings that hold a key which signs.

    Returns:
        Where a key has a literal value or fallback, and where a cookie flag is literally True or False.
    """
    wanted = re.compile("|".join(map(re.escape, {*keys, *COOKIE_FLAGS, "secret_key"})))
    found: list[Spot] = []
    flags: list[Spot] = []
    for name in python_files(names):
        path = top / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _BYTES:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if not wanted.search(text):
            continue
        try:
            module = ast.parse(text)
            reader = Reader(name, keys, module)
            reader.visit(module)
            spots, more = reader.keys, reader.flags
        except (SyntaxError, ValueError, RecursionError):  # written for a newer Python than the controller's
            spots, more = by_line(name, text, keys)
        found += spots
        flags += more
    for name in names:
        stem = PurePosixPath(name).stem
        if _SETTINGS_FILE.search(name) and not _ELSEWHERE.search(name) and not for_developers(stem):
            found += _in_settings(top, name, keys)
    return found, flags


def _in_settings(top: Path, name: str, keys: Collection[str]) -> Iterator[Spot]:
    """Look at a file of settings line by line, without its sections for developers."""
    path = top / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _BYTES:
        return
    given = re.compile(rf"""\s*"?({"|".join(map(re.escape, keys))})"?\s*[:=]\s*["']?([^"'\s][^"']*?)["']?\s*,?\s*""")
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        header = re.match(r"""\s*(\[+[^\[\]]+\]+|"\w+"\s*:\s*\{\s*\Z)""", line)
        section = header[1] if header else section
        match = given.fullmatch(line)
        template = match and re.match(r"@\w+ |[$%{<\[]|(null|none)\Z|[A-Z][A-Z0-9_]*_KEY\Z", match[2])
        if match and not template and not for_developers(section):
            yield Spot(match[1], name, number)


def debug_packages(lock: Path, choice: Choice = AS_LOCKED) -> list[str]:
    """Return the packages for debugging that a lock installs: of uv.lock without its groups for developers."""
    text = lock.read_text(encoding="utf-8-sig", errors="replace")
    names = installed_by_uv(text, choice) if lock.name == UV_LOCK else required_names(text)
    return sorted({normal(name) for name in names} & set(DEBUG_PACKAGES))


def versions(lock: Path) -> dict[str, str]:
    """Return what a lock installs: package to version."""
    text = lock.read_text(encoding="utf-8-sig", errors="replace")
    if lock.name == UV_LOCK:
        names = installed_by_uv(text)
        found = re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"$', text, re.MULTILINE)
        return {normal(name): version for name, version in found if name in names}
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in found}
