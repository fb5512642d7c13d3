# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how a Flask app is configured; never a value that could be a secret.

Each release has a copy of this file, and its gunicorn.conf.py runs it: every worker then reports the app that it has
loaded, before it takes a request (:func:`write`, from Gunicorn's hook post_worker_init). As a program, for apps whose
workers can't report, it imports the app as Gunicorn does and prints the same on standard output (:func:`main`).

Before that, Gunicorn's settings let it keep the release's signals inside (:func:`keep_signals_inside`).

Of keys and of the addresses of databases it says a digest, keyed with a salt of this start (RFC 2104): who has the
value can compare it, and nobody can turn it back.

It runs in the Python of the app's venv, so it needs nothing but the standard library.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import os
import re
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

#: Where the reports are, below the directory that systemd makes for each start of the release (RuntimeDirectory=).
DIRECTORY = "workers"
#: One for all workers of a master, which runs this file before it makes them.
SALT = os.urandom(16)
#: Settings that a source's own gunicorn.conf.py must not set: it would be another process than the unit's.
NEVER_TAKEN = frozenset(
    "chdir check_config config daemon group initgroups pidfile print_config raw_env reload_engine user".split()  # noqa: SIM905
)
#: System calls, which have these numbers on all architectures, and LANDLOCK_SCOPE_SIGNAL.
_CREATE_RULESET, _RESTRICT_SELF, _SCOPE_SIGNAL = 444, 446, 2
#: Settings that hold the address of a database, by habit and of Flask-SQLAlchemy, Flask-SQLAlchemy-Lite, Flask-PyMongo.
DATABASES = (
    "SQLALCHEMY_DATABASE_URI",
    "SQLALCHEMY_DATABASE_URL",
    "SQLALCHEMY_ENGINES",
    "DATABASE_URL",
    "DATABASE_URI",
    "DATABASE",
    "MONGODB_HOST",
    "MONGO_URI",
)
#: The kind of one that is named by a path: SQLite's as a rule, as in Flask's own tutorial.
FILE = "file"
#: A value of these settings that is a path. A name alone may be a database's on a server.
_PATH = re.compile(r"(/|\.{1,2}/|file:).*(?<!\.sock)\Z|.*\.(db|db3|sqlite|sqlite3|duckdb)\Z", re.IGNORECASE | re.DOTALL)
#: Other names of the same kind of database.
SAME = {"postgres": "postgresql", "postgis": "postgresql", "cockroachdb": "postgresql", "mariadb": "mysql"}
#: Where a database listens, if its address doesn't say.
PORTS = {"postgresql": 5432, "mysql": 3306, "mongodb": 27017, "mssql": 1433, "oracle": 1521}
#: Packages, by the name they are imported under, that show code and values to whoever visits the site.
DEBUGGERS = (
    "flask_debugtoolbar",
    "flask_debug_toolbar",
    "flask_debugtoolbar_sqlalchemy",
    "flask_debugtoolbar_mongo",
    "flask_debug",
    "flask_profiler",
)
#: Attributes under which WSGI middleware keeps what it wraps; a bound method its object.
_WRAPPED = ("__self__", "app", "wsgi_app", "application", "wrapped", "_app", "__wrapped__")
#: A chain of middleware that is longer goes round.
_DEPTH = 20
#: What else is before "://" may be part of a password.
_SCHEME = re.compile(r"([A-Za-z][\w.-]*)(\+[\w+.-]*)?\Z", re.ASCII)


def find(thing: Any) -> Any:
    """Return the Flask app inside a WSGI object, or None; where middleware hides it, the only app that there is."""
    flask = sys.modules.get("flask")
    kinds = (flask.Flask,) if flask else ()
    seen = thing
    for _ in range(_DEPTH):
        if isinstance(seen, kinds):
            return seen
        inner = (getattr(seen, name, None) for name in _WRAPPED)
        seen = next((each for each in inner if each is not None), None)
        if seen is None:
            break
    # By its true type: a proxy such as current_app is not a second app, and a dead one can't be asked.
    apps = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    return apps[0] if len(apps) == 1 else None


def _main(value: Any) -> Any:
    """Return the address of a setting that may name several databases: the one that counts."""
    if isinstance(value, dict):
        value = value.get("default")
    return value.get("url") if isinstance(value, dict) else value


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _names(app: Any, key: str) -> bool:
    """Say whether a key of ``app.config`` names an environment; before Flask 2.3 ENV was "production" by default."""
    value = app.config.get(key)
    return isinstance(value, str) and bool(value) and not (key in app.default_config and value == "production")


def engine(value: Any) -> str:
    """Return the kind of database that a setting names, such as ``postgresql``, or an empty text."""
    value = _main(value)
    name = getattr(value, "drivername", None)  # sqlalchemy.engine.URL
    if name is None and isinstance(value, str) and "://" in value:
        name = value.partition("://")[0]
    scheme = _SCHEME.match(str(name or ""))
    return scheme[1].lower() if scheme else ""


def is_path(value: Any) -> bool:
    """Say whether a setting names its database by a path of the host."""
    value = _main(value)
    if not isinstance(value, str | bytes | os.PathLike):
        return False
    return not engine(value) and bool(_PATH.match(os.fsdecode(value)))


def address(value: Any) -> str:
    """Return what tells one database from another: kind, host, port, name and schema, or an empty text.

    Who signs in, and by which driver, is not part of it.
    """
    kind, url = engine(value), _main(value)
    kind = SAME.get(kind, kind)
    if not kind:
        return ""
    if getattr(url, "drivername", None) is not None:
        host, port, name, query = url.host, url.port, url.database, {key: _list(url.query[key]) for key in url.query}
    else:
        try:
            parts = urlsplit(url)
        except ValueError:
            return ""
        host, port = parts.hostname, None
        if "," in parts.netloc:  # several hosts, each with its port
            host = parts.netloc.rpartition("@")[2]
        else:
            with suppress(ValueError):
                port = parts.port
        name, query = unquote(parts.path.removeprefix("/")), parse_qs(parts.query)
    host = host or ",".join(query.get("host", []))
    schema = [text for key in ("schema", "currentSchema", "search_path") for text in query.get(key, [])]
    schema += re.findall(r"search_path\s*=\s*([^\s-]+)", " ".join(query.get("options", [])))
    place = [kind, str(host or "").lower(), str(port or PORTS.get(kind, "")), str(name or ""), ",".join(schema)]
    return json.dumps(place)


def digest(salt: bytes, value: bytes) -> str:
    """Return HMAC-SHA256 (RFC 2104) of a value, as 64 hexadecimal digits."""
    return hmac.new(salt, value, hashlib.sha256).hexdigest()


def describe(app: Any, keys: list[str]) -> dict[str, Any]:
    """Return what is to be known of an app; ``keys`` are those of its config that may name its environment."""
    config = app.config
    named = next((key for key in keys if _names(app, key)), "")
    found = {key: address(config.get(key)) for key in DATABASES}
    found = {key: place for key, place in found.items() if place}
    databases = [
        {"setting": key, "kind": engine(config[key]), "address": digest(SALT, place.encode())}
        for key, place in found.items()
    ]
    paths = [key for key in DATABASES if not key.startswith("MONGO") and is_path(config.get(key))]
    databases += [{"setting": key, "kind": FILE, "address": ""} for key in paths]
    # What SQLAlchemy's settings name is what is used, whatever else is kept beside them.
    used = [each for each in databases if each["setting"].startswith("SQLALCHEMY_")] or databases
    key = app.secret_key or b""
    return {
        "environment": config[named] if named else "",
        "environment_key": named,
        "debug": bool(app.debug),
        "testing": bool(config.get("TESTING")),
        "salt": SALT.hex(),
        "secret_key": digest(SALT, key if isinstance(key, bytes) else str(key).encode()) if key else "",
        "databases": used,
        "session_cookie_secure": bool(config.get("SESSION_COOKIE_SECURE")),
        # Without Flask-Login there is no such cookie.
        "remember_cookie_secure": "flask_login" not in sys.modules or bool(config.get("REMEMBER_COOKIE_SECURE")),
        "preferred_url_scheme": str(config.get("PREFERRED_URL_SCHEME")),
        "debuggers": [name for name in DEBUGGERS if name in sys.modules],
    }


def write(worker: Any, keys: list[str]) -> None:
    """Report the app that a worker of Gunicorn has loaded, in a file of its name.

    The report is what a deploy waits for; to write it must never cost the app its start.
    """
    try:
        directory = _directory()
        directory.mkdir(mode=0o700, exist_ok=True)
        app = find(worker.wsgi)
        said = describe(app, keys) if app else {"no_app": type(worker.wsgi).__name__}
        unfinished = directory / f"{worker.pid}.unfinished"
        unfinished.write_text(json.dumps({"pid": worker.pid, "workers": worker.cfg.workers, **said}))
        unfinished.replace(directory / f"{worker.pid}.json")
    except Exception as error:  # of the app's own objects, too
        worker.log.warning("The worker can't report how the app is configured: %s", type(error).__name__)


def forget(pid: int) -> None:
    """Remove the report of a worker that has ended; Gunicorn's hook child_exit calls it in the master."""
    with suppress(OSError, KeyError):
        (_directory() / f"{pid}.json").unlink()


def of_the_source(path: str) -> dict[str, Any]:
    """Return what a gunicorn.conf.py in the source of the release sets, less what would be another process.

    Args:
        path: of the release's own gunicorn.conf.py.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    theirs = Path(path).parent / "source" / "gunicorn.conf.py"
    spec = spec_from_file_location("gunicorn_conf_of_the_source", theirs)
    if not theirs.is_file() or not spec or not spec.loader:
        return {}
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name[0] != "_" and name not in NEVER_TAKEN}


def keep_signals_inside() -> bool:
    """Let this process and those that it starts send signals to each other only; say whether the kernel can do that.

    All releases have one account, so an app that somebody has broken into could otherwise end the next release.
    Landlock can scope signals since Linux 6.12 (https://docs.kernel.org/userspace-api/landlock.html). PrivatePIDs= of
    systemd 257 can't be used: a socket is then handed to a process that LISTEN_PID doesn't name.
    """
    try:
        import ctypes  # some Pythons are built without it

        libc = ctypes.CDLL(None, use_errno=True)
        attributes = struct.pack("=QQQ", 0, 0, _SCOPE_SIGNAL)  # struct landlock_ruleset_attr
        rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
        if rules < 0:
            return False
        done = bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
        os.close(rules)
    except Exception:  # it must never cost the app its start
        return False
    return done


def _directory() -> Path:
    # Colon-separated where the unit has several (systemd.exec(5)); the release's is the first.
    return Path(os.environ["RUNTIME_DIRECTORY"].split(":")[0]) / DIRECTORY


def main() -> None:
    # The app, and what it starts, may print; only what is written here is the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not only its descriptor: what print() keeps in its buffer would be lost at the end.
    sys.stdout = sys.stderr
    path, keys = sys.argv[1], sys.argv[2:]
    code = 1
    try:
        import gunicorn.app.wsgiapp  # of the app's venv

        # Gunicorn's own way, so that whatever its settings and its variables change is changed here, too.
        sys.argv = ["gunicorn", "--config", path]
        server = gunicorn.app.wsgiapp.WSGIApplication(prog="gunicorn")
        os.environ.update(server.cfg.env)
        thing = server.wsgi()
        app = find(thing)
        json.dump(describe(app, keys) if app else {"no_app": type(thing).__name__}, answer)
        answer.flush()
        code = 0
    except BaseException:  # SystemExit too: some apps end themselves
        traceback.print_exc()
    # At once: threads that the app has started would keep the process.
    os._exit(code)


if __name__ == "__main__":
    main()
