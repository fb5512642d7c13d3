# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories that stand beside each other, read without Ansible: no host, no lookup, no script of theirs is asked.

Values are compared by keyed hash, with a key that lives as long as the run.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from ansible_collections.greenlight.flask.plugins.plugin_utils._doctor_secrets import credentials, password_in
from jinja2 import Environment, StrictUndefined, TemplateError, Undefined, UndefinedError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

Decrypt = Callable[[bytes], str]
HEADER = "$ANSIBLE_VAULT;"
GROUP = "flask_app"
_NAMES = (".yml", ".yaml", ".json", "")
_TEMPLATE = re.compile(r"\{\{|\{%")
_LOOKUPS = {"lookup", "query", "q"}
#: Shorter ones are equal by chance, or are no secrets.
_SHORTEST = 6
_LOCAL = re.compile(r"(|localhost|127\.[0-9.]+|::1|0\.0\.0\.0|host\.docker\.internal)\Z")
#: Scheme of a URL, without the driver, to the database's kind.
_DATABASES = {
    "postgresql": "postgresql", "postgres": "postgresql", "postgis": "postgresql", "cockroachdb": "cockroachdb",
    "mysql": "mysql", "mariadb": "mysql", "oracle": "oracle", "mssql": "mssql",
    "mongodb": "mongodb", "redis": "redis", "rediss": "redis", "valkey": "redis", "amqp": "amqp", "amqps": "amqp",
}  # fmt: skip
_PORTS = {"postgresql": 5432, "mysql": 3306, "oracle": 1521, "mssql": 1433, "mongodb": 27017, "redis": 6379,
          "cockroachdb": 26257, "amqp": 5672}  # fmt: skip


class UnreadableError(Exception):
    """A file or a value of an inventory can't be read. The text names it, and holds nothing of it."""


@dataclass(frozen=True)
class Encrypted:
    """A value behind ``!vault``."""

    text: bytes


class Unsafe(str):
    """A text behind ``!unsafe``, which is no template."""

    __slots__ = ()


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def _encrypted(loader: Any, node: Any) -> Encrypted:
    return Encrypted(loader.construct_scalar(node).strip().encode())


for _tag in ("!vault", "!vault-encrypted"):
    _Loader.add_constructor(_tag, _encrypted)
_Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))


def load(path: Path, decrypt: Decrypt) -> dict[str, Any]:
    """Return the variables of a file, values behind ``!vault`` undisturbed.

    Raises:
        UnreadableError: it can't be decrypted, or is no mapping in YAML.
    """
    try:
        raw = path.read_bytes()
        text = _opened(raw, path.name, decrypt) if raw.startswith(HEADER.encode()) else raw.decode()
        found = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader with two more tags
    except (OSError, ValueError, yaml.YAMLError) as error:  # their texts may quote the file
        raise UnreadableError(f"{path.name} is no plain YAML ({type(error).__name__})") from None
    if found is not None and not isinstance(found, dict):
        raise UnreadableError(f"{path.name} holds no variables")
    return found or {}


def _opened(text: bytes, name: str, decrypt: Decrypt) -> str:
    try:
        return decrypt(text)
    except Exception:  # whatever it is, the value can't be had, and the text might quote something
        raise UnreadableError(f"{name} can't be decrypted with the vault passwords of this machine") from None


def variable_files(directory: Path, name: str) -> list[Path]:
    """Return the files of ``group_vars`` or ``host_vars``, in the order in which Ansible reads them."""
    places = [path for ending in _NAMES for path in [directory / f"{name}{ending}"]]
    found = [path for path in places if path.is_file()]
    if (directory / name).is_dir():
        found += sorted(path for path in (directory / name).rglob("*") if path.is_file() and _is_variables(path))
    return found


def _is_variables(path: Path) -> bool:
    return path.suffix in _NAMES and not path.name.startswith(".")


