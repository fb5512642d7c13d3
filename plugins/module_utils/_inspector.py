# SPDX-License-Identifier: GPL-3.0-or-later
"""Import a Flask app as Gunicorn does and say how it is configured; never a value that could be a secret.

A program of its own, for the Python of the app's venv: it gets the path of a gunicorn.conf.py, and keys of app.config
that may name the environment, and prints one JSON object. What the app itself prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import traceback
from typing import Any

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
#: What else stands before "://" may be part of a password.
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
    # By its true type: a proxy such as current_app is no second app, and a dead one can't be asked.
    apps = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    return apps[0] if len(apps) == 1 else None


def engine(value: Any) -> str:
    """Return the kind of database that a setting names, such as ``postgresql``, or an empty text."""
    if isinstance(value, dict):  # of several engines the one that counts
        value = value.get("default")
    if isinstance(value, dict):
        value = value.get("url")
    name = getattr(value, "drivername", None)  # sqlalchemy.engine.URL
    if name is None and isinstance(value, str) and "://" in value:
        name = value.partition("://")[0]
    scheme = _SCHEME.match(str(name or ""))
    return scheme[1].lower() if scheme else ""


def describe(app: Any, keys: list[str]) -> dict[str, Any]:
    """Return what is to be known of an app; ``keys`` are those of its config that may name its environment."""
    config = app.config
    named = next((key for key in keys if isinstance(config.get(key), str) and config.get(key)), "")
    engines = {key: found for key in DATABASES if (found := engine(config.get(key)))}
    # What SQLAlchemy's settings name is what is used, whatever else is kept beside them.
    used = [found for key, found in engines.items() if key.startswith("SQLALCHEMY_")] or engines.values()
    return {
        "environment": config[named] if named else "",
        "environment_key": named,
        "debug": bool(app.debug),
        "testing": bool(config.get("TESTING")),
        "databases": sorted({*used}),
        "session_cookie_secure": bool(config.get("SESSION_COOKIE_SECURE")),
        # Without Flask-Login there is no such cookie.
        "remember_cookie_secure": "flask_login" not in sys.modules or bool(config.get("REMEMBER_COOKIE_SECURE")),
        "preferred_url_scheme": str(config.get("PREFERRED_URL_SCHEME")),
        "debuggers": [name for name in DEBUGGERS if name in sys.modules],
    }


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
