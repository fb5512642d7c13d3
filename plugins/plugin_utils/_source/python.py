# SPDX-License-Identifier: GPL-3.0-or-later
"""Find literal keys, passwords and cookie flags in an app's Python, except code that only developers run."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from . import literals

#: Cookie flags that are False only where there is no HTTPS.
COOKIE_FLAGS = ("SESSION_COOKIE_SECURE", "REMEMBER_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "JWT_COOKIE_SECURE")
_DEVELOPERS = re.compile(
    r"(dev|devel|develop|development|developers?|(unit|py)?tests?|testing|local|localhost|debug|debugging|demo"
    r"|examples?)(config|configuration|settings?|conf|cfg|app|server|env|environment|mode)?"
)
_PRODUCTION = {"prod", "production"}
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
#: Calls that read a variable with a default: os.environ.get, os.getenv, env.str, decouple's config, setdefault.
_ASKING = re.compile(r"(get|getenv|setdefault|pop|env|config|str|get_env|env_var|getconfig)\Z")
_ENVIRONMENT = re.compile(r"(\w+\.)?(environ\.get|getenv|config|env(\.\w+)?)\Z")
#: Those of them that read an environment variable, and not another mapping.
_PROCESS = re.compile(r"(\w+\.)*(environ\.\w+|getenv|config|env(\.\w+)?|get_env|env_var|getconfig)\Z")
_DEFAULTS = ("default", "fallback", "default_value")
#: Calls whose result is as easy to know as their argument.
_SAME = {"SecretStr", "SecretBytes", "fromhex", "b64decode", "Field", "field"}
_METHODS = {"encode", "decode", "strip", "lower", "upper"}
#: Names of calls and classes that take only Flask's settings.
_CONFIG = {"config", "configuration", "conf", "settings"}
_OF_FLASK = {*_CONFIG, "app", "flask", "base", "common", "default", "global", "web", *_PRODUCTION}
#: Next to one of these, secret_key is the key of a storage service.
_STORAGE = {"access_key", "access_key_id", "endpoint", "endpoint_url", "bucket", "region", "region_name"}
_Node = TypeVar("_Node", bound=ast.AST)
#: Usual names of a Flask app, in addition to names assigned from Flask() or a factory.
APP = re.compile(r"(.*_)?(app|application|flask|server)")
FACTORY = re.compile(r"Flask|\w*(create|make|build|get|init)_?\w*app(lication)?", re.IGNORECASE)
#: Arguments that explain another.
_PROSE = {"help", "description", "example", "examples", "title", "metavar", "doc", "summary", "placeholder", "label"}
#: Calls that send a password to a service.
_CONNECT = {"connect", "create_pool", "Redis", "StrictRedis", "MongoClient"}
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Spot:
    """A place in the source.

    Args:
        setting: name of the setting.
        path, line: the place.
        value: for a cookie flag, whether it may be on.
        asked: for a literal, the environment variable for which it is the default.
        database: for an address, whether it is a database's.
    """

    setting: str
    path: str
    line: int
    value: bool = False
    asked: str = ""
    database: bool = False


def words(name: str) -> set[str]:
    """Split a Python name in snake_case or CamelCase into words."""
    return {word.lower() for word in _WORD.findall(name)}


def for_developers(name: str) -> bool:
    return any(map(_DEVELOPERS.fullmatch, words(name)))


class Reader(ast.NodeVisitor):
    """Visit a module, except code for developers only: a class Development, an ``if app.debug:``."""

    def __init__(self, path: str, keys: Collection[str], module: ast.Module) -> None:
        self.path = path
        self.names = {*keys, "secret_key"}
        self.keys: list[Spot] = []
        self.credentials: list[Spot] = []
        self.flags: list[Spot] = []
        self.constants: dict[str, ast.expr] = dict(_constants(module.body))
        self.apps = apps_of(module)
        #: Whether the code is inside a class of settings, whose attributes are settings.
        self._settings = False
        #: The variable for which the visited code is a fallback.
        self._instead = ""

    # What only developers run

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        names_only = any(name_of(base).endswith(("Enum", "Flag")) for base in node.bases)
        if not names_only and not for_developers(node.name):
            before, self._settings = self._settings, _STORAGE.isdisjoint(name for name, _ in _constants(node.body))
            self.generic_visit(node)
            self._settings = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if for_developers(node.name):
            return
        before = self._settings, self.constants
        self._settings, self.constants = False, {**self.constants, **dict(_constants(node.body))}
        self.generic_visit(node)
        self._settings, self.constants = before

    def visit_If(self, node: ast.If) -> None:
        known = only_developers(node.test)
        self.visit(node.test)
        if known is not True:
            self._visit_all(node.body)
        if known is not False:
            self._visit_all(node.orelse)
        elif len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and _is_other(node.orelse[0].test):
            self.visit(node.orelse[0])

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            patterns = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
            texts = [_text(pattern.value) for pattern in patterns if isinstance(pattern, ast.MatchValue)]
            named = [text for text in texts if text is not None]
            if len(named) < len(patterns) or not all(map(for_developers, named)):
                self._visit_all(case.body)
            if not case.guard and _PRODUCTION & {text.lower() for text in named}:
                # The remaining cases aren't production. Only those that name another real environment are visited.
                for other in node.cases[node.cases.index(case) + 1 :]:
                    value = other.pattern.value if isinstance(other.pattern, ast.MatchValue) else None
                    if not for_developers(_text(value) or "dev"):
                        self._visit_all(other.body)
                return

    def generic_visit(self, node: ast.AST) -> None:
        for _, value in ast.iter_fields(node):
            nodes = value if isinstance(value, list) else [value]
            self._visit_all([each for each in nodes if isinstance(each, ast.AST)])

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in _reached(nodes):
            self.visit(node)

    # Assignments to settings

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._given(self._setting(target), node.value, node.lineno)
        if not (any(for_developers(name_of(target)) for target in node.targets) and _is_mapping(node.value)):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._given(self._setting(node.target), node.value, node.lineno)
        if not (for_developers(name_of(node.target)) and _is_mapping(node.value)):
            self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._given(self._setting(node.target), node.value, node.lineno)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        names = _items(node)
        if not _is_prose(names.values()):
            self._mapping({name: value for name, value in names.items() if _text(value) != name.lower()})
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and for_developers(str(key.value)) and _is_mapping(value)):
                self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        function, arguments = name_of(node.func), node.args
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        mine = given if _takes_settings(node.func) else {name: each for name, each in given.items() if name.isupper()}
        if _takes_settings(node.func) or not _is_prose(mine.values()):
            self._mapping(mine)
        for argument in (each for each in arguments if isinstance(each, ast.Dict) and _takes_settings(node.func)):
            self._mapping(_items(argument))
        if function in ("setattr", "__setitem__") and len(arguments) > 1:
            self._given(_text(arguments[-2]) or "", arguments[-1], node.lineno)
        if function in _CONNECT:
            self._mapping({f"DB_{name.upper()}": value for name, value in given.items() if name.startswith("passw")})
        of_process = bool(_PROCESS.fullmatch(ast.unparse(node.func)))
        asked = self._named(arguments[0], of_process) if arguments and _ASKING.search(function.lower()) else []
        self._fallback(asked, _defaults(node), node.lineno, of_process=of_process)
        self.visit(node.func)
        before = self._instead
        if of_process and arguments:
            self._instead = _text(self._resolved(arguments[0])) or before
        self._visit_all(arguments)
        for keyword in node.keywords:
            if keyword.arg not in _PROSE and not (for_developers(keyword.arg or "") and _is_mapping(keyword.value)):
                self.visit(keyword.value)
        self._instead = before

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, (ast.Constant, ast.JoinedStr)):  # a bare text is a comment
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        self._address(node.value if isinstance(node.value, str) else "", node.lineno)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        self._address("".join(map(str, parts)), node.lineno)

    def _address(self, text: str, line: int) -> None:
        """Record a text that is a URL with a password."""
        if literals.has_password(text):
            name = self._instead or "address with a password"
            self.credentials.append(
                Spot(name, self.path, line, asked=self._instead, database=literals.is_database(text))
            )

    # Defaults for unset variables

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """``os.environ.get("SECRET_KEY") or "literal"``."""
        asked = self._mentioned(node.values[0]) if isinstance(node.op, ast.Or) else set()
        self._fallback(asked, node.values[1:], node.lineno)
        before = self._instead
        for value in node.values:
            self.visit(value)
            self._instead = self._instead or (_asked(value) if isinstance(node.op, ast.Or) else "")
        self._instead = before

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """``os.environ["SECRET_KEY"] if "SECRET_KEY" in os.environ else "literal"``."""
        branches = _branches(node)
        asked = {name for each in branches if not isinstance(each, ast.Constant) for name in self._mentioned(each)}
        self._fallback(asked & self._mentioned(node.test), branches, node.lineno)
        before = self._instead
        self._instead = before or next(filter(None, map(_asked, branches)), "")
        self._visit_all([node.test, *branches])
        self._instead = before

    def visit_Try(self, node: ast.Try) -> None:
        """Handle an ``except`` that sets what the ``try`` reads to a literal, or returns one."""
        wanted = {_target(each): self._mentioned(each) for each in node.body if self._mentioned(each)}
        for statement in (each for handler in node.handlers for each in _reached(handler.body)):
            asked = wanted.get(_target(statement))
            if asked and isinstance(statement, (ast.Assign, ast.Return)) and statement.value:
                self._fallback(asked, [statement.value], statement.lineno)
        self._visit_all(node.body)
        before = self._instead
        self._instead = before or next(filter(None, map(_asked, node.body)), "")
        self._visit_all(node.handlers)
        self._instead = before
        self._visit_all([*node.orelse, *node.finalbody])

    def _mapping(self, given: Mapping[str, ast.expr]) -> None:
        if "TESTING" in given:
            return
        for name, value in given.items():
            if name.isupper() or not _STORAGE & given.keys():
                self._given(name, value, value.lineno)

    def _setting(self, target: ast.expr) -> str:
        """Return the setting that an assignment sets, or an empty text for an ordinary variable."""
        name = name_of(target)
        if name.isupper() or (isinstance(target, ast.Name) and self._settings):
            return name
        owner = name_of(target.value) if isinstance(target, ast.Attribute) else ""
        return name if owner in self.apps or APP.fullmatch(owner) else ""

    def _given(self, name: str, value: ast.expr | None, line: int) -> None:
        if value is None:
            return
        asked = self._instead or _asked(value)
        if name in self.names:
            if self._is_key(value) and _text(value) != name:
                self._found([name], line, asked)
        elif literals.is_setting(name.upper()):
            texts = [_text(self._resolved(each)) for each in (value, *_results(value))]
            if any(literals.is_password(name.upper(), text) for text in texts if text is not None):
                self._found([name], line, asked)
        if name in COOKIE_FLAGS:
            # Any other expression is computed by the app, which then knows its environment.
            literal = isinstance(value, ast.Constant) and isinstance(value.value, bool)
            self.flags.append(Spot(name, self.path, line, not literal or _constant(value) is True))

    def _fallback(self, asked: Collection[str], values: Sequence[ast.expr], line: int, of_process: bool = True) -> None:
        """Record the variables in ``asked`` that default to one of ``values``."""
        for name in sorted(asked):
            texts = [_text(self._resolved(each)) for each in values]
            is_password = name not in self.names and any(text and literals.is_fallback(text) for text in texts)
            if is_password or (name in self.names and any(map(self._is_key, values))):
                self._found([name], line, name if of_process else "")

    def _found(self, names: Collection[str], line: int, asked: str) -> None:
        for name in sorted(names):
            spots = self.keys if name in self.names else self.credentials
            spots.append(Spot(name, self.path, line, asked=asked))

    def _named(self, node: ast.expr, of_process: bool) -> list[str]:
        name = _text(self._resolved(node)) or ""
        return [name] if name in self.names or (of_process and literals.is_setting(name)) else []

    def _mentioned(self, node: ast.AST) -> set[str]:
        """Return the keys and environment passwords that a piece of code names."""
        texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
        asked = _asked(node)
        found = {text for text in texts if isinstance(text, str) and text in self.names}
        return found | {asked} if literals.is_setting(asked) else found

    def _resolved(self, node: ast.expr) -> ast.expr:
        return self.constants.get(node.id, node) if isinstance(node, ast.Name) else node

    def _is_key(self, value: ast.expr | None) -> bool:
        """Return whether an expression can be a signing key, and isn't a variable's name such as ``APP_SECRET_KEY``."""
        text = _text(self._resolved(value)) if value else None
        if text is not None:
            return bool(text) and not re.fullmatch(r"[A-Z][A-Z0-9_]*_KEY", text)
        return any(map(self._is_key, _results(value)))


def _results(value: ast.expr | None) -> list[ast.expr]:
    """Return the possible results of an expression, without running it."""
    if isinstance(value, ast.IfExp):
        return _branches(value)
    if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or):
        return value.values
    if isinstance(value, ast.NamedExpr):
        return [value.value]
    return _returned(value) if isinstance(value, ast.Call) else []


def _returned(call: ast.Call) -> list[ast.expr]:
    if isinstance(call.func, ast.Attribute) and call.func.attr in _METHODS:
        return [call.func.value]
    function = ast.unparse(call.func)
    if name_of(call.func) in _SAME or function in ("str", "bytes"):
        return [*call.args[:1], *_given_defaults(call)]
    asks = _ENVIRONMENT.match(function) and call.args and re.fullmatch(r"[A-Z][A-Z0-9_]*", _text(call.args[0]) or "")
    return _defaults(call) if asks else []


def makes_an_app(value: ast.expr) -> bool:
    """Return whether an expression calls Flask, or a function named like a factory."""
    return isinstance(value, ast.Call) and bool(FACTORY.fullmatch(name_of(value.func)))


def apps_of(module: ast.Module) -> set[str]:
    """Return the names of the apps that a module creates."""
    made = (node for node in ast.walk(module) if isinstance(node, ast.Assign) and makes_an_app(node.value))
    return {target.id for node in made for target in node.targets if isinstance(target, ast.Name)}


def _asked(value: ast.AST) -> str:
    """Return the first environment variable that a piece of code reads, or an empty text."""
    for part in ast.walk(value):
        name = None
        if isinstance(part, ast.Call) and part.args and _PROCESS.fullmatch(ast.unparse(part.func)):
            name = _text(part.args[0])
        elif isinstance(part, ast.Subscript) and re.fullmatch(r"(\w+\.)?environ", ast.unparse(part.value)):
            name = _text(part.slice)
        if name:
            return name
    return ""


def _constants(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that statements set to a literal."""
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp)):
                yield target.id, value


