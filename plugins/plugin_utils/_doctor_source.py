# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in an app's source: keys that signed it into git, cookie flags, packages for debugging."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._inspector import DEBUGGERS

#: Cookie flags that are False only where there is no HTTPS.
COOKIE_FLAGS = ("SESSION_COOKIE_SECURE", "REMEMBER_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "JWT_COOKIE_SECURE")
#: Packages that show an app's inside to whoever asks, normalised as in PEP 503.
DEBUG_PACKAGES = tuple(name.replace("_", "-") for name in DEBUGGERS)
#: Larger ones are no source that somebody wrote.
_BYTES = 2**20
_ELSEWHERE = re.compile(r"(^|/)(tests?|testing|docs?|examples?|node_modules|\.[^/]+)/")
_FOR_DEVELOPERS = re.compile(r"dev|test|local|debug|demo|example", re.IGNORECASE)
_TEST_FILE = re.compile(
    r"(test_.*|.*_test|conftest|(.*_)?(dev|development|local|testing|tests?)(_(config|settings))?)\.py\Z"
)
#: Calls that ask for a variable and take a default: os.environ.get, os.getenv, env.str, decouple's config, setdefault.
_ASKING = re.compile(r"(get|getenv|setdefault|pop|env|config|str|get_env|env_var|getconfig)\Z")
_DEFAULTS = ("default", "fallback", "default_value")


@dataclass(frozen=True)
class Spot:
    """A place in the source: which setting, where, and whether it stands in a class for the real thing."""

    setting: str
    path: str
    line: int
    value: bool = False


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
            reader = _Reader(name, keys)
            reader.visit(ast.parse(text))
            spots, more = reader.keys, reader.flags
        except (SyntaxError, ValueError, RecursionError):  # written for a newer Python than the controller's
            spots, more = _by_line(name, text, keys)
        found += spots
        flags += more
    return found, flags


class _Reader(ast.NodeVisitor):
    """Walks a module, but not into what is for developers only: a class Development, an ``if app.debug:``."""

    def __init__(self, path: str, keys: Collection[str]) -> None:
        self.path = path
        self.names = {*keys, "secret_key"}
        self.keys: list[Spot] = []
        self.flags: list[Spot] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if not _FOR_DEVELOPERS.search(node.name):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not _FOR_DEVELOPERS.search(node.name):
            self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        if not _FOR_DEVELOPERS.search(node.name):
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        condition = ast.unparse(node.test)
        for_developers = _FOR_DEVELOPERS.search(condition) and not re.search(r"\bnot\b|!=", condition)
        main = re.search(r"__name__", condition)
        for child in node.orelse if for_developers or main else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._given(_name_of(target), node.value, node.lineno)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._given(_name_of(node.target), node.value, node.lineno)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        names = {key.value: value for key, value in zip(node.keys, node.values, strict=True)
                 if isinstance(key, ast.Constant)}  # fmt: skip
        if "TESTING" not in names:
            for name, value in names.items():
                self._given(str(name), value, value.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        if "TESTING" not in given:
            for name, value in given.items():
                self._given(name, value, value.lineno)
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in self.names:
            asked = _ASKING.search(_name_of(node.func).lower())
            defaults = [*node.args[1:2], *(given[name] for name in _DEFAULTS if name in given)]
            if asked and any(map(_is_key, defaults)):
                self.keys.append(Spot(str(node.args[0].value), self.path, node.lineno))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """``os.environ.get("SECRET_KEY") or "literal"``."""
        if isinstance(node.op, ast.Or) and any(map(_is_key, node.values[1:])):
            constants = {part.value for part in ast.walk(node.values[0]) if isinstance(part, ast.Constant)}
            for name in sorted(constants & self.names, key=str):
                self.keys.append(Spot(str(name), self.path, node.lineno))
        self.generic_visit(node)

    def _given(self, name: str, value: ast.expr | None, line: int) -> None:
        if name in self.names and _is_key(value) and getattr(value, "value", None) != name:
            self.keys.append(Spot(name, self.path, line))
        if name in COOKIE_FLAGS and isinstance(value, ast.Constant) and isinstance(value.value, bool):
            self.flags.append(Spot(name, self.path, line, value.value))


def _is_key(value: ast.expr | None) -> bool:
    """Say whether an expression is a text that could sign, and no name of a variable such as ``APP_SECRET_KEY``."""
    if not isinstance(value, ast.Constant) or not isinstance(value.value, (str, bytes)):
        return False
    text = value.value if isinstance(value.value, str) else value.value.decode(errors="replace")
    return bool(text) and not re.fullmatch(r"[A-Z][A-Z0-9_]*_KEY", text)


def _name_of(target: ast.expr) -> str:
    """Return what ``SECRET_KEY``, ``app.secret_key`` and ``app.config["SECRET_KEY"]`` name."""
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return ""


def _by_line(path: str, text: str, keys: Collection[str]) -> tuple[list[Spot], list[Spot]]:
    """Look at single lines, where the file as a whole can't be read."""
    key = "|".join(map(re.escape, {*keys, "secret_key"}))
    literal = r"""[bru]?("[^"]+"|'[^']+')"""
    given = re.compile(rf"""\s*[\w.]*(\[["'])?\b({key})(["']\])?\s*(:\s*\w+\s*)?=\s*{literal}\s*(\#.*)?""")
    asked = re.compile(rf"""[^#]*\b(get|getenv)\(\s*["']({key})["']\s*,\s*{literal}\s*\).*""")
    flag = re.compile(rf"""\s*[\w.]*(\[["'])?\b({"|".join(COOKIE_FLAGS)})(["']\])?\s*=\s*(True|False)\b.*""")
    found, flags = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        match = given.fullmatch(line) or asked.fullmatch(line)
        if match:
            found.append(Spot(match[2], path, number))
        match = flag.fullmatch(line)
        if match:
            flags.append(Spot(match[2], path, number, match[4] == "True"))
    return found, flags


def debug_packages(lock: Path) -> list[str]:
    """Return the packages for debugging that a lock installs: of uv.lock without its groups for developers."""
    text = lock.read_text(encoding="utf-8", errors="replace")
    names = _installed_by_uv(text) if lock.name == "uv.lock" else _required(text)
    return sorted({_normal(name) for name in names} & set(DEBUG_PACKAGES))


def versions(lock: Path) -> dict[str, str]:
    """Return what a lock installs: package to version."""
    text = lock.read_text(encoding="utf-8", errors="replace")
    if lock.name == "uv.lock":
        names = _installed_by_uv(text)
        found = re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"$', text, re.MULTILINE)
        return {_normal(name): version for name, version in found if name in names}
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {_normal(name): version for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(text: str) -> Iterator[str]:
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(==|@|~=|>=|<=|===|;|$)", line)
        if match:
            yield match[1]


def _installed_by_uv(text: str) -> set[str]:
    try:
        packages: list[dict[str, Any]] = tomllib.loads(text).get("package", [])
    except tomllib.TOMLDecodeError:
        return set()
    by_name: dict[str, Mapping[str, Any]] = {package["name"]: package for package in packages}
    ours = [package for package in packages if package.get("source", {}).keys() & {"virtual", "editable", "directory"}]
    waiting = [dependency for package in ours for dependency in package.get("dependencies", [])]
    seen: set[tuple[str, str]] = set()
    while waiting:
        dependency = waiting.pop()
        package = by_name.get(dependency["name"], {})
        for extra in ("", *dependency.get("extra", [])):
            if (dependency["name"], extra) not in seen:
                seen.add((dependency["name"], extra))
                more = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies")
                waiting += more or []
    return {name for name, _ in seen}
