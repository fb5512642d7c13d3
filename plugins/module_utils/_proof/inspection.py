# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release's own processes say of the app's configuration, held to the contract.

Each worker of Gunicorn reports the app that it serves (:mod:`.workers`), so the process that is proved is the one that
takes the traffic. Where Gunicorn can't report, the app is imported once more, in its release's environment and sandbox.
So an app whose health page knows nothing of environments is proved too.
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

#: Lines of what the app printed that are shown where it could not be asked.
LINES = 20
#: Letters of a text from the app's config that are shown.
LONGEST = 64
#: Kinds of databases that an address in a variable may mean.
ENGINES = ("sqlite", "postgresql", "mysql", "oracle", "mssql", "mongodb")
#: Kinds that are a file of the host.
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
#: What must be proved by the page or by the workers.
_ASSERTED = ("environment", "debug")
#: The subject of the findings that nobody proves one of these.
_FIELDS = "flask_app_health_fields"


@dataclass(frozen=True)
class Question:
    """What the workers report of the app that they have loaded, and how much of it somebody accepts.

    Args:
        ask: whether they are asked. If not, the app isn't either.
        environment_keys: keys of ``app.config``; the first that is there names the environment.
        secret_key_variable: name of the environment variable whose value ``app.secret_key`` must be.
        command_elsewhere: whether the release command ran on another host for this one, whose database must then be
            the same.
        accepted: findings that somebody has accepted, as ``id`` or ``id:subject``.
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
    """What an app says of itself; see :func:`.inspector.describe`.

    Args:
        environment: name of its environment; empty where its config has none of the keys.
        environment_key: the key that has it.
        debug: ``app.debug``.
        testing: ``TESTING``.
        salt: of the digests, as hexadecimal digits.
        secret_key: digest of ``app.secret_key``; empty where it has none.
        databases: of each database that its config names the setting, the kind and a digest of the address.
        session_cookie_secure: ``SESSION_COOKIE_SECURE``.
        remember_cookie_secure: ``REMEMBER_COOKIE_SECURE``; true without Flask-Login, which alone has such a cookie.
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
        """Make it of a report, of which no type is believed, with no secret in its texts."""
        seen: dict[str, Any] = {}
        for each in fields(cls):
            value = report.get(each.name, each.default)
            if isinstance(each.default, bool):
                seen[each.name] = value is True
            elif isinstance(each.default, str):
                # Masked before it is cut: half a secret is no longer found, and still tells half of it.
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
        """Return what of it may be shown: no digest, which would let somebody try keys."""
        hidden = ("salt", "secret_key")
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}
        return {**shown, "databases": sorted({each["kind"] for each in self.databases})}


@dataclass(frozen=True)
class AppReport:
    """What was heard of a release beside its health answers.

    Args:
        failures: what does not hold.
        proved_by: of ``environment`` and ``debug`` who proves each.
        seen: what the first who was asked says; None where nobody could say anything.
        journal: the last words of an app that could not be asked, masked.
    """

    failures: Sequence[Failure] = ()
    proved_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seen: Seen | None = None
    journal: str = ""


@dataclass
class _Witnesses:
    """Who says something of the app beside the page, in one word for all of them; and why nobody does."""

    who: str = ""
    seen: list[Seen] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    silence: str = ""
    journal: str = ""