def only_developers(test: ast.expr) -> bool | None:
    """Return the part of an ``if`` for developers only: True for its body, False for its ``else``, None for neither."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        known = only_developers(test.operand)
        return None if known is None else not known
    if isinstance(test, ast.BoolOp):
        parts = list(map(only_developers, test.values))
        sure = isinstance(test.op, ast.And)  # one part is enough for the body of an "and", and for the else of an "or"
        return sure if sure in parts else None if None in parts else not sure
    if isinstance(test, ast.Compare):
        return _compared(test)
    name = name_of(test)
    if isinstance(test, ast.Call):
        name = " ".join([name_of(test.func), *(_text(each) or "" for each in test.args[:1])])
    return _meant(name)


def _meant(name: str) -> bool | None:
    known = True if for_developers(name) else False if words(name) & _PRODUCTION else None
    return None if "not" in words(name) else known


def _compared(test: ast.Compare) -> bool | None:
    if len(test.ops) != 1 or not isinstance(test.ops[0], (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)):
        return None
    same = isinstance(test.ops[0], (ast.Eq, ast.In, ast.Is))
    sides = [test.left, test.comparators[0]]
    for side, other in (sides, sides[::-1]):
        items = side.elts if isinstance(side, (ast.Tuple, ast.List, ast.Set)) else [side]
        values = [_constant(item) for item in items]
        if not values or not all(isinstance(value, (str, bool, int)) for value in values):
            continue
        texts = [str(value).lower() for value in values]
        if texts == ["__main__"] or all(map(for_developers, texts)):
            return same
        if {*_PRODUCTION, "live"} & set(texts):
            return not same
        known = only_developers(other)
        if known is not None and (set(texts) <= _TRUE or set(texts) <= _FALSE):
            return known == (same == (set(texts) <= _TRUE))
    return None


def _reached(nodes: Sequence[_Node]) -> Iterator[_Node]:
    """Skip the code after ``if env == "production": raise``, which only developers reach."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.If) or node.orelse or not isinstance(node.body[-1], (ast.Raise, ast.Return)):
            continue
        if only_developers(node.test) is False:
            return


