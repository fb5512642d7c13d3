# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds on the controller: in settings, secrets, source and in the inventories beside this one.

Each function takes plain values and returns findings; a text names variables and files, never a value.
"""

from __future__ import annotations

import ipaddress
import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.unit_settings import UNIT_SETTING
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import SHORTEST
from ansible_collections.greenlight.flask.plugins.module_utils._build import dotenv, gunicorn_file
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import list_files
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import directory_below
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    DEBUG_TOOLBAR,
    DEVELOPMENT,
    OTHER_DATABASE,
    OTHER_KEY,
    UNPROVED_DEBUG,
    UNPROVED_ENVIRONMENT,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._inventory import reader as inventories
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import fingerprints
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import judge as secret_values
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import files as source
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import gunicorn
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.literals import is_database
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.python import Spot
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.startup import Sources

from . import dotenv as environment_files
from .inputs import chosen, secret_problems, unit_variables
from .report import UNREADABLE, Reported, accept

#: What every deploy refuses by itself, accepted or not.
NEVER_ACCEPTED = ("missing-secret", "debug", "environment-by-hand")
#: What only the app itself can tell.
OF_THE_APP = ("insecure-cookie", "insecure-scheme", DEBUG_TOOLBAR)
#: What only a deploy finds, by what the workers report.
OF_A_DEPLOY = (OTHER_DATABASE, OTHER_KEY, UNPROVED_DEBUG, UNPROVED_ENVIRONMENT)
#: A source's own gunicorn.conf.py sets what the role's settings replace.
GUNICORN_FILE = "gunicorn-file"
#: The locked Gunicorn can't do what a variable asks of it.
GUNICORN_VERSION = "gunicorn-version"
#: What only the source can tell, which is not here where the host fetches it.
OF_THE_SOURCE = ("fallback-key", environment_files.ID, GUNICORN_FILE)
#: Keys that sign, beside the one that flask_app_secret_key_variable names.
_SIGNING = ("SECRET_KEY", "JWT_SECRET_KEY", "WTF_CSRF_SECRET_KEY")
#: Variables by which apps choose their configuration.
_SELECTORS = ("FLASK_CONFIG", "APP_CONFIG", "APP_SETTINGS", "APP_ENV", "CONFIG_NAME", "ENVIRONMENT", "ENV", "STAGE")
#: What Flask, and apps themselves, take for off.
_OFF = ("", "0", "false", "no", "none")
_DEBUG = {"FLASK_DEBUG": _OFF} | dict.fromkeys(
    ("DEBUG", "APP_DEBUG", "TESTING", "FLASK_TESTING", "APP_TESTING"), (*_OFF, "off", "n", "f", "null")
)
_HOST_LISTS = re.compile(r"(^|_)(ALLOWED_HOSTS|TRUSTED_HOSTS)\Z")
_DEVELOPMENT_SERVER = re.compile(r"\bflask\b[^;&|\n]*\brun\b|\bpython[\d.]*\s+-m\s+flask\b[^;&|\n]*\brun\b|--reload\b")


@dataclass(frozen=True)
class Place:
    """Where the inventory and the playbook are, and what opens vault files; None where there is no such directory.

    Args:
        inventory: the directory of the inventory.
        playbook: that of the playbook.
        decrypt: opens vault files.
        file: the one file that is the inventory, where it isn't the whole directory.
        groups: those of the host whose variables are examined.
    """

    inventory: Path | None
    playbook: Path | None
    decrypt: inventories.Decrypt
    file: Path | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examination:
    """All findings, and what they rest on: see :class:`Comparison`."""

    findings: list[Reported]
    compared: list[str]
    locked: list[str]


def examine(
    values: Mapping[str, Any], place: Place, says: Mapping[str, Any] | None = None, refused: Iterable[str] = ()
) -> Examination:
    """Return all findings, and with which inventories the secrets were compared.

    Args:
        values: the role's variables in their types.
        place: where the inventory is.
        says: what the app of the live release says of itself, None where it wasn't asked.
        refused: ids of what is wrong with the inputs, which can't be accepted either.
    """
    comparison = inventory_findings(values, place)
    found = [
        *secret_problems(
            _app_variables(values)["flask_app_secrets"],
            values["flask_app_required_secrets"],
            values["flask_app_environment"],
        ),
        *secret_findings(values),
        *setting_findings(values),
        *tls_findings(values),
        *gunicorn_findings(values),
        *source_findings(values),
        *proof_findings(values),
        *comparison.findings,
        *app_findings(values, says or {}),
    ]
    unseen = [UNIT_SETTING, *OF_A_DEPLOY]  # the first is asked of systemd, by each deploy
    unseen += () if says else OF_THE_APP
    unseen += () if values.get("flask_app_source_directory") else OF_THE_SOURCE
    never = {*NEVER_ACCEPTED, *refused}
    accepted = accept(list(dict.fromkeys(found)), values["flask_app_accepted_findings"], never, unseen)
    return Examination(accepted, comparison.compared, comparison.locked)


def for_deploy(values: Mapping[str, Any], place: Place) -> tuple[list[Finding], list[str]]:
    """Return the errors that stop a deploy and that its preflight doesn't know already, and what it warns of."""
    seen = examine(values, place)
    standing = [finding for finding in seen.findings if not finding.accepted]
    problems: list[Finding] = [
        finding.refusal() for finding in standing if finding.severity == ERROR and finding.id not in NEVER_ACCEPTED
    ]
    return problems, [
        finding.warning()
        for finding in standing
        if finding.id == GUNICORN_FILE or (finding.id == UNREADABLE and finding.subject in seen.locked)
    ]


