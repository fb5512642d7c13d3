# SPDX-License-Identifier: GPL-3.0-or-later
"""Find secrets and databases that environments share, by keyed hashes with a key that exists only during the run."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .judge import (
    is_credential,
    is_public,
    password_in,
)

#: Shorter values may be equal by chance, or are not secrets.
_SHORTEST = 6
#: For digits only: with a secret's name, and without.
_SHORTEST_NUMBER, _SHORTEST_OTHER_NUMBER = 8, 16
_LOCAL = re.compile(r"(|localhost|127\.[0-9.]+|::1|0\.0\.0\.0|host\.docker\.internal)\Z")
#: URL scheme without the driver, to the kind of database.
_DATABASES = {
    "postgresql": "postgresql", "postgres": "postgresql", "postgis": "postgresql", "cockroachdb": "cockroachdb",
    "mysql": "mysql", "mariadb": "mysql", "oracle": "oracle", "mssql": "mssql",
    "mongodb": "mongodb", "redis": "redis", "rediss": "redis", "valkey": "redis", "amqp": "amqp", "amqps": "amqp",
}  # fmt: skip
_PORTS = {"postgresql": 5432, "mysql": 3306, "oracle": 1521, "mssql": 1433, "mongodb": 27017, "redis": 6379,
          "cockroachdb": 26257, "amqp": 5672}  # fmt: skip
#: Possible ports for DB_HOST without a port.
_USUAL_PORTS = [port for kind, port in _PORTS.items() if kind not in ("redis", "amqp")]
#: ``name=value`` in the syntax of libpq and ODBC.
_WORDS = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\{[^}]*\}|[^\s';{][^\s;]*)")
#: Words that mark such a text as an address.
_ADDRESS = {"dbname", "server", "driver"}
#: A schema in PostgreSQL's options, as ``-c search_path=shop`` or ``--search_path=shop``, and the default one.
_SEARCH_PATH = re.compile(r"search_path\s*=\s*((?:\\.|[^\s\\])+)")
_SCHEMA = "public"
_SCHEMA_VARIABLE = re.compile(
    r"(.*_)?(DB|DATABASE|PG|POSTGRES|POSTGRESQL|SQLALCHEMY)_?(SCHEMA|SEARCH_PATH)|SEARCH_PATH"
)
_UUIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SLUG = re.compile(r"[a-z]+([._-][a-z0-9]+)+")


@dataclass(frozen=True)
class Fingerprints:
    """Digests of an environment's secrets and databases, which can be compared but reveal nothing.

    Args:
        secrets: digest to the variable that holds the secret.
        databases: digest to the variable that names the database.
    """

    secrets: Mapping[str, str]
    databases: Mapping[str, str]


def new_key() -> bytes:
    return secrets.token_bytes(32)


def fingerprints(env: Mapping[str, Any], secret: Mapping[str, Any], key: bytes) -> Fingerprints:
    """Return the fingerprints of an app's variables."""

    def digest(*parts: str) -> str:
        return hmac.new(key, "\0".join(parts).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    values: dict[str, str] = {}
    for given, are_secrets in ((env, False), (secret, True)):
        for name, counts in secret_texts(given, are_secrets):
            values.setdefault(digest("secret", counts), name)
    databases = {
        digest("database", *place): name
        for name, places in database_places({**env, **secret}).items()
        for place in places
    }
    return Fingerprints(values, databases)


def in_common(mine: Fingerprints, other: Fingerprints) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the secrets and the databases in both, each as the variable here and the variable there."""

    def shared(one: Mapping[str, str], two: Mapping[str, str]) -> list[tuple[str, str]]:
        return sorted({(name, two[digest]) for digest, name in one.items() if digest in two})

    return shared(mine.secrets, other.secrets), shared(mine.databases, other.databases)


def combined(parts: Iterable[Fingerprints]) -> Fingerprints:
    listed = list(parts)
    return Fingerprints(
        {digest: name for part in listed for digest, name in part.secrets.items()},
        {digest: name for part in listed for digest, name in part.databases.items()},
    )


# Secrets


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that are texts or numbers, all as texts, as the process gets them."""
    return {
        str(name): str(value).strip()
        for name, value in values.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }


def secret_texts(values: Mapping[str, Any], are_secrets: bool) -> Iterator[tuple[str, str]]:
    """Yield the secret parts of an app's variables, with the variable's name.

    The secret part of an address is its password, or a token in its path. The address itself is a database's or
    isn't secret.

    Args:
        values: variables of the process.
        are_secrets: whether they are flask_app_secrets. In flask_app_env, only variables named like a secret count.
    """
    for name, value in texts(values).items():
        inside = passwords(value)
        if is_public(name) if are_secrets else not (is_credential(name) or inside):
            continue
        if inside:
            counting = inside
        elif "://" in value:
            counting = _tokens(value) if are_secrets else []
        elif not _ADDRESS.isdisjoint(_words(value)):
            counting = []
        else:
            counting = [value] if _is_secret(name, value) else []
        for text in counting:
            if len(text) >= _SHORTEST and (text == value or not _is_ordinary(text)):
                yield name, text


def passwords(value: str) -> list[str]:
    """Return the passwords in a URL, or in a connection string of libpq or ODBC."""
    if "://" not in value:
        words = _words(value)
        return [word for name, word in words.items() if name in ("password", "pwd", "passwd") and len(words) > 1]
    try:
        query = parse_qs(urlsplit(value).query)
    except ValueError:
        return []
    found = [password_in(value)] if password_in(value) else []
    for name, given in query.items():
        for one in given:
            if "=" in one and (inner := passwords(one)):  # odbc_connect holds a whole connection string
                found += inner
            elif is_credential(name):
                found.append(one)
    return found


def _words(value: str) -> dict[str, str]:
    return {name.lower(): word.strip("'{}") for name, word in _WORDS.findall(value)}


def _tokens(value: str) -> list[str]:
    """Return the secret parts of a URL's path, such as a webhook's token."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return []
    if parts.scheme not in ("http", "https"):
        return []
    return [segment for segment in map(unquote, parts.path.split("/")) if _is_token(segment)]


def _is_token(text: str) -> bool:
    """Return whether a text is random: at least 16 characters, and not words, a number or a UUID."""
    return bool(
        re.fullmatch(r"(?=.*\d)(?=.*[A-Za-z])[\w:+=-]{16,}", text)
        and not _SLUG.fullmatch(text)
        and not _UUIDS.fullmatch(text)
    )


def _is_secret(name: str, value: str) -> bool:
    """Return whether a value that is not an address can be a secret, rather than a path or a number."""
    if len(value) < _SHORTEST:
        return False
    if value.isdecimal():
        return len(value) >= (_SHORTEST_NUMBER if is_credential(name) else _SHORTEST_OTHER_NUMBER)
    return not _is_ordinary(value)


def _is_ordinary(value: str) -> bool:
    """Return whether two places may well have the same value: a path, an address, a number."""
    if re.fullmatch(r"/[\w./-]*", value):
        return not _is_key_with_slashes(value)
    return bool(re.fullmatch(r"[0-9.:]+|[\w.+-]+@[\w-]+(\.[\w-]+)+|([\w-]+\.)+[a-z]{2,}(:\d+)?", value))


def _is_key_with_slashes(value: str) -> bool:
    """Return whether a text that looks like a path is a random Base64 text with slashes."""
    segments = value[1:].split("/")
    if len(segments) == 1 and len(value) >= 16:  # noqa: PLR2004
        return not re.fullmatch(r"[a-z_.-]+", segments[0]) and "." not in segments[0]
    mixed = [re.fullmatch(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d.*\d)[\w+-]{12,}", segment) for segment in segments]
    return any(mixed)


def is_open(name: str, value: str) -> bool:
    """Return whether a literal among the secrets isn't secret: an address without a password, a path, a number."""
    return not any(True for _ in secret_texts({name: value}, are_secrets=True))


# Databases


def database_places(values: Mapping[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Return by variable the databases on other machines: host and port, name, and schema.

    A database on the machine itself, such as an SQLite file, differs on each host. Without a port, there is a place
    for each possible port.
    """
    given = texts(values)
    schema = next(filter(None, (_schema_of_variable(name, value) for name, value in sorted(given.items()))), "")
    found = {
        name: [(*place[:2], place[2] or schema or _SCHEMA)] for name, value in given.items() if (place := _place(value))
    }
    for name, host in given.items():  # DB_HOST and DB_NAME, PGHOST and PGDATABASE
        prefix = re.fullmatch(r"(.*?)_?HOST", name)
        if not prefix or not prefix[1] or _is_local(host.lower()):
            continue
        for part in ("NAME", "DATABASE", "DB", "DBNAME"):
            database = given.get(f"{prefix[1]}_{part}") or given.get(f"{prefix[1]}{part}")
            if database:
                port = given.get(f"{prefix[1]}_PORT") or given.get(f"{prefix[1]}PORT")
                ports = [port] if port else _USUAL_PORTS
                found[name] = [(_with_port(host.lower(), one), database, schema or _SCHEMA) for one in ports]
    return found


def _schema_of_variable(name: str, value: str) -> str:
    """Return the schema from a separate variable, such as DATABASE_SCHEMA or libpq's PGOPTIONS."""
    if re.fullmatch(r"(.*_)?PGOPTIONS", name):
        return _schema({"options": value})
    return _first_schema(value) if _SCHEMA_VARIABLE.fullmatch(name) else ""


def _schema(given: Mapping[str, str]) -> str:
    """Return the schema that an address selects: the first of a search path, where new tables go."""
    for name, value in given.items():
        option = _SEARCH_PATH.search(value) if name == "options" else None
        if option or name.lower().replace("_", "") in ("schema", "currentschema", "searchpath"):
            return _first_schema(option[1] if option else value)
    return ""


def _first_schema(path: str) -> str:
    names = [name.strip(" \\\"'") for name in path.split(",")]
    return next((name.lower() for name in names if name and name != "$user"), "")


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
    if "odbc_connect" in query:
        return _place_in_words(query["odbc_connect"][0])
    hosts = parts.netloc.rpartition("@")[2].lower() or query.get("host", [""])[0].lower()
    port = query.get("port", [_PORTS[kind]])[0]
    each = sorted(_with_port(host, port) for host in hosts.split(","))
    name = parts.path.strip("/") or query.get("dbname", query.get("db", [""]))[0]
    name = name or {"redis": "0", "amqp": "/"}.get(kind, "")
    if not name or any(_is_local(host.rpartition(":")[0].strip("[]")) for host in each):
        return None
    return ",".join(each), name, _schema({key: given[-1] for key, given in query.items()})


def _place_in_words(value: str) -> tuple[str, str, str] | None:
    """Parse libpq's form, ``host=db.internal dbname=shop``, or ODBC's, ``Server=db.internal;Database=shop``."""
    words = _words(value)
    name, port = words.get("dbname"), words.get("port", str(_PORTS["postgresql"]))
    host = words.get("host", "").lower()
    if not name and "database" in words and ";" in value:
        name, host = words["database"], words.get("server", "").lower().removeprefix("tcp:").replace(",", ":")
        port = words.get("port", str(_PORTS["mssql"]))
    if not name or _is_local(host.partition(":")[0]):
        return None
    return _with_port(host, port), name, _schema(words)


def _is_local(host: str) -> bool:
    return bool(_LOCAL.match(host)) or host.startswith("/")


def _with_port(host: str, port: int | str) -> str:
    return host if re.search(r":\d+\Z", host) and not host.endswith("]") else f"{host}:{port}"