def _is_other(test: ast.expr) -> bool:
    """Return whether an ``elif`` tests for an environment other than the developers' and production."""
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq) and only_developers(test) is None


def _branches(node: ast.IfExp) -> list[ast.expr]:
    known = only_developers(node.test)
    return [*([node.body] if known is not True else []), *([node.orelse] if known is not False else [])]


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _text(node: ast.expr | None) -> str | None:
    """Return the text of a literal, also of a concatenated one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        return node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
    if isinstance(node, (ast.JoinedStr, ast.BinOp)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node.left, node.right]
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add):
            return None
        texts = [_text(part) for part in parts]
        return None if None in texts else "".join(text or "" for text in texts)
    return None


def name_of(target: ast.expr) -> str:
    """Return the last name in ``SECRET_KEY``, ``app.secret_key`` or ``app.config["SECRET_KEY"]``."""
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return ""


def _target(statement: ast.stmt) -> str:
    """Return the variable that a statement sets, or ``return`` for a return statement."""
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0])
    return "return" if isinstance(statement, ast.Return) else ""


def _items(node: ast.Dict) -> dict[str, ast.expr]:
    pairs = zip(node.keys, node.values, strict=True)
    return {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}


def _given_defaults(call: ast.Call) -> list[ast.expr]:
    return [keyword.value for keyword in call.keywords if keyword.arg in _DEFAULTS]


def _defaults(call: ast.Call) -> list[ast.expr]:
    return [*call.args[1:2], *_given_defaults(call)]


def _is_mapping(value: ast.expr | None) -> bool:
    """Return whether a value holds settings: a dict, or a call with keywords."""
    if isinstance(value, ast.Call):
        return bool(value.keywords) and not _ASKING.search(name_of(value.func).lower())
    return isinstance(value, ast.Dict)


def _is_prose(values: Collection[ast.expr]) -> bool:
    """Return whether a dict explains its names: at least two texts, each of several words."""
    texts = [_text(value) for value in values]
    return len(texts) > 1 and all(text is not None and " " in text.strip() for text in texts)


def _takes_settings(function: ast.expr) -> bool:
    """Return whether a call's keywords are an app's settings, as in ``app.config.update``, ``dict``, ``Settings``."""
    name = name_of(function)
    if isinstance(function, ast.Attribute) and name == "update":
        name = name_of(function.value)
    return name in ("from_mapping", "dict", "environ") or bool(words(name) & _CONFIG and words(name) <= _OF_FLASK)


def by_line(path: str, text: str, keys: Collection[str]) -> tuple[list[Spot], list[Spot], list[Spot]]:
    """Search single lines for keys, passwords and cookie flags, for a file that can't be parsed."""
    name = r"[A-Z][A-Z0-9_]*|(?<=\.)secret_key"
    literal = r"""[bru]?("[^"]+"|'[^']+')"""
    given = re.compile(rf"""\s*[\w.]*(\[["'])?(?<!\w)({name})(["']\])?\s*(:\s*\w+\s*)?=\s*{literal}\s*(\#.*)?""")
    asked = re.compile(rf"""[^#]*\b(get|getenv)\(\s*["']({name})["']\s*,\s*{literal}\s*\).*""")
    flag = re.compile(rf"""\s*[\w.]*(\[["'])?\b({"|".join(COOKIE_FLAGS)})(["']\])?\s*=\s*(True|False)\b.*""")
    found, credentials, flags = [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        plain, fallback = given.fullmatch(line), asked.fullmatch(line)
        match = plain or fallback
        variable = fallback[2] if fallback else ""
        if match and match[2] in {*keys, "secret_key"}:
            found.append(Spot(match[2], path, number, asked=variable))
        elif (plain and literals.is_password(plain[2], plain[5][1:-1])) or (fallback and literals.is_setting(variable)):
            credentials.append(Spot((plain or fallback or line)[2], path, number, asked=variable))
        credentials += [
            Spot("address with a password", path, number, asked=variable, database=literals.is_database(each))
            for each in re.findall(r"""["']([^"'\s]+://[^"'\s]+)["']""", line.partition("#")[0])
            if literals.has_password(each)
        ]
        match = flag.fullmatch(line)
        if match:
            flags.append(Spot(match[2], path, number, match[4] == "True"))
    return found, credentials, flags