def _app_variables(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: values.get(name) or {} for name in ("flask_app_env", "flask_app_secrets")}


def _outside_development(values: Mapping[str, Any]) -> bool:
    return bool(values["flask_app_environment"] != DEVELOPMENT)


def _severity(values: Mapping[str, Any]) -> str:
    """Of what is dangerous where there are users, and common where there are none."""
    return ERROR if _outside_development(values) else WARNING


def signing_names(values: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([values["flask_app_secret_key_variable"], *_SIGNING]))


def secret_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Placeholders, keys that can be guessed, and values too short to be masked."""
    severity = _severity(values)
    fix = "Put a random value there: openssl rand -hex 32."
    for variable, given in _app_variables(values).items():
        wanted = secret_values.credentials(given, secret=variable == "flask_app_secrets")
        for name, value in wanted.items():
            signs = name in signing_names(values)
            if secret_values.is_placeholder(value):
                what = f"{variable}: {name} is a placeholder that anybody can guess."
                yield Finding("placeholder", severity, name, what, fix)
            elif signs and value and secret_values.is_short(value):
                what = (
                    f"{variable}: {name} has {len(value)} characters; a key that signs needs"
                    f" {secret_values.KEY_CHARACTERS}, or {secret_values.KEY_BITS} random bits."
                )
                yield Finding("short-key", severity, name, what, fix)
            elif signs and value and (why := secret_values.weakness(value)):
                yield Finding("weak-key", severity, name, f"{variable}: {name} is easily guessed: {why}.", fix)
            elif variable == "flask_app_secrets" and secret_values.is_unmaskable(value):
                what = (
                    f"{variable}: {name} has no line of {SHORTEST} characters: it is easily guessed, and no message"
                    " masks it."
                )
                longer = "Make it longer, or move it to flask_app_env if it isn't a secret."
                yield Finding("short-secret", severity, name, what, longer)


def setting_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """DEBUG, servers for development, and variables that choose another environment."""
    environment = values["flask_app_environment"]
    reserved = {values[f"flask_app_{name}_variable"] for name in ("environment", "revision", "release")}
    by_hand = unit_variables(values["flask_app_service_settings"], values["flask_app_gunicorn_settings"])
    for variable, given in {**_app_variables(values), **by_hand}.items():
        for name in sorted(reserved & given.keys()):
            what = f"{variable} sets {name}, which the role itself sets."
            yield Finding("environment-by-hand", ERROR, name, what, "Remove it.")
    if not _outside_development(values):
        return
    if values["flask_app_debug"]:
        what = f"flask_app_debug is true in {environment}: DEBUG shows code and secrets."
        fix = "Remove flask_app_debug from this inventory."
        yield Finding("debug", ERROR, "flask_app_debug", what, fix, variables=("flask_app_environment",))
    yield from _server_findings(values)
    for variable, given in {**_app_variables(values), **by_hand}.items():
        for name, value in given.items():
            yield from _variable_findings(variable, name, value, values)
    for network in values["flask_app_nginx_trusted_proxies"]:
        try:
            everybody = ipaddress.ip_network(network, strict=False).prefixlen == 0
        except ValueError:  # the inputs' own check tells
            continue
        if everybody:
            what = f"flask_app_nginx_trusted_proxies holds {network}: every visitor may claim any address."
            fix = "Name the networks of your proxies."
            yield Finding("wildcard-hosts", ERROR, "flask_app_nginx_trusted_proxies", what, fix)


def _server_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    where = f"in {values['flask_app_environment']}"
    settings = values["flask_app_gunicorn_settings"]
    for name in ("reload", "reload_engine", "reload_extra_files"):
        if settings.get(name) and str(settings[name]).lower() != "false":
            what = f"flask_app_gunicorn_settings has {name} {where}."
            yield Finding("development-server", ERROR, "flask_app_gunicorn_settings", what, "Remove it.")
            break
    if settings.get("raw_env"):
        what = f"flask_app_gunicorn_settings has raw_env {where}."
        fix = "Move its variables to flask_app_env or flask_app_secrets."
        yield Finding("gunicorn-by-hand", ERROR, "flask_app_gunicorn_settings", what, fix)
    texts = {
        "flask_app_service_settings": " \n ".join(map(str, _leaves(values["flask_app_service_settings"]))),
        "flask_app_release_command": values["flask_app_release_command"],
    }
    for variable, text in texts.items():
        if _DEVELOPMENT_SERVER.search(text):
            what = f"{variable} starts a server for development {where}."
            yield Finding("development-server", ERROR, variable, what, "Leave it out: Gunicorn is the server.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _variable_findings(variable: str, name: str, value: Any, values: Mapping[str, Any]) -> Iterator[Finding]:
    environment, text = values["flask_app_environment"], str(value).strip()
    own = values["flask_app_environment_variable"]
    if name != own and name in _SELECTORS and _chooses(text, values["flask_app_environments"]) not in ("", environment):
        what = f"{variable} sets {name} to the configuration of another environment than {environment}."
        fix = f"Remove it; let the app choose by {own}, or set flask_app_environment_variable."
        yield Finding("other-environment", ERROR, name, what, fix)
    if name == "FLASK_ENV":
        what = f"{variable} sets FLASK_ENV in {environment}: Flask has ignored it since 2.3, before it switched DEBUG."
        yield Finding("flask-env", ERROR, name, what, f"Remove it; the app gets its environment as {own}.")
    if name in _DEBUG and text.lower() not in _DEBUG[name]:
        why = "TESTING lets errors and checks through" if "TESTING" in name else "DEBUG shows code and secrets"
        yield Finding("flask-debug", ERROR, name, f"{variable} sets {name} in {environment}: {why}.", "Remove it.")
    if name == "GUNICORN_CMD_ARGS" and text:
        what = f"{variable} sets GUNICORN_CMD_ARGS in {environment}: it outranks the settings of the role."
        fix = "Move what it sets to flask_app_gunicorn_settings."
        kind = "development-server" if "--reload" in text else "gunicorn-by-hand"
        yield Finding(kind, ERROR, name, what, fix)
    if _HOST_LISTS.search(name) and "*" in _listed(value):
        what = f"{variable}: {name} allows every host name, so anybody chooses what the app's links lead to."
        yield Finding("wildcard-hosts", ERROR, name, what, "Name the hosts, as in flask_app_server_names.")


def _chooses(text: str, environments: list[str]) -> str:
    """Return the environment that a value such as ``config.DevelopmentConfig`` means, or nothing."""
    last = re.split(r"[.:/]", text)[-1]
    word = re.sub(r"[_-]?(config|configuration|settings)\Z", "", last, flags=re.IGNORECASE).lower()
    short = {"dev": "development", "prod": "production", "stage": "staging"}
    word = short.get(word, word)
    return word if word in environments or word in short.values() else ""


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = re.split(r"[,;\s]+", value)
    return [str(item).strip(" '\"[]()") for item in value] if isinstance(value, list) else [str(value)]


def tls_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Production in plain HTTP, or with a certificate that no browser trusts."""
    mode = values["flask_app_tls"]
    if values["flask_app_environment"] != "production":
        return
    if mode == "none" and not values["flask_app_nginx_trusted_proxies"]:
        what = "flask_app_tls is none in production, and no proxy in front is trusted: passwords travel in the clear."
        fix = "Set flask_app_tls to acme or provided, or name the proxies in flask_app_nginx_trusted_proxies."
        yield Finding("no-tls", WARNING, "flask_app_tls", what, fix)
    if mode == "self_signed":
        what = "flask_app_tls is self_signed in production: browsers warn of it."
        yield Finding("self-signed", WARNING, "flask_app_tls", what, "Set it to acme or provided.")


