# SPDX-License-Identifier: GPL-3.0-or-later
"""What the app's code shows, if its source is a directory on the controller."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._build.dotenv import Value, is_example
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import named
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import OTHER_DATABASE, OTHER_KEY
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.judge import is_credential
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import files as source
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.literals import is_database
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.python import Spot

from ..case import Case
from ..rule import EITHER, OUTSIDE_DEVELOPMENT, SOURCE, Example, Found, Rule, finds
from .app import DEBUG_TOOLBAR, INSECURE_COOKIE
from .environment import DEBUG_VARIABLES, SELECTORS

_LOCK = {"requirements.txt": f"gunicorn==27.0.1 --hash=sha256:{'0' * 64}\n"}
_APP = {**_LOCK, "wsgi.py": "from flask import Flask\n\napp = Flask(__name__)\n"}


def _wsgi(*lines: str) -> Mapping[str, str]:
    return {**_APP, "wsgi.py": "".join(f"{line}\n" for line in ("from flask import Flask", "", *lines))}


FALLBACK_KEY = Rule(
    "fallback-key",
    "The source has a literal SECRET_KEY, so anyone who reads the code can sign cookies. It is only a warning if the"
    " process gets the variable, or if the workers prove which key they use.",
    severity=EITHER,
    acceptable=True,
    needs=(SOURCE,),
    bad=Example(source=_wsgi("app = Flask(__name__)", 'app.config["SECRET_KEY"] = "dev"')),
    good=Example(
        source=_wsgi("import os", "app = Flask(__name__)", 'app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]')
    ),
)
LITERAL_SECRET = Rule(
    "literal-secret",
    "The source has a literal password or token, such as a database URL, *_PASSWORD or *_TOKEN. It is only a warning"
    " in the same cases as a fallback-key.",
    severity=EITHER,
    acceptable=True,
    bad=Example(source=_wsgi("app = Flask(__name__)", 'MAIL_PASSWORD = "hunter2-Zk3vQ9rT"')),
    good=Example(source=_wsgi("import os", "app = Flask(__name__)", 'MAIL_PASSWORD = os.environ["MAIL_PASSWORD"]')),
)
SHIPPED_ENV_FILE = Rule(
    "shipped-env-file",
    "A .env, .flaskenv or *.env in the source sets a secret, selects the environment or turns DEBUG on. Any other .env"
    " is a warning; an example with placeholders is fine.",
    severity=EITHER,
    acceptable=True,
    needs=(SOURCE,),
    bad=Example(source={**_APP, ".env": "API_TOKEN=hunter2-Zk3vQ9rTx7LwB2mY\n"}),
    good=Example(source={**_APP, ".env.example": "API_TOKEN=change-me\n"}),
)
SHIPPED_INSTANCE = Rule(
    "shipped-instance",
    "The source contains an instance folder, so Flask's instance folder is read-only.",
    severity=WARNING,
    fix="If the app writes there, add instance/ to .gitignore: the role then links it to /var/lib/<app>.",
    acceptable=True,
    bad=Example(source={**_APP, "instance/config.py": "A = 1\n"}),
    good=Example(source={**_APP, "shop/config.py": "A = 1\n"}),
)
WSGI_APP = Rule(
    "wsgi-app",
    "flask_app_wsgi names a module or an object that the source doesn't have.",
    acceptable=True,
    bad=Example({"flask_app_wsgi": "shop:app"}, source=_APP),
    good=Example({"flask_app_wsgi": "wsgi:app"}, source=_APP),
)
SERVER_AT_IMPORT = Rule(
    "server-at-import",
    "Importing the source calls app.run() or the like, so Gunicorn never serves the app.",
    acceptable=True,
    bad=Example(source=_wsgi("app = Flask(__name__)", "app.run()")),
    good=Example(source=_wsgi("app = Flask(__name__)", 'if __name__ == "__main__":', "    app.run()")),
)
DEBUG_SERVER = Rule(
    "debug-server",
    "Running a file by hand starts a server with debug=True. Use flask run --debug locally instead.",
    severity=WARNING,
    acceptable=True,
    bad=Example(source=_wsgi("app = Flask(__name__)", 'if __name__ == "__main__":', "    app.run(debug=True)")),
    good=Example(source=_wsgi("app = Flask(__name__)", 'if __name__ == "__main__":', "    app.run()")),
)
CLIENT_ADDRESS = Rule(
    "client-address",
    "The source reads request.remote_addr without ProxyFix. Behind Nginx it is empty, so Flask-Limiter counts all"
    " clients as one.",
    severity=WARNING,
    fix="Add app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1) from werkzeug.middleware.proxy_fix.",
    acceptable=True,
    bad=Example(
        source=_wsgi(
            "from flask import request", "app = Flask(__name__)", "def ip():", "    return request.remote_addr"
        )
    ),
    good=Example(
        source=_wsgi(
            "from flask import request",
            "from werkzeug.middleware.proxy_fix import ProxyFix",
            "app = Flask(__name__)",
            "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)",
            "def ip():",
            "    return request.remote_addr",
        )
    ),
)

_PUBLIC = re.compile(r"(^|_)(PUBLIC|PUBLISHABLE)_", re.IGNORECASE)
#: Directories for tests and tools, which no release reads.
_ELSEWHERE = re.compile(r"(^|/)(tests?|testing|docs?|examples?|\.[^/]+)/")


@finds(SHIPPED_ENV_FILE)
def environment_files(case: Case) -> Iterator[Found]:
    """Find .env files that hold a secret, select the environment or DEBUG, or are read where nobody expects it."""
    for name, given in sorted(case.shipped.environment_files.items()):
        path = named([name])
        unread = is_example(path) or bool(_ELSEWHERE.search(path))
        wrong = [each for each, value in given.items() if value.is_set and _is_secret(each, value, unread)]
        if not unread:
            selectors = (case["environment_variable"], "FLASK_ENV", *SELECTORS)
            wrong += [each for each in selectors if each in given and given[each].is_set]
            switched = (each for each in DEBUG_VARIABLES if each in given)
            wrong += [each for each in switched if given[each].is_set and not given[each].is_off]
        fix = (
            f"Take it out of git (git rm --cached {path}, and a line in .gitignore). Set what the app needs in"
            " flask_app_secrets and flask_app_env."
        )
        if wrong:
            what = f"the source has {path}, which sets {', '.join(dict.fromkeys(wrong))}."
            yield SHIPPED_ENV_FILE(path, what, fix, severity=OUTSIDE_DEVELOPMENT)
        elif not unread and PurePosixPath(path).name.startswith("."):
            what = f"the source has {path}: Flask's commands and python-dotenv read unset variables from it."
            yield SHIPPED_ENV_FILE(path, what, fix, severity=WARNING)


def _is_secret(name: str, value: Value, unread: bool) -> bool:
    secret = value.has_password or (is_credential(name) and not _PUBLIC.search(name))
    return secret and (value.looks_real or not unread)


@finds(SHIPPED_INSTANCE)
def instance(case: Case) -> Iterator[Found]:
    if case.source and any(name.startswith("instance/") for name in case.source.names):
        yield SHIPPED_INSTANCE(
            "instance", "the source contains an instance folder, so Flask's instance folder is read-only."
        )


@finds(FALLBACK_KEY, LITERAL_SECRET)
def literals(case: Case) -> Iterator[Found]:
    """Find literal keys, passwords and tokens; warn only if the process proves, or must get, the given one."""
    kinds = (
        (FALLBACK_KEY, case.survey.keys, "anyone who reads the code can sign cookies"),
        (LITERAL_SECRET, case.survey.credentials, "anyone who reads the code knows it"),
    )
    for rule, spots, why in kinds:
        places: dict[tuple[str, str], list[Spot]] = {}
        for spot in spots:
            known = _is_given(case, spot) or _is_proved(case, spot)
            severity = WARNING if known else rule.is_at(OUTSIDE_DEVELOPMENT, case)
            places.setdefault((spot.path, severity), []).append(spot)
        for (path, severity), here in places.items():
            where = ", ".join(f"{path}:{line}" for line in sorted({spot.line for spot in here}))
            ordered = sorted(here, key=lambda spot: (spot.line, spot.setting))
            settings = " and ".join(dict.fromkeys(spot.setting for spot in ordered))
            what = f"the source has a literal {settings} ({where}): {why}."
            name = next((spot.setting for spot in ordered if spot.setting.isupper()), "SECRET_KEY")
            fix = f'Read it without a fallback, as in os.environ["{name}"], and set it in flask_app_secrets.'
            yield rule(path, what, fix, severity=severity)


def _is_given(case: Case, spot: Spot) -> bool:
    """Return whether the process has the variable that a literal is a fallback for."""
    variables = case.app_variables
    if case["secrets_as"] == "credentials":  # the process only has their files' paths
        variables.pop("flask_app_secrets")
    return any(given.get(spot.asked) not in (None, "") for given in variables.values())


def _is_proved(case: Case, spot: Spot) -> bool:
    """Return whether the workers compare the key and the database they use with the given ones."""
    given = {name: str(value) for variables in case.app_variables.values() for name, value in variables.items()}
    accepted = {entry.partition(":")[0] for entry in case["accepted_findings"]}
    variable = case["secret_key_variable"]
    key = spot.setting in ("SECRET_KEY", "secret_key", variable) and OTHER_KEY not in accepted and variable in given
    database = spot.database and OTHER_DATABASE not in accepted and any(map(is_database, given.values()))
    return bool(case["inspect"] and (key or database))


@finds(WSGI_APP)
def entry(case: Case) -> Iterator[Found]:
    """Check that Gunicorn finds the app when it imports it."""
    if not case.startup:
        return
    missing, others = case.startup.missing()
    if missing:
        example = f", as in flask_app_wsgi: {_yaml(others[0])}" if others else ", as <module>:<name>"
        fix = f"Set flask_app_wsgi to the app's module and name{example}."
        yield WSGI_APP("flask_app_wsgi", f"flask_app_wsgi is {case['wsgi']}, and {missing}.", fix)


def _yaml(text: str) -> str:
    return json.dumps(text) if "(" in text else text


@finds(SERVER_AT_IMPORT, DEBUG_SERVER)
def servers(case: Case) -> Iterator[Found]:
    if not case.startup:
        return
    by_hand = f"flask --app {shlex.quote(case['wsgi'])} run --debug"
    for server in case.startup.servers():
        where = f"{server.path}:{server.line}"
        if server.at_import:
            what = f"importing the source starts its own server ({where}): Gunicorn never serves the app."
            fix = f'Remove that, or put it under if __name__ == "__main__". Locally, start it with: {by_hand}'
            yield SERVER_AT_IMPORT(server.path, what, fix)
        elif server.debug and case.outside_development:
            what = f"the source starts a server with debug=True when the file is run by hand ({where})."
            yield DEBUG_SERVER(server.path, what, f"Remove debug=True. Locally, start it with: {by_hand}")


@finds(CLIENT_ADDRESS)
def addresses(case: Case) -> Iterator[Found]:
    """Find client addresses that are wrong behind Nginx."""
    spots = case.startup.client_addresses() if case.startup else []
    for path in dict.fromkeys(spot.path for spot in spots):
        here = [spot for spot in spots if spot.path == path]
        where = f"{' and '.join(dict.fromkeys(spot.setting for spot in here))} ({path}:{here[0].line})"
        yield CLIENT_ADDRESS(
            path,
            f"the source reads {where} without ProxyFix: behind Nginx, all clients look the same there.",
        )


@finds(INSECURE_COOKIE)
def flags(case: Case) -> Iterator[Found]:
    if not case.outside_development:
        return
    # True in a production class overrides False in its base class.
    good = {spot.setting for spot in case.survey.flags if spot.value}
    for spot in case.survey.flags:
        if not spot.value and spot.setting not in good:
            what = f"the source sets {spot.setting} to False ({spot.path}:{spot.line})."
            yield INSECURE_COOKIE(spot.path, what, "Set it to True outside development.")


@finds(DEBUG_TOOLBAR)
def packages(case: Case) -> Iterator[Found]:
    if not case.source or not case.outside_development:
        return
    lock = posixpath.normpath(case["requirements"])
    if lock in case.source.names:
        for package in source.debug_packages(case.source.top, lock, case.choice):
            what = f"{case['requirements']} installs {package} in {case['environment']}."
            fix = "Move it to the development requirements, and lock again."
            yield DEBUG_TOOLBAR(package, what, fix)
