# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the app itself, in its release's environment and sandbox, how it is configured; and hold that to the contract.

So an app whose health page knows nothing of environments is proved too.
"""

from __future__ import annotations

import json
import pkgutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields

from ansible_collections.greenlight.flask.plugins.module_utils import _inspector as inspector
from ansible_collections.greenlight.flask.plugins.module_utils._command import OUT_OF_TIME
from ansible_collections.greenlight.flask.plugins.module_utils._contract import Contract, Failure
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError, entries_for
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._masking import mask
from ansible_collections.greenlight.flask.plugins.module_utils._release import GUNICORN, Releases
from ansible_collections.greenlight.flask.plugins.module_utils._sandbox import ask_in_release

#: Lines of what the app printed that are shown where it could not be asked.
LINES = 20
#: Letters of a text from the app's config that are shown.
LONGEST = 64
#: Other names of the same kind of database.
_SAME = {"postgres": "postgresql", "postgis": "postgresql", "cockroachdb": "postgresql", "mariadb": "mysql"}
#: Kinds of databases that an address in a variable may mean.
ENGINES = ("sqlite", "postgresql", "mysql", "oracle", "mssql", "mongodb")
#: Id of the finding that :attr:`Question.accepted` may name, as in flask_app_accepted_findings.
DEBUG_TOOLBAR = "debug-toolbar"
DEVELOPMENT = "development"


@dataclass(frozen=True)
class Question:
    """Whether and how to ask.

    Args:
        ask: without it the app isn't asked.
        environment_keys: keys of ``app.config`` of which the first that is there names the environment; empty: that is
            not asserted.
        accepted: findings that somebody has accepted, as ``id`` or ``id:subject``.
    """

    ask: bool = True
    environment_keys: Sequence[str] = ()
    accepted: Sequence[str] = ()


UNASKED = Question(ask=False)


@dataclass(frozen=True)
class Seen:
    """What the app said of itself; see :func:`_inspector.describe`.

    Args:
        environment: name of its environment; empty where its config has none of the keys.
        environment_key: the key that has it.
        debug: ``app.debug``.
        testing: ``TESTING``.
        databases: kinds of the databases that its config names, such as ``postgresql``.
        session_cookie_secure: ``SESSION_COOKIE_SECURE``.
        remember_cookie_secure: ``REMEMBER_COOKIE_SECURE``; true without Flask-Login, which alone has such a cookie.
        preferred_url_scheme: ``PREFERRED_URL_SCHEME``.
        debuggers: packages for debugging that it has imported.
    """

    environment: str = ""
    environment_key: str = ""
    debug: bool = False
    testing: bool = False
    databases: Sequence[str] = ()
    session_cookie_secure: bool = False
    remember_cookie_secure: bool = True
    preferred_url_scheme: str = ""
    debuggers: Sequence[str] = ()


def inspect(layout: Layout, release: str, keys: Sequence[str], seconds: float) -> Seen:
    """Import the app of ``release`` as its own process does, for at most ``seconds``, and ask it.

    Raises:
        GreenlightError: it can't be imported, or is no Flask app; the detail ``journal`` has its last words, masked.
    """
    home = layout.release(release)
    python = home / "venv/bin/python"
    unit = f"{layout.app}-inspection-{release}.service"
    began = time.monotonic()
    done = ask_in_release(
        layout, release, unit, [python, "-P", "-", home / GUNICORN, *keys], given=_source(), seconds=seconds
    )
    try:
        answer = json.loads(done.stdout) if done.code == 0 else None
    except ValueError:
        answer = None
    secrets = Releases(layout).secrets(release)
    if not isinstance(answer, dict):
        # Systemd, which ends it in time, is quiet and says no more than that it failed.
        late = done.code == OUT_OF_TIME or time.monotonic() - began >= seconds
        why = f"took longer than {seconds:g} seconds" if late else "failed"
        said = mask("\n".join(done.stderr.splitlines()[-LINES:]), secrets)
        raise GreenlightError(f"importing it once more, beside Gunicorn, {why}", journal=said)
    if "no_app" in answer:
        raise GreenlightError(f"in the WSGI object, a {answer['no_app']}, no Flask app was found")
    for name in ("environment", "preferred_url_scheme"):
        # Masked before it is cut: half a secret is no longer found, and still tells half of it.
        answer[name] = mask(answer[name], secrets)[:LONGEST]
    return Seen(**{field.name: answer[field.name] for field in fields(Seen)})


@contextmanager
def asking(layout: Layout, release: str, question: Question, seconds: float) -> Iterator[Future[Seen] | None]:
    """Ask during the block, for it costs as much time as the app's own start; None where it isn't to be asked."""
    if not question.ask:
        yield None
        return
    with ThreadPoolExecutor(max_workers=1) as worker:
        yield worker.submit(inspect, layout, release, question.environment_keys, seconds)


def faults_of(
    app: Future[Seen], question: Question, contract: Contract, variables: Mapping[str, str]
) -> tuple[list[Failure], str]:
    """Wait for what the app says and hold it against the contract.

    Returns:
        What fails, and, where it could not be asked, its last words, masked.
    """
    try:
        return failures(app.result(), question, contract, variables), ""
    except GreenlightError as error:
        cure = "mend that, or leave this question out with flask_app_inspect: false"
        none = Failure("the app's own word", "an answer", f"none: {error}; {cure}")
        return [none], str(error.details.get("journal", ""))


def failures(seen: Seen, question: Question, contract: Contract, variables: Mapping[str, str]) -> list[Failure]:
    """Return what does not hold.

    Args:
        seen: what the app said.
        question: what was asked.
        contract: what must be. Where the health answer names the environment, the app's config need not.
        variables: the release's; a value that is a database's address tells the kind that it must be.
    """
    found = []
    environment, told = contract.environment, bool(contract.fields.get("environment"))
    if seen.environment and seen.environment.casefold() != environment.casefold():
        name = f"app.config {seen.environment_key}"
        found.append(Failure(name, json.dumps(environment), json.dumps(seen.environment)))
    if not seen.environment and question.environment_keys and not told:
        keys = " or ".join(question.environment_keys)
        what = "none of these: give it one, or name its own in flask_app_inspect_environment_keys ([] asserts none)"
        found.append(Failure("environment of the app", f"{json.dumps(environment)} in app.config under {keys}", what))
    for name, wanted, got in (("app.debug", contract.debug, seen.debug), ("app.config TESTING", False, seen.testing)):
        if got != wanted:
            found.append(Failure(name, json.dumps(wanted), json.dumps(got)))
    meant = {name: engine for name in variables if (engine := _same(inspector.engine(variables[name]))) in ENGINES}
    if seen.databases and meant and not {*map(_same, seen.databases)} & {*meant.values()}:
        name, engine = next(iter(meant.items()))
        found.append(Failure("database", f"{engine}, as in {name}", ", ".join(seen.databases)))
    if environment != DEVELOPMENT:
        for package in seen.debuggers:
            if not {*entries_for(DEBUG_TOOLBAR, package.replace("_", "-"))} & {*question.accepted}:
                found.append(Failure(f"package {package}", f"not imported in {environment}", "imported"))
    return found


def _same(engine: str) -> str:
    return _SAME.get(engine, engine)


def _source() -> str:
    """The program's text, also where it comes out of Ansible's archive."""
    package, _, name = inspector.__name__.rpartition(".")
    return (pkgutil.get_data(package, f"{name}.py") or b"").decode()
