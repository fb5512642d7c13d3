# SPDX-License-Identifier: GPL-3.0-or-later
"""Report how a Flask app is configured, but never a value that could be a secret.

Each release has a copy of this file, and its gunicorn.conf.py runs it: every worker reports the app that it has loaded,
before it accepts requests (:func:`write`, from Gunicorn's hook post_worker_init). As a program, for apps whose workers
can't report, it imports the app as Gunicorn does and prints the same report on standard output (:func:`main`).

Before that, Gunicorn's settings use it to restrict the release's signals (:func:`keep_signals_inside`).

For keys and addresses of databases, it reports a digest, keyed with a salt of this start (RFC 2104): whoever has the
value can compare it, but nobody can recover the value.

It runs in the Python of the app's venv, so it uses only the standard library.
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

#: Directory of the reports, in the one that systemd makes for each start of the release (RuntimeDirectory=).
DIRECTORY = "workers"
#: One for all workers of a master, which runs this file before it makes them.
SALT = os.urandom(16)
#: Settings that are ignored in a source's own gunicorn.conf.py, because they contradict the unit.
NEVER_TAKEN = frozenset(
    "chdir check_config config daemon group initgroups pidfile print_config raw_env reload_engine user".split()  # noqa: SIM905
)
#: System calls, which have the same numbers on all architectures, and LANDLOCK_SCOPE_SIGNAL.
_CREATE_RULESET, _RESTRICT_SELF, _SCOPE_SIGNAL = 444, 446, 2
#: Settings with a database address: usual names, and those of Flask-SQLAlchemy, Flask-SQLAlchemy-Lite, Flask-PyMongo.
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
#: The kind of a database that is given by a path: usually SQLite, as in Flask's own tutorial.
FILE = "file"
#: A value of these settings that is a path. A plain name may be that of a database on a server.
_PATH = re.compile(r"(/|\.{1,2}/|file:).*(?<!\.sock)\Z|.*\.(db|db3|sqlite|sqlite3|duckdb)\Z", re.IGNORECASE | re.DOTALL)
#: Other names of the same kind of database.
SAME = {"postgres": "postgresql", "postgis": "postgresql", "cockroachdb": "postgresql", "mariadb": "mysql"}
#: Default ports of databases.
PORTS = {"postgresql": 5432, "mysql": 3306, "mongodb": 27017, "mssql": 1433, "oracle": 1521}
#: Modules of packages that show code and values to all visitors.
DEBUGGERS = (
    "flask_debugtoolbar",
    "flask_debug_toolbar",
    "flask_debugtoolbar_sqlalchemy",
    "flask_debugtoolbar_mongo",
    "flask_debug",
    "flask_profiler",
)
#: Attributes in which WSGI middleware keeps what it wraps; ``__self__`` is a bound method's object.
_WRAPPED = ("__self__", "app", "wsgi_app", "application", "wrapped", "_app", "__wrapped__")
#: A longer chain of middleware must be a loop.
_DEPTH = 20
#: Anything else before "://" may be part of a password.
_SCHEME = re.compile(r"([A-Za-z][\w.-]*)(\+[\w+.-]*)?\Z", re.ASCII)


def find(thing: Any) -> Any:
    """Return the Flask app inside a WSGI object, or None; if middleware hides it, the only app of the process."""
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
    # Check the real type: a proxy such as current_app isn't a second app, and an unbound one raises an error.
    apps = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    return apps[0] if len(apps) == 1 else None


def _main(value: Any) -> Any:
    """Return the main address of a setting that may have several databases."""
    if isinstance(value, dict):
        value = value.get("default")
    return value.get("url") if isinstance(value, dict) else value


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _names(app: Any, key: str) -> bool:
    """Say whether a key of ``app.config`` names an environment; ENV is "production" by default before Flask 2.3."""
    value = app.config.get(key)
    return isinstance(value, str) and bool(value) and not (key in app.default_config and value == "production")


def engine(value: Any) -> str:
    """Return the kind of database in a setting, such as ``postgresql``, or an empty text."""
    value = _main(value)
    name = getattr(value, "drivername", None)  # sqlalchemy.engine.URL
    if name is None and isinstance(value, str) and "://" in value:
        name = value.partition("://")[0]
    scheme = _SCHEME.match(str(name or ""))
    return scheme[1].lower() if scheme else ""


def is_path(value: Any) -> bool:
    """Say whether a setting gives its database as a path on the host."""
    value = _main(value)
    if not isinstance(value, str | bytes | os.PathLike):
        return False
    return not engine(value) and bool(_PATH.match(os.fsdecode(value)))


def address(value: Any) -> str:
    """Return what identifies a database: kind, host, port, name and schema, or an empty text.

    The account and the driver aren't part of it.
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
        if "," in parts.netloc:  # several hosts, each with a port
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
    """Return the report of an app; ``keys`` are the keys of its config that may name its environment."""
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
    # If there are SQLAlchemy settings, the app uses those, whatever else is configured.
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
    """Report the app that a Gunicorn worker has loaded, in a file named after its pid.

    A deploy waits for the report, but a failure to write it must never keep the app from starting.
    """
    try:
        directory = _directory()
        directory.mkdir(mode=0o700, exist_ok=True)
        app = find(worker.wsgi)
        said = describe(app, keys) if app else {"no_app": type(worker.wsgi).__name__}
        unfinished = directory / f"{worker.pid}.unfinished"
        unfinished.write_text(json.dumps({"pid": worker.pid, "workers": worker.cfg.workers, **said}))
        unfinished.replace(directory / f"{worker.pid}.json")
    except Exception as error:  # including errors of the app's own objects
        worker.log.warning("The worker can't report how the app is configured: %s", type(error).__name__)


def forget(pid: int) -> None:
    """Remove the report of a worker that has ended; Gunicorn's hook child_exit calls it in the master."""
    with suppress(OSError, KeyError):
        (_directory() / f"{pid}.json").unlink()


def of_the_source(path: str) -> dict[str, Any]:
    """Return the settings of a gunicorn.conf.py in the release's source, without :data:`NEVER_TAKEN`.

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
    """Let this process and its children only send signals to each other; say whether the kernel supports that.

    All releases share an account, so a compromised app could otherwise kill the next release. Landlock can scope
    signals since Linux 6.12 (https://docs.kernel.org/userspace-api/landlock.html). PrivatePIDs= of systemd 257 can't be
    used: the socket would be passed to a process that LISTEN_PID doesn't name.
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
    except Exception:  # it must never keep the app from starting
        return False
    return done


def _directory() -> Path:
    # Colon-separated if the unit has several (systemd.exec(5)); the release's is the first.
    return Path(os.environ["RUNTIME_DIRECTORY"].split(":")[0]) / DIRECTORY


def main() -> None:
    # The app and its children may print; only what is written here is the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not only the descriptor: the content of print()'s buffer would be lost at the end.
    sys.stdout = sys.stderr
    path, keys = sys.argv[1], sys.argv[2:]
    code = 1
    try:
        import gunicorn.app.wsgiapp  # of the app's venv

        # Load it as Gunicorn does, so that its settings and variables have the same effect.
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
    # Exit at once: threads of the app would keep the process alive.
    os._exit(code)


if __name__ == "__main__":
    main()
