# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the app's configuration, as reported by a release's own processes, with the contract.

Each Gunicorn worker reports the app that it serves (:mod:`.workers`), so the process that is proved is the one that
gets the traffic. If Gunicorn can't report, the app is imported once more, in its release's environment and sandbox. So
apps whose health page doesn't report the environment can be proved, too.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.sandbox import ask_in_release
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import OUT_OF_TIME
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import entries_for
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import GUNICORN, Releases, program

from . import workers
from .contract import Contract, Failure

#: Number of lines of the app's output to show if it could not be inspected.
LINES = 20
#: Maximum length of a text from the app's config in a message.
LONGEST = 64
#: Kinds of databases whose address may be in a variable.
ENGINES = ("sqlite", "postgresql", "mysql", "oracle", "mssql", "mongodb")
#: Kinds that are a file on the host.
OF_A_HOST = ("sqlite", "duckdb", inspector.FILE)
#: Ids of the findings that :attr:`Question.accepted` may name, as in flask_app_accepted_findings.
DEBUG_TOOLBAR = "debug-toolbar"
OTHER_DATABASE = "other-database"
OTHER_KEY = "other-key"
UNPROVED_ENVIRONMENT = "unproved-environment"
UNPROVED_DEBUG = "unproved-debug"
DEVELOPMENT = "development"
PAGE = "the health page"
INSPECTION = "the app, imported once more"
#: Facts that the page or the workers must prove.
_ASSERTED = ("environment", "debug")
#: The subject of the findings for an unproved fact.
_FIELDS = "flask_app_health_fields"


@dataclass(frozen=True)
class Question:
    """What to check in the workers' reports, and which findings are accepted.

    Args:
        ask: whether to inspect the app at all.
        environment_keys: keys of ``app.config``; the first that exists names the environment.
        secret_key_variable: name of the environment variable whose value must be ``app.secret_key``.
        command_elsewhere: whether the release command ran on another host, so that both hosts must share the database.
        accepted: accepted findings, as ``id`` or ``id:subject``.
    """

    ask: bool = True
    environment_keys: Sequence[str] = ()
    secret_key_variable: str = "SECRET_KEY"  # noqa: S105  # a name
    command_elsewhere: bool = False
    accepted: Sequence[str] = ()

    def accepts(self, kind: str, subject: str) -> bool:
        return bool({*entries_for(kind, subject)} & {*self.accepted})


UNASKED = Question(ask=False)


@dataclass(frozen=True)
class Seen:
    """What an app reports about itself; see :func:`.inspector.describe`.

    Args:
        environment: name of its environment; empty if its config has none of the keys.
        environment_key: the key that has it.
        debug: ``app.debug``.
        testing: ``TESTING``.
        salt: of the digests, as hexadecimal digits.
        secret_key: digest of ``app.secret_key``; empty if there is none.
        databases: setting, kind and digest of the address of each database in its config.
        session_cookie_secure: ``SESSION_COOKIE_SECURE``.
        remember_cookie_secure: ``REMEMBER_COOKIE_SECURE``; true without Flask-Login, which sets that cookie.
        preferred_url_scheme: ``PREFERRED_URL_SCHEME``.
        debuggers: packages for debugging that it has imported.
    """

    environment: str = ""
    environment_key: str = ""
    debug: bool = False
    testing: bool = False
    salt: str = ""
    secret_key: str = ""
    databases: Sequence[Mapping[str, str]] = ()
    session_cookie_secure: bool = False
    remember_cookie_secure: bool = True
    preferred_url_scheme: str = ""
    debuggers: Sequence[str] = ()

    @classmethod
    def of(cls, report: Mapping[str, Any], secrets: Secrets) -> Seen:
        """Make it from a report: trust none of its types, and mask secrets in its texts."""
        seen: dict[str, Any] = {}
        for each in fields(cls):
            value = report.get(each.name, each.default)
            if isinstance(each.default, bool):
                seen[each.name] = value is True
            elif isinstance(each.default, str):
                # Mask before cutting: half a secret would not be found, but would still reveal half of it.
                seen[each.name] = secrets.mask(str(value))[:LONGEST]
            else:
                seen[each.name] = value if isinstance(value, list) else []
        seen["debuggers"] = [name for name in seen["debuggers"] if name in inspector.DEBUGGERS]
        seen["databases"] = [
            {name: str(each.get(name, ""))[:LONGEST] for name in ("setting", "kind", "address")}
            for each in seen["databases"]
            if isinstance(each, dict)
        ]
        return cls(**seen)

    def as_result(self) -> dict[str, Any]:
        """Return what may be shown: no digest, because it would let somebody try keys."""
        hidden = ("salt", "secret_key")
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}
        return {**shown, "databases": sorted({each["kind"] for each in self.databases})}