def source_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """What the source shows, where it is a directory on the controller."""
    directory = values.get("flask_app_source_directory")
    if not directory:
        return
    try:
        top = directory_below(Path(directory), values["flask_app_source_subdirectory"])
        names = list_files(top, values["flask_app_source_include"])
    except GreenlightError:  # the inputs' own check tells
        return
    if gunicorn_file.FILE in names:
        yield from gunicorn_file_findings(values, gunicorn_file.names_in(top))
    yield from environment_file_findings(values, dotenv.found(top, names))
    if any(name.startswith("instance/") for name in names):
        what = "the source brings a folder instance, so Flask's instance folder is read-only."
        fix = "Let git ignore it (instance/ in .gitignore) if the app writes there: it then leads to /var/lib/<app>."
        yield Finding("shipped-instance", WARNING, "instance", what, fix)
    seen = source.survey(top, names, signing_names(values))
    yield from _literal_findings(values, seen)
    yield from _startup_findings(
        values, Sources(top, names, values["flask_app_wsgi"], values["flask_app_gunicorn_settings"])
    )
    if not _outside_development(values):
        return
    # A class for production that says True has the last word over a base class.
    good = {spot.setting for spot in seen.flags if spot.value}
    for spot in seen.flags:
        if not spot.value and spot.setting not in good:
            what = f"the source sets {spot.setting} to False ({spot.path}:{spot.line})."
            fix = "Set it to True outside development."
            yield Finding("insecure-cookie", WARNING, spot.path, what, fix)
    lock = posixpath.normpath(values["flask_app_requirements"])
    if lock in names:
        for package in source.debug_packages(top, lock, chosen(values)):
            what = f"{values['flask_app_requirements']} installs {package} in {values['flask_app_environment']}."
            fix = "Move it to the requirements of developers, and lock again."
            yield Finding(DEBUG_TOOLBAR, ERROR, package, what, fix)


