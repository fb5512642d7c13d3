# SPDX-License-Identifier: GPL-3.0-or-later
"""Find problems in an app's source: literal keys and passwords, cookie flags, debugging packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import (
    AS_LOCKED,
    UV_LOCK,
    Choice,
    installed_by_uv,
    normal,
    required_names,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import read_text
from ansible_collections.greenlight.flask.plugins.module_utils._release.inspector import DEBUGGERS

from . import literals
from .python import (
    COOKIE_FLAGS,
    Reader,
    Spot,
    by_line,
    for_developers,
)

#: Packages that expose an app's internals to any visitor, normalised as in PEP 503.
DEBUG_PACKAGES = tuple(name.replace("_", "-") for name in DEBUGGERS)
#: Larger files are not written by hand.
_BYTES = 2**20
_ELSEWHERE = re.compile(r"(^|/)(tests?|testing|docs?|examples?|node_modules|\.[^/]+)/")
_TEST_FILE = re.compile(
    r"(test_.*|.*_test|conftest|(.*_)?(dev|development|local|testing|tests?)(_(config|settings))?)\.py\Z"
)
#: Files that Flask, dynaconf and configparser read.
_SETTINGS_FILE = re.compile(r"(^|[/._-])(config|settings|secrets)\.(toml|cfg|ini|json)\Z")


def python_files(names: Collection[str]) -> list[str]:
    """Return the files of a source that run in production, judged by their names."""
    return [
        name
        for name in names
        if name.endswith(".py") and not _ELSEWHERE.search(name) and not _TEST_FILE.match(PurePosixPath(name).name)
    ]


@dataclass
class Survey:
    """Literal signing keys, passwords and tokens in a source, and its cookie flags."""

    keys: list[Spot] = field(default_factory=list)
    credentials: list[Spot] = field(default_factory=list)
    flags: list[Spot] = field(default_factory=list)


def survey(top: Path, names: Collection[str], keys: Collection[str]) -> Survey:
    """Read the source once.

    Args:
        top: its directory.
        names: the files that git doesn't ignore.
        keys: names of the settings with a signing key.
    """
    parts = "|".join(map(re.escape, {*keys, *COOKIE_FLAGS}))
    wanted = re.compile(rf"{parts}|secret_key|://|_(TOKEN|SECRET|PASS|PWD|API_KEY|ACCESS_KEY)|passw", re.IGNORECASE)
    found = Survey()
    for name in python_files(names):
        text = read_text(top, name, most=_BYTES, links=False)
        if text is None or not wanted.search(text):
            continue
        try:
            module = ast.parse(text)
            reader = Reader(name, keys, module)
            reader.visit(module)
            of_file = reader.keys, reader.credentials, reader.flags
        except (SyntaxError, ValueError, RecursionError):  # may need a newer Python than the controller's
            of_file = by_line(name, text, keys)
        for every, spots in zip((found.keys, found.credentials, found.flags), of_file, strict=True):
            every.extend(spots)
    for name in names:
        stem = PurePosixPath(name).stem
        if _SETTINGS_FILE.search(name) and not _ELSEWHERE.search(name) and not for_developers(stem):
            for spot in _in_settings(top, name, keys):
                (found.keys if spot.setting in keys else found.credentials).append(spot)
    return found


def _in_settings(top: Path, name: str, keys: Collection[str]) -> Iterator[Spot]:
    """Search a settings file line by line, except its sections for developers."""
    text = read_text(top, name, most=_BYTES, links=False)
    if text is None:
        return
    given = re.compile(r"""\s*"?([A-Z][A-Z0-9_]*)"?\s*[:=]\s*["']?([^"'\s][^"']*?)["']?\s*,?\s*""")
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"""\s*(\[+[^\[\]]+\]+|"\w+"\s*:\s*\{\s*\Z)""", line)
        section = header[1] if header else section
        match = given.fullmatch(line)
        template = match and re.match(r"@\w+ |[$%{<\[]|(null|none)\Z|[A-Z][A-Z0-9_]*_KEY\Z", match[2])
        if not match or template or for_developers(section):
            continue
        if match[1] in keys or (literals.is_setting(match[1]) and literals.is_password(match[1], match[2])):
            yield Spot(match[1], name, number)
        elif literals.has_password(match[2]):
            yield Spot(match[1], name, number, database=literals.is_database(match[2]))


def debug_packages(top: Path, lock: str, choice: Choice = AS_LOCKED) -> list[str]:
    """Return the debugging packages that a lock installs; in uv.lock without groups for developers."""
    text = _text_of_lock(top, lock)
    names = installed_by_uv(text, choice) if PurePosixPath(lock).name == UV_LOCK else required_names(text)
    return sorted({normal(name) for name in names} & set(DEBUG_PACKAGES))


def _text_of_lock(top: Path, lock: str) -> str:
    return (read_text(top, lock) or "").removeprefix("\ufeff")


def versions(top: Path, lock: str) -> dict[str, str]:
    """Return the packages that a lock installs, each with its version."""
    text = _text_of_lock(top, lock)
    if PurePosixPath(lock).name == UV_LOCK:
        names = installed_by_uv(text)
        found = re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"$', text, re.MULTILINE)
        return {normal(name): version for name, version in found if name in names}
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in found}
