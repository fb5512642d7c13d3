# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when Gunicorn imports a source: whether it finds the app, and whether a server starts."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import read_text

from .files import python_files
from .python import (
    APP,
    FACTORY,
    Spot,
    apps_of,
    makes_an_app,
    name_of,
    only_developers,
)

#: Functions that serve an app until the process ends; and methods of Flask-SocketIO's objects and the like.
_SERVING = {"run_simple", "serve_forever"}
_SERVING_AN_APP = {"serve", "run"}
#: Names of a request, as in ``request.remote_addr``; and the WSGI variable behind that.
_REQUEST = re.compile(r"(.*_)?(request|req)")
_ADDRESS = "REMOTE_ADDR"
#: Flask-Limiter's function for the client's address.
_LIMITER = "get_remote_address"
#: An app that reads this header knows its clients' addresses.
_HEADER = re.compile(r"X[-_]FORWARDED[-_]FOR", re.IGNORECASE)
#: Settings by which Gunicorn finds the app in a place unknown here.
_ELSEWHERE = {"pythonpath", "chdir", "wsgi_app", "paste"}


@dataclass(frozen=True)
class Started:
    """A server that the source starts: its place, whether at import, and whether with DEBUG."""

    path: str
    line: int
    at_import: bool
    debug: bool


class Sources:
    """The Python files of a source, each read and parsed once."""

    def __init__(self, top: Path, names: Collection[str], wsgi: str, gunicorn: Mapping[str, Any]) -> None:
        """Take the directory, its files, flask_app_wsgi and Gunicorn's settings."""
        self._top = top
        self._names = names
        self._files = set(python_files(names))
        self._elsewhere = bool(_ELSEWHERE & gunicorn.keys())
        module, _, expression = wsgi.partition(":")
        self.entry = module
        match = re.match(r"\w+", expression or "application")
        self.attribute = match[0] if match else ""
        self._texts: dict[str, str] = {}
        self._modules: dict[str, ast.Module | None] = {}

    def text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = read_text(self._top, name, links=False) or ""
        return self._texts[name]

    def module(self, name: str) -> ast.Module | None:
        """Return a file's code; None if this Python can't parse it."""
        if name not in self._modules:
            try:
                self._modules[name] = ast.parse(self.text(name))
            except (SyntaxError, ValueError, RecursionError):
                self._modules[name] = None
        return self._modules[name]

    def file(self, module: str) -> str:
        """Return the file of a module, or nothing."""
        path = module.replace(".", "/")
        return next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in self._names), "")

    @cached_property
    def imported(self) -> set[str]:
        """The files that the app's module imports, including itself."""
        waiting, found = [self.file(self.entry)], set[str]()
        while waiting:
            name = waiting.pop()
            if name and name not in found:
                found.add(name)
                waiting += map(self.file, self._imports(name))
        return found

    def _imports(self, name: str) -> Iterator[str]:
        package = [*PurePosixPath(name).parent.parts]
        for node in ast.walk(self.module(name) or ast.Module([], [])):
            named = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                origin = ".".join([*base, *([node.module] if node.module else [])])
                named = [origin, *(f"{origin}.{alias.name}".strip(".") for alias in node.names)]
            for module in named:
                parts = module.split(".")
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))

    # The app

    def missing(self) -> tuple[str, list[str]]:
        """Return what flask_app_wsgi names and the source lacks, and values that would find an app.

        If Gunicorn may find it in a package or another directory, nothing is missing.
        """
        if self._elsewhere or not re.fullmatch(r"\w+(\.\w+)*", self.entry):
            return "", []
        name = self.file(self.entry)
        if not name:
            parts = self.entry.split(".")
            known = {part for path in self._names for part in PurePosixPath(path).with_suffix("").parts}
            if {parts[0], parts[-1]} & known:
                return "", []
            return f"the source has no module {self.entry}", self._apps(self._files)
        module = self.module(name)
        if not module or not self.attribute or self.attribute in _bound(module) or _is_dynamic(module):
            return "", []
        return f"{name} has no {self.attribute}", self._apps([name]) or self._apps(self._files)

    def _apps(self, files: Iterable[str]) -> list[str]:
        """Return possible values of flask_app_wsgi, the most likely first: an app before a factory, near the top."""
        found = sorted(self._apps_in(files), key=lambda each: (each.count("."), "(" in each, each))
        return list(dict.fromkeys(found))

    def _apps_in(self, files: Iterable[str]) -> Iterator[str]:
        for name in files:
            path = PurePosixPath(name)
            place = path.parent if path.name == "__init__.py" else path.with_suffix("")
            dotted = ".".join(place.parts)
            module = self.module(name) if FACTORY.search(self.text(name)) else None
            statements: list[ast.stmt] = module.body if module and dotted else []
            for node in statements:
                if isinstance(node, ast.FunctionDef) and FACTORY.fullmatch(node.name) and not _needs_arguments(node):
                    yield f"{dotted}:{node.name}()"
                elif isinstance(node, ast.Assign) and makes_an_app(node.value):
                    yield from (f"{dotted}:{each.id}" for each in node.targets if isinstance(each, ast.Name))

    # Servers

    def servers(self) -> Iterator[Started]:
        """Yield the servers that the source starts."""
        for name in sorted(self._files):
            if re.search(r"\.run\(|run_simple|serve_forever|\bserve\(", self.text(name)) and (
                module := self.module(name)
            ):
                for call, at_import in _servers(module):
                    debug = any(
                        each.arg == "debug" and isinstance(each.value, ast.Constant) and each.value.value is True
                        for each in call.keywords
                    )
                    yield Started(name, call.lineno, at_import and name in self.imported, debug)

    # Clients

    def client_addresses(self) -> list[Spot]:
        """Return the places that read a client's address from Gunicorn; none if ProxyFix corrects it."""
        found = []
        for name in sorted(self._files):
            text = self.text(name)
            if "ProxyFix" in text:
                return []
            if not re.search("remote_addr", text, re.IGNORECASE) or _HEADER.search(text):
                continue
            module = self.module(name)
            found += [Spot(what, name, line) for what, line in _addresses(module)] if module else []
        return found