def gunicorn_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """What Gunicorn ignores, settings and the path of the app: the locked one, where the lock is here."""
    version = ""
    with suppress(GreenlightError):  # the inputs' own check tells
        if values.get("flask_app_source_directory"):
            top = directory_below(Path(values["flask_app_source_directory"]), values["flask_app_source_subdirectory"])
            version = source.versions(top, values["flask_app_requirements"]).get("gunicorn", "")
    if values["flask_app_url_prefix"] and not gunicorn.takes_prefix(version):
        what = f"flask_app_url_prefix is set, and the locked Gunicorn {version} would ignore it."
        yield Finding(GUNICORN_VERSION, ERROR, "gunicorn", what, "Lock Gunicorn 23.0 or later.")
    for name in values["flask_app_gunicorn_settings"]:
        if gunicorn.unknown(name, version):
            near = gunicorn.meant(name)
            what = f"flask_app_gunicorn_settings has {name}, which Gunicorn {version} doesn't know and would ignore."
            fix = f"Did you mean {near}?" if near and near != name else "Remove it, or lock a Gunicorn that knows it."
            accept = f"Where yours does, put gunicorn-setting:{name} into flask_app_accepted_findings."
            yield Finding("gunicorn-setting", ERROR, name, what.replace("  ", " "), f"{fix} {accept}")


def gunicorn_file_findings(values: Mapping[str, Any], names: Iterable[str]) -> Iterator[Finding]:
    """Settings in the source's own file that give way to the role's; ``names`` are those that it sets."""
    both = gunicorn.giving_way(names, values["flask_app_gunicorn_settings"], values["flask_app_url_prefix"])
    if both:
        what = f"{gunicorn_file.FILE} in the source sets {', '.join(both)}: the role's own settings win."
        fix = "Use the role's variables for these; hooks and other settings of that file count."
        yield Finding(GUNICORN_FILE, WARNING, gunicorn_file.FILE, what, fix)