@dataclass(frozen=True)
class AppReport:
    """What a release reports about its app, apart from its health answers.

    Args:
        failures: the failed assertions.
        proved_by: who proves ``environment`` and who proves ``debug``.
        seen: the first report; None if there is none.
        journal: the last output of an app that could not be inspected, masked.
    """

    failures: Sequence[Failure] = ()
    proved_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seen: Seen | None = None
    journal: str = ""


@dataclass
class _Witnesses:
    """Who reports the app, apart from the page, with one name for all of them; or why nobody does."""

    who: str = ""
    seen: list[Seen] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    silence: str = ""
    journal: str = ""


@dataclass(frozen=True)
class Known:
    """The variables of a release, read once.

    Args:
        variables: all of its variables.
        secrets: masks the secret ones.
    """

    variables: Mapping[str, str] = field(repr=False)
    secrets: Secrets


def inspect_app(
    layout: Layout,
    release: str,
    question: Question,
    contract: Contract,
    page: Collection[str],
    *,
    known: Known,
    seconds: float,
    alive: Callable[[], bool] = lambda: True,
    imported: Collection[str] | None = None,
) -> AppReport:
    """Find out how the app of ``release`` is configured, and compare that with the contract.

    Args:
        page: which of ``environment`` and ``debug`` the health page has proved.
        known: variables of the release.
        seconds: limit for the reports of all workers, or for importing the app.
        alive: whether the release still runs.
        imported: which facts importing the app proved when this release was the candidate; None to import it now if
            Gunicorn can't report.
    """
    proved_by: dict[str, list[str]] = {name: [PAGE] if name in page else [] for name in _ASSERTED}
    asked = _ask(layout, release, question, known.secrets, seconds=seconds, alive=alive, may_import=imported is None)
    for name, who in proved_by.items():
        if asked.seen and (name == "debug" or all(each.environment for each in asked.seen)):
            who.append(asked.who)
        elif not asked.seen and name in (imported or ()):
            who.append(INSPECTION)
    found = [*asked.failures, *disagreements(asked.seen, question, contract, known.variables)]
    found = found or unproved(proved_by, question, contract, asked.silence)
    return AppReport(found, proved_by, asked.seen[0] if asked.seen else None, asked.journal)


def _ask(
    layout: Layout,
    release: str,
    question: Question,
    secrets: Secrets,
    *,
    seconds: float,
    alive: Callable[[], bool],
    may_import: bool,
) -> _Witnesses:
    if not question.ask:
        return _Witnesses(silence="flask_app_inspect is false, so the app is not inspected")
    found = workers.wait(layout, release, seconds, alive)
    if not found.by_worker:
        return _import(layout, release, question, secrets, seconds) if may_import else _Witnesses()
    asked = _Witnesses(seen=[Seen.of(report, secrets) for report in found.of_apps])
    asked.who = "1 worker" if len(asked.seen) == 1 else f"{len(asked.seen)} workers"
    if not found.complete:
        got = f"{len(found.by_worker)} within {seconds:g} seconds"
        asked.failures.append(Failure("workers that report", str(found.workers), got))
    if found.without_app:
        kinds = sorted({secrets.mask(kind)[:LONGEST] for kind in found.without_app})
        asked.silence = f"no Flask app was found in the WSGI object, a {' or a '.join(kinds)}"
        if asked.seen:
            got = f"{len(asked.seen)}; of {len(found.without_app)}: {asked.silence}"
            asked.failures.append(Failure("workers with a Flask app", str(len(found.by_worker)), got))
    return asked


def _import(layout: Layout, release: str, question: Question, secrets: Secrets, seconds: float) -> _Witnesses:
    try:
        return _Witnesses(INSPECTION, [inspect(layout, release, question.environment_keys, secrets, seconds)])
    except GreenlightError as error:
        return _Witnesses(silence=f"no worker reports it, and {error}", journal=str(error.details.get("journal", "")))