def _needs_arguments(node: ast.FunctionDef) -> bool:
    given = node.args
    wanted = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return wanted > 0 or None in given.kw_defaults


def _bound(module: ast.Module) -> set[str]:
    """Return the names that a module may define."""
    found = set[str]()
    waiting: list[ast.AST] = [*module.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            found |= {name for each in ast.walk(node) if isinstance(each, ast.Global) for name in each.names}
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return found


def _is_dynamic(module: ast.Module) -> bool:
    """Return whether a module may define names that its text doesn't show."""
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    return bool({"globals", "exec", "setattr", "vars"} & names) or bool({"*", "__getattr__"} & _bound(module))


def _servers(module: ast.Module) -> Iterator[tuple[ast.Call, bool]]:
    """Yield each call that serves an app, and whether importing the module makes that call."""
    apps = apps_of(module)
    functions = {node.name: node for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    called = set[tuple[str, bool]]()

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[ast.Call, bool]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.If):
            known = only_developers(node.test)
            for part, when in ((node.body, known is not True), (node.orelse, known is not False)):
                for each in part:
                    yield from walk(each, at_import and when)
            return
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if _serves(node, apps):
                yield node, at_import
            elif isinstance(node.func, ast.Name) and name in functions and (name, at_import) not in called:
                called.add((name, at_import))
                for each in functions[name].body:
                    yield from walk(each, at_import)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import)

    for statement in module.body:
        yield from walk(statement, at_import=True)
    for name, function in functions.items():
        for statement in function.body if name not in {each for each, _ in called} else []:
            yield from walk(statement, at_import=False)


def _serves(call: ast.Call, apps: set[str]) -> bool:
    function, name = call.func, name_of(call.func)
    given = [name_of(each) for each in call.args[:1]]
    is_app = any(each in apps or APP.fullmatch(each) for each in given)
    if name in _SERVING:
        return True
    if name == "run" and isinstance(function, ast.Attribute):
        owner = name_of(function.value)
        return owner in apps or bool(APP.fullmatch(owner)) or makes_an_app(function.value) or is_app
    return name in _SERVING_AN_APP and is_app


def _addresses(module: ast.Module) -> Iterator[tuple[str, int]]:
    found: set[tuple[int, str]] = set()
    for node in ast.walk(module):
        what = ""
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == _ADDRESS:
            if isinstance(node.ctx, ast.Store):  # it corrects the address
                return
            what = _ADDRESS
        elif isinstance(node, ast.Call) and name_of(node.func) == "get" and node.args:
            asked = node.args[0]
            what = _ADDRESS if isinstance(asked, ast.Constant) and asked.value == _ADDRESS else ""
        elif isinstance(node, ast.Attribute):
            of_request = node.attr == "remote_addr" and _REQUEST.fullmatch(name_of(node.value))
            what = "request.remote_addr" if of_request else _LIMITER if node.attr == _LIMITER else ""
        elif isinstance(node, ast.ImportFrom):
            what = _LIMITER if _LIMITER in [alias.name for alias in node.names] else ""
        if what:
            found.add((node.lineno, what))  # type: ignore[attr-defined]  # all of these have one
    yield from ((what, line) for line, what in sorted(found))