@dataclass(frozen=True)
class Known:
    """What the inventory has given a release, read once.

    Args:
        variables: all of its variables.
        secrets: what masks those that are secret.
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
    """Ask who can say how the app of ``release`` is configured, and hold that to the contract.

    Args:
        page: which of ``environment`` and ``debug`` the health page has proved.
        known: of the release.
        seconds: for the reports of all workers, or for importing the app.
        alive: whether the release still runs.
        imported: what was proved by importing the app once more, when this release was the candidate; None: import it
            now, where Gunicorn can't report.
    """
    proved_by: dict[str, list[str]] = {name: [PAGE] if name in page else [] for name in _ASSERTED}
    asked = _ask(layout, release, question, known.secrets, seconds=seconds, alive=alive, anew=imported is None)
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
    anew: bool,
) -> _Witnesses:
    if not question.ask:
        return _Witnesses(silence="flask_app_inspect is false, so no worker is asked")
    found = workers.wait(layout, release, seconds, alive)
    if not found.by_worker:
        return _import(layout, release, question, secrets, seconds) if anew else _Witnesses()
    asked = _Witnesses(seen=[Seen.of(report, secrets) for report in found.of_apps])
    asked.who = "1 worker" if len(asked.seen) == 1 else f"{len(asked.seen)} workers"
    if not found.complete:
        got = f"{len(found.by_worker)} within {seconds:g} seconds"
        asked.failures.append(Failure("workers that report", str(found.workers), got))
    if found.without_app:
        kinds = sorted({secrets.mask(kind)[:LONGEST] for kind in found.without_app})
        asked.silence = f"in the WSGI object, a {' or a '.join(kinds)}, no Flask app was found"
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
    """Return what the app of a running release says of itself.

    Raises:
        GreenlightError: no worker reports it, and :func:`inspect` fails.
    """
    secrets = Releases(layout).secrets(release)
    told = workers.reports(layout, release).of_apps
    return Seen.of(told[0], secrets) if told else inspect(layout, release, keys, secrets, seconds)


def disagreements(
    seen: Sequence[Seen], question: Question, contract: Contract, variables: Mapping[str, str]
) -> list[Failure]:
    """Return what does not hold of what the workers say, each once, with how many of them say so."""
    counts = Counter(failure for each in seen for failure in failures(each, question, contract, variables))
    found = []
    for failure, count in counts.items():
        who = f" in {count} of {len(seen)} workers" if count < len(seen) else ""
        found.append(replace(failure, assertion=f"{failure.assertion}{who}"))
    keys = {each.secret_key for each in seen}
    if len(keys) > 1 and question.secret_key_variable not in variables and not _accepted_key(question):
        found.append(
            Failure("app.secret_key", "the same in each worker", f"{len(keys)} keys in {len(seen)} workers", _KEY_FIX)
        )
    return found


def unproved(
    proved_by: Mapping[str, Sequence[str]], question: Question, contract: Contract, silence: str
) -> list[Failure]:
    """Return what nobody proves, with all that one can do about it."""
    found = []
    field_of = {name: contract.fields.get(name) or name for name in _ASSERTED}
    keys = " or ".join(question.environment_keys) or "a key that flask_app_inspect_environment_keys names"
    got = f"nobody says it{f': {silence}' if silence else ''}"
    if not proved_by["environment"] and not question.accepts(UNPROVED_ENVIRONMENT, _FIELDS):
        fix = (
            f"one of these is enough. Set {keys} in app.config to the value of the variable that the role sets; name"
            " the key that has it in flask_app_inspect_environment_keys; let the health page answer JSON with"
            f' "{field_of["environment"]}" (flask_app_health_fields names the field); or, if the app knows no'
            f" environments, accept that: flask_app_accepted_findings: [{UNPROVED_ENVIRONMENT}]"
        )
        found.append(Failure("environment", json.dumps(contract.environment), got, fix))
    if not proved_by["debug"] and not question.accepts(UNPROVED_DEBUG, _FIELDS):
        fix = (
            "one of these is enough. Leave flask_app_inspect true; let the health page answer JSON with"
            f' "{field_of["debug"]}"; or accept that: flask_app_accepted_findings: [{UNPROVED_DEBUG}]'
        )
        found.append(Failure("debug", json.dumps(contract.debug), got, fix))
    return found


def failures(seen: Seen, question: Question, contract: Contract, variables: Mapping[str, str]) -> list[Failure]:
    """Return what does not hold of what one process says.

    Args:
        seen: what it said.
        question: what was asked.
        contract: what must be.
        variables: the release's; a value that is a database's address says which one it must be.
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
    """One of the databases that the app's config names must be one that the variables name."""
    # An app may keep files beside its database, so a path counts only where there is no other.
    addressed = [each for each in seen.databases if each["kind"] != inspector.FILE]
    local = [each for each in addressed or seen.databases if each["kind"] in OF_A_HOST]
    if local and question.command_elsewhere:
        fix = "flask_app_release_command_once_per: host"
        name = f"database in app.config {local[0]['setting']}"
        kind = local[0]["kind"]
        got = "a file of this host" if kind == inspector.FILE else f"{kind}, a file of this host"
        yield Failure(name, "one for all hosts, for the release command ran on another one only", got, fix)
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
    "let the app read its key from the environment, name the variable that it reads in flask_app_secret_key_variable,"
    " or accept it: flask_app_accepted_findings: [other-key]"
)


def _key_failures(seen: Seen, question: Question, variables: Mapping[str, str]) -> Iterator[Failure]:
    """What signs must be the key that was given, as text or as the bytes that it encodes."""
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
    """Import the app of ``release`` as its own process does, for at most ``seconds``, and ask it.

    Raises:
        GreenlightError: it can't be imported, or isn't a Flask app; the detail ``journal`` has its last words, masked.
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
        # Systemd, which ends it in time, is quiet and says no more than that it failed.
        late = done.code == OUT_OF_TIME or time.monotonic() - began >= seconds
        why = f"took longer than {seconds:g} seconds" if late else "failed"
        said = secrets.mask("\n".join(done.stderr.splitlines()[-LINES:]))
        raise GreenlightError(f"importing the app once more, beside Gunicorn, {why}", journal=said)
    if "no_app" in answer:
        raise GreenlightError(f"in the WSGI object, a {answer['no_app']}, no Flask app was found")
    return Seen.of(answer, secrets)