def of_live(layout: Layout, release: str, keys: Sequence[str], seconds: float) -> Seen:
    """Return what the app of a running release reports about itself.

    Raises:
        GreenlightError: no worker reports it, and :func:`inspect` fails.
    """
    secrets = Releases(layout).secrets(release)
    found = workers.reports(layout, release).of_apps
    return Seen.of(found[0], secrets) if found else inspect(layout, release, keys, secrets, seconds)


def disagreements(
    seen: Sequence[Seen], question: Question, contract: Contract, variables: Mapping[str, str]
) -> list[Failure]:
    """Return the failures in the workers' reports, each once, with the number of workers that have it."""
    counts = Counter(failure for each in seen for failure in failures(each, question, contract, variables))
    found = []
    for failure, count in counts.items():
        who = f" in {count} of {len(seen)} workers" if count < len(seen) else ""
        found.append(replace(failure, assertion=f"{failure.assertion}{who}"))
    keys = {each.secret_key for each in seen}
    if len(keys) > 1 and question.secret_key_variable not in variables and not _accepted_key(question):
        found.append(
            Failure("app.secret_key", "the same in all workers", f"{len(keys)} keys in {len(seen)} workers", _KEY_FIX)
        )
    return found


def unproved(
    proved_by: Mapping[str, Sequence[str]], question: Question, contract: Contract, silence: str
) -> list[Failure]:
    """Return the unproved facts, with all possible fixes."""
    found = []
    field_of = {name: contract.fields.get(name) or name for name in _ASSERTED}
    keys = " or ".join(question.environment_keys) or "a key that flask_app_inspect_environment_keys names"
    got = f"no proof{f': {silence}' if silence else ''}"
    if not proved_by["environment"] and not question.accepts(UNPROVED_ENVIRONMENT, _FIELDS):
        fix = (
            f"do one of these. Set {keys} in app.config to the value of the variable that the role sets; name the key"
            " that has it in flask_app_inspect_environment_keys; let the health page answer JSON with"
            f' "{field_of["environment"]}" (flask_app_health_fields names the field); or, if the app has no'
            f" environments, accept that: flask_app_accepted_findings: [{UNPROVED_ENVIRONMENT}]"
        )
        found.append(Failure("environment", json.dumps(contract.environment), got, fix))
    if not proved_by["debug"] and not question.accepts(UNPROVED_DEBUG, _FIELDS):
        fix = (
            "do one of these. Set flask_app_inspect: true; let the health page answer JSON with"
            f' "{field_of["debug"]}"; or accept that: flask_app_accepted_findings: [{UNPROVED_DEBUG}]'
        )
        found.append(Failure("debug", json.dumps(contract.debug), got, fix))
    return found


def failures(seen: Seen, question: Question, contract: Contract, variables: Mapping[str, str]) -> list[Failure]:
    """Return the failures in the report of one process.

    Args:
        seen: the report.
        question: what to check in it.
        contract: what it must say.
        variables: the release's; a value that is a database's address says which database it must be.
    """
    found = []
    environment = contract.environment
    if seen.environment and seen.environment.casefold() != environment.casefold():
        name = f"app.config {seen.environment_key}"
        found.append(Failure(name, json.dumps(environment), json.dumps(seen.environment)))
    for name, wanted, got in (("app.debug", contract.debug, seen.debug), ("app.config TESTING", False, seen.testing)):
        if got != wanted:
            found.append(Failure(name, json.dumps(wanted), json.dumps(got)))
    found += [*_database_failures(seen, question, variables), *_key_failures(seen, question, variables)]
    if environment != DEVELOPMENT:
        for package in seen.debuggers:
            if not question.accepts(DEBUG_TOOLBAR, package.replace("_", "-")):
                entry = f"{DEBUG_TOOLBAR}:{package.replace('_', '-')}"
                fix = f"import it in development only, or accept it: flask_app_accepted_findings: [{entry}]"
                found.append(Failure(f"package {package}", f"not imported in {environment}", "imported", fix))
    return found