def _startup_findings(values: Mapping[str, Any], sources: Sources) -> Iterator[Finding]:
    """What Gunicorn would meet when it imports the app, and what the app would meet behind Nginx."""
    wsgi, by_hand = values["flask_app_wsgi"], f"flask --app {shlex.quote(values['flask_app_wsgi'])} run --debug"
    missing, others = sources.missing()
    if missing:
        choice = f", as in flask_app_wsgi: {_yaml(others[0])}" if others else ", as <module>:<name>"
        fix = f"Set flask_app_wsgi to the app's module and name{choice}."
        yield Finding("wsgi-app", ERROR, "flask_app_wsgi", f"flask_app_wsgi is {wsgi}, and {missing}.", fix)
    for server in sources.servers():
        where = f"{server.path}:{server.line}"
        if server.at_import:
            what = f"the source starts a server of its own when it is imported ({where}): Gunicorn never gets to serve."
            fix = f'Remove that, or put it under if __name__ == "__main__". At home, start it with: {by_hand}'
            yield Finding("server-at-import", ERROR, server.path, what, fix)
        elif server.debug and _outside_development(values):
            what = f"the source starts a server with debug=True where the file is run by hand ({where})."
            fix = f"Remove debug=True. At home, start it with: {by_hand}"
            yield Finding("debug-server", WARNING, server.path, what, fix)
    spots = sources.client_addresses()
    for path in dict.fromkeys(spot.path for spot in spots):
        here = [spot for spot in spots if spot.path == path]
        where = f"{' and '.join(dict.fromkeys(spot.setting for spot in here))} ({path}:{here[0].line})"
        what = (
            f"the source reads {where}, and has no ProxyFix: behind Nginx, no client has an address of its own there."
        )
        fix = (
            "Add app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1), of werkzeug.middleware.proxy_fix."
        )
        yield Finding("client-address", WARNING, path, what, fix)


def _yaml(text: str) -> str:
    return json.dumps(text) if "(" in text else text


def _literal_findings(values: Mapping[str, Any], seen: source.Survey) -> Iterator[Finding]:
    """Keys, passwords and tokens in the source: a warning where the process proves, or must have, the given one."""
    kinds = (
        ("fallback-key", seen.keys, "who reads the code can sign cookies"),
        ("literal-secret", seen.credentials, "who reads the code knows it"),
    )
    for kind, spots, why in kinds:
        places: dict[tuple[str, str], list[Spot]] = {}
        for spot in spots:
            severity = WARNING if _is_given(values, spot) or _is_proved(values, spot) else _severity(values)
            places.setdefault((spot.path, severity), []).append(spot)
        for (path, severity), here in places.items():
            where = ", ".join(f"{path}:{line}" for line in sorted({spot.line for spot in here}))
            ordered = sorted(here, key=lambda spot: (spot.line, spot.setting))
            settings = " and ".join(dict.fromkeys(spot.setting for spot in ordered))
            what = f"the source has a literal {settings} ({where}): {why}."
            name = next((spot.setting for spot in ordered if spot.setting.isupper()), "SECRET_KEY")
            fix = f'Read it without a fallback, as in os.environ["{name}"], and give it in flask_app_secrets.'
            yield Finding(kind, severity, path, what, fix)


def _is_given(values: Mapping[str, Any], spot: Spot) -> bool:
    """Say whether the process has the variable that a literal is a fallback for."""
    variables = _app_variables(values)
    if values["flask_app_secrets_as"] == "credentials":  # of these, it only has the path of a file
        variables.pop("flask_app_secrets")
    return any(given.get(spot.asked) not in (None, "") for given in variables.values())


def _is_proved(values: Mapping[str, Any], spot: Spot) -> bool:
    """Say whether the workers compare what they use with what they were given: the key, and the database."""
    given = {name: str(value) for variables in _app_variables(values).values() for name, value in variables.items()}
    accepted = {entry.partition(":")[0] for entry in values["flask_app_accepted_findings"]}
    is_key = spot.setting in ("SECRET_KEY", "secret_key", values["flask_app_secret_key_variable"])
    key = is_key and OTHER_KEY not in accepted and values["flask_app_secret_key_variable"] in given
    database = spot.database and OTHER_DATABASE not in accepted and any(map(is_database, given.values()))
    return bool(values["flask_app_inspect"] and (key or database))