def names_in(directory: Path) -> list[str]:
    """Return the groups or hosts that have variables there."""
    if not directory.is_dir():
        return []
    found = {path.name if path.is_dir() else path.stem for path in directory.iterdir() if not path.name.startswith(".")}
    return sorted(name for name in found if variable_files(directory, name))


@dataclass
class Variables:
    """Variables of one group or host, whose templates are resolved when they are asked for.

    Args:
        raw: as the files have them.
        decrypt: opens what is behind ``!vault``.
    """

    raw: Mapping[str, Any]
    decrypt: Decrypt
    _resolving: list[str] = field(default_factory=list)

    def get(self, name: str) -> Any:
        """Return a variable's value.

        Raises:
            UnreadableError: it, or one that its template needs, can't be had here.
        """
        if name not in self.raw:
            raise UnreadableError(f"{name} is undefined")
        if name in self._resolving:
            raise UnreadableError(f"{name} needs itself")
        self._resolving.append(name)
        try:
            return self.resolved(self.raw[name], name)
        finally:
            self._resolving.pop()

    def mapping(self, name: str) -> tuple[dict[str, Any], list[str]]:
        """Return what can be had of a variable that holds a mapping, and why the rest can't."""
        raw, found, why = self.raw.get(name), {}, []
        if isinstance(raw, str):  # a template of the whole
            try:
                raw = self.resolved(raw, name)
            except UnreadableError as error:
                why.append(str(error))
        for key, value in raw.items() if isinstance(raw, dict) else ():
            try:
                found[str(key)] = self.resolved(value, f"{name}.{key}")
            except UnreadableError as error:
                why.append(str(error))
        return found, why

    def resolved(self, value: Any, name: str) -> Any:
        if isinstance(value, Encrypted):
            return _opened(value.text, name, self.decrypt)
        if isinstance(value, dict):
            return {str(key): self.resolved(item, f"{name}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved(item, name) for item in value]
        if isinstance(value, str) and not isinstance(value, Unsafe) and _TEMPLATE.search(value):
            return self._rendered(value, name)
        return value

    def _rendered(self, text: str, name: str) -> Any:
        environment = _environment()
        alone = re.fullmatch(r"\s*\{\{\s*(\w+)\s*\}\}\s*", text)
        if alone:
            return self.get(alone[1])
        try:
            parsed = environment.parse(text)
            # By what is called: the template may have filters that only Ansible knows.
            called = {call.node.name for call in parsed.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
            if not called & _LOOKUPS:
                needed = meta.find_undeclared_variables(parsed)
                given = {one: self.get(one) for one in sorted(needed) if one in self.raw}
                whole = re.fullmatch(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", text, re.DOTALL)
                if whole:  # of any type, not only a text
                    return _evaluated(environment, whole[1], given)
                return environment.from_string(text).render(given)
        except TemplateError as error:
            raise UnreadableError(f"the template of {name} can't be resolved ({type(error).__name__})") from None
        except UnreadableError:
            raise
        except Exception as error:  # a template may raise anything
            raise UnreadableError(f"the template of {name} fails ({type(error).__name__})") from None
        raise UnreadableError(f"{name} is looked up elsewhere")


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["combine"] = _combine
    return environment


def _evaluated(environment: Environment, expression: str, given: Mapping[str, Any]) -> Any:
    found = environment.compile_expression(expression, undefined_to_none=False)(**given)
    if isinstance(found, Undefined):
        raise UndefinedError
    return found


def _combine(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Play ansible.builtin.combine in its plain form."""
    return {name: value for mapping in mappings for name, value in mapping.items()}


@dataclass(frozen=True)
class Inventory:
    """A directory with an inventory, and the group variables that stand beside the playbooks."""

    directory: Path
    shared: Path | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    def read(self, decrypt: Decrypt) -> tuple[dict[str, Variables], list[str]]:
        """Return the variables of the group flask_app, under an empty name, and of each host that has files.

        The second value names the files that can't be read.
        """
        groups = self.directory / "group_vars"
        order = ["all", *(name for name in names_in(groups) if name not in ("all", GROUP)), GROUP]
        layers: list[tuple[Path, str]] = [(groups, name) for name in order]
        if self.shared:  # the playbook's own all is stronger than the inventory's, and weaker than its groups
            layers.insert(1, (self.shared, "all"))
            layers.append((self.shared, GROUP))
        unreadable: list[str] = []
        merged: dict[str, Any] = {"inventory_dir": str(self.directory)}
        for directory, name in layers:
            merged.update(self._layer(directory, name, decrypt, unreadable))
        found = {"": Variables(merged, decrypt)}
        hosts = self.directory / "host_vars"
        for host in names_in(hosts):
            own = self._layer(hosts, host, decrypt, unreadable)
            found[host] = Variables({**merged, **own, "inventory_hostname": host}, decrypt)
        return found, list(dict.fromkeys(unreadable))

    @staticmethod
    def _layer(directory: Path, name: str, decrypt: Decrypt, unreadable: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in variable_files(directory, name):
            try:
                found.update(load(path, decrypt))
            except UnreadableError as error:
                unreadable.append(str(error))
        return found


def beside(inventory: Path) -> list[Path]:
    """Return the other inventories: directories next to this one with variables for the group flask_app."""
    return [
        path
        for path in sorted(inventory.parent.iterdir())
        if path.is_dir()
        and path.resolve() != inventory.resolve()
        and not path.name.startswith(".")
        and variable_files(path / "group_vars", GROUP)
    ]


# What stands in plain text


def plain_text(directory: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each file below an inventory that has secrets in plain text.

    With it the names of variables that belong into a vault, and of those that flask_app_secrets has as they are.
    """
    for kind in ("group_vars", "host_vars"):
        for name in names_in(directory / kind):
            for path in variable_files(directory / kind, name):
                if path.read_bytes().startswith(HEADER.encode()):
                    continue
                try:
                    values = load(path, _never)
                except UnreadableError:
                    continue  # Ansible says it better
                is_vault = "vault" in path.relative_to(directory).with_suffix("").parts or path.stem.endswith("_vault")
                named = [
                    str(key)
                    for key, value in values.items()
                    if (is_vault or str(key).startswith("vault_")) and key != "sops" and any(_plain(value))
                ]
                given = values.get("flask_app_secrets")
                literal = credentials(given, secret=True) if isinstance(given, dict) else {}
                own = [key for key, value in literal.items() if any(_plain(value)) and not _is_open(value)]
                if named or own:
                    yield path, named, own


def _never(_text: bytes) -> str:
    return ""


def _plain(value: Any) -> Iterator[str]:
    """Yield the texts in a value that anybody can read: no templates, nothing encrypted."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _plain(item)
    elif isinstance(value, list):
        for item in value:
            yield from _plain(item)
    elif isinstance(value, bool) or value is None or isinstance(value, Encrypted):
        return
    elif str(value).strip() and not _TEMPLATE.search(str(value)) and not str(value).startswith("ENC["):  # of SOPS
        yield str(value)


def _is_open(value: str) -> bool:
    """Say whether a literal secret is none: an address without a password, a path, a number."""
    return not password_in(value) if "://" in value else len(value) < _SHORTEST or _is_ordinary(value)


# What two environments have in common


@dataclass(frozen=True)
class Fingerprints:
    """What an environment has, in a form that can be compared and tells nothing.

    Args:
        secrets: digest to the variable that has it.
        databases: digest to the variable that names it.
    """

    secrets: Mapping[str, str]
    databases: Mapping[str, str]


def new_key() -> bytes:
    return secrets.token_bytes(32)


def fingerprints(env: Mapping[str, Any], secret: Mapping[str, Any], key: bytes) -> Fingerprints:
    """Take the fingerprints of an app's variables."""

    def digest(*parts: str) -> str:
        return hmac.new(key, "\0".join(parts).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    values: dict[str, str] = {}
    for name, value in {**credentials(env, secret=False), **credentials(secret, secret=True)}.items():
        # Of an address its password counts; the address itself is a database's, or no secret.
        counts = password_in(value) if "://" in value else value.strip()
        if len(counts) >= _SHORTEST and not _is_ordinary(counts):
            values.setdefault(digest("secret", counts), name)
    databases = {digest("database", *place): name for name, place in database_places({**env, **secret}).items()}
    return Fingerprints(values, databases)


def _is_ordinary(value: str) -> bool:
    """Say whether a value is of a kind that is rightly the same in two places: a path, an address, a number."""
    return bool(re.fullmatch(r"/[\w./-]*|[0-9.:]+|[\w.+-]+@[\w-]+(\.[\w-]+)+|([\w-]+\.)+[a-z]{2,}(:\d+)?", value))


def database_places(values: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return by variable the databases that lie on another machine: kind, host and port, name.

    One on the machine itself, such as a file of SQLite, is another one on each host.
    """
    texts = {name: value.strip() for name, value in values.items() if isinstance(value, str)}
    found = {name: place for name, value in texts.items() if (place := _place(value))}
    for name, host in texts.items():  # DB_HOST and DB_NAME, PGHOST and PGDATABASE
        prefix = re.fullmatch(r"(.*?)_?HOST", name)
        if not prefix or _is_local(host.lower()):
            continue
        for part in ("NAME", "DATABASE", "DB", "DBNAME"):
            database = texts.get(f"{prefix[1]}_{part}") or texts.get(f"{prefix[1]}{part}")
            if database and prefix[1]:
                port = texts.get(f"{prefix[1]}_PORT") or texts.get(f"{prefix[1]}PORT") or ""
                found[name] = ("", f"{host.lower()}:{port}", database)
    return found


def _place(value: str) -> tuple[str, str, str] | None:
    if "://" not in value:
        return _place_in_words(value)
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    kind = _DATABASES.get(parts.scheme.split("+")[0].lower())
    if not kind:
        return None
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2].lower() or query.get("host", [""])[0].lower()
    each = sorted(_with_port(host, _PORTS[kind]) for host in hosts.split(","))
    name = parts.path.strip("/") or query.get("dbname", query.get("db", [""]))[0]
    name = name or {"redis": "0", "amqp": "/"}.get(kind, "")
    if not name or any(_is_local(host.rpartition(":")[0].strip("[]")) for host in each):
        return None
    return kind, ",".join(each), name


def _place_in_words(value: str) -> tuple[str, str, str] | None:
    """Read libpq's own form, ``host=db.internal dbname=shop``."""
    words = dict(re.findall(r"(\w+)\s*=\s*'?([^\s';]+)", value))
    if "dbname" not in words or _is_local(words.get("host", "").lower()):
        return None
    return "postgresql", f"{words['host'].lower()}:{words.get('port', 5432)}", words["dbname"]


def _is_local(host: str) -> bool:
    return bool(_LOCAL.match(host)) or host.startswith("/")


def _with_port(host: str, port: int) -> str:
    return host if re.search(r":\d+\Z", host) and not host.endswith("]") else f"{host}:{port}"


def in_common(mine: Fingerprints, other: Fingerprints) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the secrets and the databases that both have, each as the variable here and the one there."""

    def shared(one: Mapping[str, str], two: Mapping[str, str]) -> list[tuple[str, str]]:
        return sorted((name, two[digest]) for digest, name in one.items() if digest in two)

    return shared(mine.secrets, other.secrets), shared(mine.databases, other.databases)


def united(parts: Iterable[Fingerprints]) -> Fingerprints:
    listed = list(parts)
    return Fingerprints(
        {digest: name for part in listed for digest, name in part.secrets.items()},
        {digest: name for part in listed for digest, name in part.databases.items()},
    )