def _database_failures(seen: Seen, question: Question, variables: Mapping[str, str]) -> Iterator[Failure]:
    """Check that the app's config has at least one database that the variables name."""
    # An app may have files in addition to its database, so a path only counts if there is nothing else.
    addressed = [each for each in seen.databases if each["kind"] != inspector.FILE]
    local = [each for each in addressed or seen.databases if each["kind"] in OF_A_HOST]
    if local and question.command_elsewhere:
        fix = "flask_app_release_command_once_per: host"
        name = f"database in app.config {local[0]['setting']}"
        kind = local[0]["kind"]
        got = "a file on this host" if kind == inspector.FILE else f"{kind}, a file on this host"
        yield Failure(name, "one that all hosts share, because the release command ran on another host", got, fix)
    meant = {name: value for name, value in variables.items() if _kind(inspector.engine(value)) in ENGINES}
    salt = _bytes(seen.salt)
    places = {inspector.digest(salt, inspector.address(value).encode()): name for name, value in meant.items()}
    if not meant or not addressed or {each["address"] for each in addressed} & places.keys():
        return
    kinds = {name: _kind(inspector.engine(value)) for name, value in meant.items()}
    same = [each for each in addressed if _kind(each["kind"]) in kinds.values()]
    setting = (same or addressed)[0]["setting"]
    if question.accepts(OTHER_DATABASE, setting):
        return
    name = next((name for name in kinds if same and kinds[name] == _kind(same[0]["kind"])), next(iter(kinds)))
    got = "another host, port, name or schema" if same else ", ".join(sorted({each["kind"] for each in addressed}))
    fix = f"let the app read {name}, or accept it: flask_app_accepted_findings: [{OTHER_DATABASE}:{setting}]"
    yield Failure(f"database in app.config {setting}", f"the {kinds[name]} of {name}", got, fix)


_KEY_FIX = (
    "let the app read its key from the environment, set flask_app_secret_key_variable to the variable that it reads, or"
    " accept it: flask_app_accepted_findings: [other-key]"
)


def _key_failures(seen: Seen, question: Question, variables: Mapping[str, str]) -> Iterator[Failure]:
    """Check that the app signs with the configured key, as text or as the bytes that it encodes."""
    name = question.secret_key_variable
    given = variables.get(name, "")
    if not given or not seen.secret_key or _accepted_key(question):
        return
    salt = _bytes(seen.salt)
    if seen.secret_key not in (inspector.digest(salt, form) for form in _forms(given)):
        fix = _KEY_FIX.replace("the environment", name)
        yield Failure("app.secret_key", f"the value of {name}", "another key", fix)


def _accepted_key(question: Question) -> bool:
    return question.accepts(OTHER_KEY, question.secret_key_variable)


def _forms(key: str) -> Iterator[bytes]:
    yield key.encode()
    yield _bytes(key)
    for alternatives in (b"+/", b"-_"):
        with suppress(ValueError):
            yield b64decode(key.encode(), altchars=alternatives, validate=True)


def _bytes(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _kind(engine: str) -> str:
    return inspector.SAME.get(engine, engine)


def inspect(layout: Layout, release: str, keys: Sequence[str], secrets: Secrets, seconds: float) -> Seen:
    """Import the app of ``release`` as its own process does, for at most ``seconds``, and return its report.

    Raises:
        GreenlightError: it can't be imported, or isn't a Flask app; the detail ``journal`` has its last output, masked.
    """
    home = layout.release(release)
    python = home / "venv/bin/python"
    unit = f"{layout.app}-inspection-{release}.service"
    began = time.monotonic()
    done = ask_in_release(
        layout, release, unit, [python, "-P", "-", home / GUNICORN, *keys], given=program(), seconds=seconds
    )
    try:
        answer = json.loads(done.stdout) if done.code == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        # When systemd stops it after ``seconds``, it only reports a failure, so check the time.
        late = done.code == OUT_OF_TIME or time.monotonic() - began >= seconds
        why = f"took longer than {seconds:g} seconds" if late else "failed"
        said = secrets.mask("\n".join(done.stderr.splitlines()[-LINES:]))
        raise GreenlightError(f"importing the app once more, outside of Gunicorn, {why}", journal=said)
    if "no_app" in answer:
        raise GreenlightError(f"no Flask app was found in the WSGI object, a {answer['no_app']}")
    return Seen.of(answer, secrets)