def environment_file_findings(
    values: Mapping[str, Any], files: Mapping[str, Mapping[str, dotenv.Value]]
) -> Iterator[Finding]:
    """Files such as ``.env`` in the source, by path, with what may be said of their variables."""
    selectors = (values["flask_app_environment_variable"], "FLASK_ENV", *_SELECTORS)
    yield from environment_files.findings(files, _severity(values), selectors, tuple(_DEBUG))


def proof_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Releases that would not have to say which environment they run in."""
    told = values["flask_app_health_fields"].get("environment")
    asked = values["flask_app_inspect"] and values["flask_app_inspect_environment_keys"]
    if _outside_development(values) and not (told or asked):
        what = "no release has to prove its environment: neither the health answer nor the app itself is asked for it."
        fix = "Give flask_app_health_fields an environment, or set flask_app_inspect: true with the config's key."
        yield Finding(UNPROVED_ENVIRONMENT, ERROR, "flask_app_health_fields", what, fix)


def app_findings(values: Mapping[str, Any], says: Mapping[str, Any]) -> list[Finding]:
    """What an app said of itself (:class:`~.inspection.Seen`), as far as its contract lets it pass.

    A site without encryption needs cookies that work without it; in production it is encrypted somewhere, or should be.
    """
    if not says or not _outside_development(values):
        return []
    found = []
    encrypted = values["flask_app_tls"] != "none" or values["flask_app_nginx_trusted_proxies"]
    if encrypted or values["flask_app_environment"] == "production":
        for name, good in (
            ("SESSION_COOKIE_SECURE", says["session_cookie_secure"]),
            ("REMEMBER_COOKIE_SECURE", says["remember_cookie_secure"]),
        ):
            if not good:
                what = f"the app runs with {name} off: browsers send the cookie over plain HTTP, too."
                fix = f"Set {name} to True outside development."
                found.append(Finding("insecure-cookie", WARNING, name, what, fix))
        if says["preferred_url_scheme"] != "https":
            name = "PREFERRED_URL_SCHEME"
            what = f"the app runs with {name} {says['preferred_url_scheme']}: links made outside requests lead to HTTP."
            fix = f"Set {name} to https outside development."
            found.append(Finding("insecure-scheme", WARNING, name, what, fix))
    for name in says["debuggers"]:
        package = name.replace("_", "-")
        what = f"the app has imported {package} in {values['flask_app_environment']}."
        found.append(Finding(DEBUG_TOOLBAR, ERROR, package, what, "Import it in development only."))
    return found


@dataclass
class Comparison:
    """What the inventories told.

    Args:
        findings: what is wrong.
        compared: the inventories whose secrets were compared.
        locked: those that weren't, or not all of it, because their vault can't be decrypted here.
    """

    findings: list[Finding] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)


def inventory_findings(values: Mapping[str, Any], place: Place) -> Comparison:
    """Secrets in plain text, vaults of other environments, and what two environments have in common."""
    done = Comparison()
    if not place.inventory or not place.inventory.is_dir():
        return done
    mine = inventories.Inventory(place.inventory, place.file, place.playbook)
    others = inventories.beside(mine, place.groups)
    done.findings += _plain_text_findings(place, mine, others)
    key = fingerprints.new_key()
    given = _app_variables(values)
    prints = fingerprints.fingerprints(given["flask_app_env"], given["flask_app_secrets"], key)
    strangers = []
    for other in others:
        views = [
            view
            for view in other.views(place.decrypt, values["flask_app_name"], place.groups)
            # Another inventory of the same environment may share everything.
            if (view.text("flask_app_environment") or other.name) != values["flask_app_environment"]
        ]
        if views:
            strangers.append(other)
            _compare(done, views, _shown(other.path, place), prints, key)
    done.findings += _vault_findings(place, mine, strangers)
    return done


def _plain_text_findings(
    place: Place, mine: inventories.Inventory, others: list[inventories.Inventory]
) -> Iterator[Finding]:
    own = inventories.blocks(mine)
    # A directory of playbooks may hold inventories of all environments.
    shared = inventories.blocks(inventories.Inventory(place.playbook), lists_hosts=False) if place.playbook else []
    seen: set[Path] = set()
    groups = [(ERROR, inventories.plain_text([*own, *shared], []))]
    groups += [(WARNING, inventories.plain_text(inventories.blocks(other), shared)) for other in others]
    for severity, plain in ((severity, plain) for severity, found in groups for plain in found):
        if plain.path.resolve() in seen:
            continue
        seen.add(plain.path.resolve())
        shown = _shown(plain.path, place)
        if plain.vault:
            what = f"{shown} has {', '.join(plain.vault)} in plain text."
            fix = f"Encrypt it (ansible-vault encrypt {shown}), and change the values if it was ever committed."
            if plain.lists_hosts:
                fix = (
                    "Move that into group_vars/flask_app/vault.yml beside it (ansible-vault edit), and change the"
                    " values if it was ever committed."
                )
            yield Finding("plain-text-vault", severity, shown, what, fix)
        parts = [f"{', '.join(plain.secrets)} of flask_app_secrets"] if plain.secrets else []
        parts += [f"{name}, which is {secret} in flask_app_secrets" for name, secret in sorted(plain.variables.items())]
        if parts:
            what = f"{shown} has {', and '.join(parts)}{',' if plain.variables else ''} in plain text."
            fix = 'Put the value into vault.yml beside it, and "{{ vault_… }}" here.'
            yield Finding("plain-text-secret", WARNING, shown, what, fix)


def _vault_findings(
    place: Place, mine: inventories.Inventory, strangers: list[inventories.Inventory]
) -> Iterator[Finding]:
    """Vaults whose id is the name of another environment's inventory: copied from there, or encrypted by mistake."""
    foreign = {other.name for other in strangers} - {mine.name}
    theirs = {path for other in strangers for path in (*other.variable_files(), *other.files())}
    for path, vault_id, whole in inventories.vault_ids(mine):
        if vault_id not in foreign or path in theirs:
            continue
        shown = _shown(path, place)
        part = "is" if whole else "has a value that is"
        what = f"{shown} {part} encrypted for {vault_id}: who has its vault password can read this one's secrets."
        anew = (
            f"ansible-vault rekey --new-vault-id {mine.name}@script/vault-password-client {shown}"
            if whole
            else f"ansible-vault encrypt_string --encrypt-vault-id {mine.name}"
        )
        fix = (
            f"Make secrets of its own: remove {'it' if whole else 'that value'}, then"
            f" script/secrets {mine.name}. If the values are its own already: {anew}"
        )
        yield Finding("foreign-vault", ERROR, shown, what, fix)


def _shown(path: Path, place: Place) -> str:
    bases = []
    if place.inventory:
        bases.append(place.inventory if place.file else place.inventory.parent.parent)
    bases += [place.playbook.parent] if place.playbook else []
    return next((str(path.relative_to(base)) for base in bases if path.is_relative_to(base)), str(path))


def _compare(
    done: Comparison, views: list[inventories.View], shown: str, mine: fingerprints.Fingerprints, key: bytes
) -> None:
    """Compare with the hosts of another environment that have the app."""
    found, read, reasons = [], False, []
    for view in views:
        env, why = view.variables.mapping("flask_app_env")
        secret, more = view.variables.mapping("flask_app_secrets")
        read = read or bool(secret)
        reasons += [*why, *more]
        found.append(fingerprints.fingerprints(env, secret, key))
    secrets, databases = fingerprints.in_common(mine, fingerprints.united(found))
    for name, other in secrets:
        same = "" if name == other else f", as {other}"
        what = f"{name} has the same value in {shown}{same}: who has the one has the other."
        fix = "Give each environment a value of its own."
        done.findings.append(Finding("shared-secret", ERROR, name, what, fix))
    for name, other in databases:
        same = "" if name == other else f", as {other}"
        what = f"{name} names the same database in {shown}{same}."
        fix = "Give each environment a database of its own."
        done.findings.append(Finding("shared-database", ERROR, name, what, fix))
    if read:
        done.compared.append(shown)
    # What such a file would have defined is undefined for no other reason.
    reasons = [error for view in views for error in view.unreadable] or reasons
    if reasons:
        told = "; ".join(dict.fromkeys(str(error) for error in reasons))
        what = f"{shown} was not compared, or not all of it: {told}."
        fix = " ".join(dict.fromkeys(error.fix for error in reasons))
        done.findings.append(Finding(UNREADABLE, WARNING, shown, what, fix))
    if any(error.locked for error in reasons):
        done.locked.append(shown)
