# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds on the controller: in settings, secrets, source and in the inventories beside this one.

Each function takes plain values and returns findings; a text names variables and files, never a value.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError, Problem
from ansible_collections.greenlight.flask.plugins.module_utils._inspection import DEBUG_TOOLBAR
from ansible_collections.greenlight.flask.plugins.module_utils._source import list_files
from ansible_collections.greenlight.flask.plugins.plugin_utils import _doctor_inventories as inventories
from ansible_collections.greenlight.flask.plugins.plugin_utils import _doctor_secrets as secret_values
from ansible_collections.greenlight.flask.plugins.plugin_utils import _doctor_source as source
from ansible_collections.greenlight.flask.plugins.plugin_utils._findings import (
    ERROR,
    UNREADABLE,
    WARNING,
    Finding,
    accept,
)

DEVELOPMENT = "development"
#: What every deploy refuses by itself, accepted or not.
NEVER_ACCEPTED = ("input", "missing-secret", "debug", "environment-by-hand")
#: What only the app itself can tell.
OF_THE_APP = ("insecure-cookie", "insecure-scheme", DEBUG_TOOLBAR)
#: Keys that sign, beside the one that flask_app_secret_key_variable names.
_SIGNING = ("SECRET_KEY", "JWT_SECRET_KEY", "WTF_CSRF_SECRET_KEY")
#: Variables by which apps choose their configuration.
_SELECTORS = ("FLASK_CONFIG", "APP_CONFIG", "APP_SETTINGS", "APP_ENV", "CONFIG_NAME", "ENVIRONMENT", "ENV", "STAGE")
_HOST_LISTS = re.compile(r"(^|_)(ALLOWED_HOSTS|TRUSTED_HOSTS)\Z")
_DEVELOPMENT_SERVER = re.compile(r"\bflask\b[^;&|\n]*\brun\b|\bpython[\d.]*\s+-m\s+flask\b[^;&|\n]*\brun\b|--reload\b")


@dataclass(frozen=True)
class Place:
    """Where the inventory and the playbook are, and what opens vault files; None where there is no such directory."""

    inventory: Path | None
    playbook: Path | None
    decrypt: inventories.Decrypt


def examine(values: Mapping[str, Any], place: Place, says: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return all findings.

    Args:
        values: the role's variables in their types.
        place: where the inventory is.
        says: what the app of the live release says of itself, None where it wasn't asked.
    """
    found = [
        *required_findings(values),
        *secret_findings(values),
        *setting_findings(values),
        *tls_findings(values),
        *source_findings(values),
        *proof_findings(values),
        *inventory_findings(values, place),
        *app_findings(values, says or {}),
    ]
    unseen = () if says else OF_THE_APP
    return accept(list(dict.fromkeys(found)), values["flask_app_accepted_findings"], NEVER_ACCEPTED, unseen)


def deploy_problems(values: Mapping[str, Any], place: Place) -> list[Problem]:
    """Return the errors that stop a deploy and that its preflight doesn't know already."""
    return [
        finding.as_problem()
        for finding in examine(values, place)
        if finding.severity == ERROR and not finding.accepted and finding.id not in NEVER_ACCEPTED
    ]


def _app_variables(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: values.get(name) or {} for name in ("flask_app_env", "flask_app_secrets")}


def _outside_development(values: Mapping[str, Any]) -> bool:
    return bool(values["flask_app_environment"] != DEVELOPMENT)


def _severity(values: Mapping[str, Any]) -> str:
    """Of what is dangerous where there are users, and common where there are none."""
    return ERROR if _outside_development(values) else WARNING


def required_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Names that flask_app_required_secrets asks for."""
    given = _app_variables(values)["flask_app_secrets"]
    place = f"inventories/{values['flask_app_environment']}/group_vars/flask_app"
    for name in values["flask_app_required_secrets"]:
        if given.get(name) in (None, ""):
            yield Finding(
                "missing-secret",
                ERROR,
                name,
                f"flask_app_secrets has no {name}, which flask_app_required_secrets asks for.",
                f"Name it in {place}/main.yml and give it a value with: ansible-vault edit {place}/vault.yml",
            )


def signing_names(values: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([values["flask_app_secret_key_variable"], *_SIGNING]))


def secret_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Placeholders, and keys that can be guessed."""
    severity = _severity(values)
    cure = "Put a random value there: openssl rand -hex 32"
    for variable, given in _app_variables(values).items():
        wanted = secret_values.credentials(given, secret=variable == "flask_app_secrets")
        for name, value in wanted.items():
            signs = name in signing_names(values)
            if secret_values.is_placeholder(value):
                what = f"{variable}: {name} is a placeholder that anybody can guess."
                yield Finding("placeholder", severity, name, what, cure)
            elif signs and value and secret_values.is_short(value):
                what = (
                    f"{variable}: {name} has {len(value)} characters; a key that signs needs"
                    f" {secret_values.KEY_CHARACTERS}, or {secret_values.KEY_BITS} random bits."
                )
                yield Finding("short-key", severity, name, what, cure)
            elif signs and value and (why := secret_values.weakness(value)):
                yield Finding("weak-key", severity, name, f"{variable}: {name} is easily guessed: {why}.", cure)


def setting_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """DEBUG, servers for development, and variables that choose another environment."""
    environment = values["flask_app_environment"]
    reserved = {values[f"flask_app_{name}_variable"] for name in ("environment", "revision", "release")}
    for variable, given in _app_variables(values).items():
        for name in sorted(reserved & given.keys()):
            what = f"{variable} sets {name}, which the role itself sets."
            yield Finding("environment-by-hand", ERROR, name, what, "Remove it.")
    if not _outside_development(values):
        return
    if values["flask_app_debug"]:
        what = f"flask_app_debug is true in {environment}: DEBUG shows code and secrets."
        yield Finding("debug", ERROR, "flask_app_debug", what, "Remove flask_app_debug from this inventory.")
    yield from _server_findings(values)
    for variable, given in _app_variables(values).items():
        for name, value in given.items():
            yield from _variable_findings(variable, name, value, values)
    for network in values["flask_app_nginx_trusted_proxies"]:
        try:
            everybody = ipaddress.ip_network(network, strict=False).prefixlen == 0
        except ValueError:  # the inputs' own check tells
            continue
        if everybody:
            what = f"flask_app_nginx_trusted_proxies holds {network}: every visitor may claim any address."
            cure = "Name the networks of your proxies."
            yield Finding("wildcard-hosts", ERROR, "flask_app_nginx_trusted_proxies", what, cure)


def _server_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    where = f"in {values['flask_app_environment']}"
    if values["flask_app_gunicorn_reload"]:
        what = f"flask_app_gunicorn_reload is true {where}."
        yield Finding("development-server", ERROR, "flask_app_gunicorn_reload", what, "Remove it from this inventory.")
    settings = values["flask_app_gunicorn_settings"]
    for name in ("reload", "reload_engine", "reload_extra_files"):
        if settings.get(name) and str(settings[name]).lower() != "false":
            what = f"flask_app_gunicorn_settings has {name} {where}."
            yield Finding("development-server", ERROR, "flask_app_gunicorn_settings", what, "Remove it.")
            break
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
        cure = f"Remove it; let the app choose by {own}, or set flask_app_environment_variable."
        yield Finding("other-environment", ERROR, name, what, cure)
    if name == "FLASK_ENV":
        what = f"{variable} sets FLASK_ENV in {environment}: Flask has ignored it since 2.3, before it switched DEBUG."
        yield Finding("flask-env", ERROR, name, what, f"Remove it; the app gets its environment as {own}.")
    if name == "FLASK_DEBUG" and text.lower() not in ("", "0", "false", "no", "none"):
        what = f"{variable} sets FLASK_DEBUG in {environment}: DEBUG shows code and secrets."
        yield Finding("flask-debug", ERROR, name, what, "Remove it.")
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
        cure = "Set flask_app_tls to acme or provided, or name the proxies in flask_app_nginx_trusted_proxies."
        yield Finding("no-tls", WARNING, "flask_app_tls", what, cure)
    if mode == "self_signed":
        what = "flask_app_tls is self_signed in production: browsers warn of it."
        yield Finding("self-signed", WARNING, "flask_app_tls", what, "Set it to acme or provided.")


def source_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """What the source shows, where it is a directory on the controller."""
    directory = values.get("flask_app_source_directory")
    if not directory:
        return
    top = Path(directory) / values["flask_app_source_subdirectory"]
    try:
        names = list_files(top)
    except GreenlightError:  # the inputs' own check tells
        return
    keys, flags = source.survey(top, names, signing_names(values))
    for path in dict.fromkeys(spot.path for spot in keys):
        spots = sorted({(spot.line, spot.setting) for spot in keys if spot.path == path})
        where = ", ".join(f"{path}:{line}" for line, _ in spots)
        settings = " and ".join(dict.fromkeys(name for _, name in spots))
        what = f"the source has a literal {settings} ({where}): who reads the code can sign cookies."
        cure = 'Read it without a fallback, as in os.environ["SECRET_KEY"].'
        yield Finding("fallback-key", _severity(values), path, what, cure)
    if not _outside_development(values):
        return
    # A class for production that says True has the last word over a base class.
    good = {spot.setting for spot in flags if spot.value}
    for spot in flags:
        if not spot.value and spot.setting not in good:
            what = f"the source sets {spot.setting} to False ({spot.path}:{spot.line})."
            cure = "Set it to True outside development."
            yield Finding("insecure-cookie", WARNING, spot.path, what, cure)
    lock = top / values["flask_app_requirements"]
    if values["flask_app_requirements"] in names:
        for package in source.debug_packages(lock):
            what = f"{values['flask_app_requirements']} installs {package} in {values['flask_app_environment']}."
            cure = "Move it to the requirements of developers, and lock again."
            yield Finding(DEBUG_TOOLBAR, ERROR, package, what, cure)


def proof_findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Releases that would not have to say which environment they run in."""
    told = values["flask_app_health_fields"].get("environment")
    asked = values["flask_app_inspect"] and values["flask_app_inspect_environment_keys"]
    if _outside_development(values) and not (told or asked):
        what = "no release has to prove its environment: neither the health answer nor the app itself is asked for it."
        cure = "Give flask_app_health_fields an environment, or set flask_app_inspect: true with the config's key."
        yield Finding("unproved-environment", ERROR, "flask_app_health_fields", what, cure)


def app_findings(values: Mapping[str, Any], says: Mapping[str, Any]) -> list[Finding]:
    """What an app said of itself (:class:`~._inspection.Seen`), as far as its contract lets it pass.

    A site without encryption needs cookies that work without it; that it has none is a finding of its own.
    """
    if not says or not _outside_development(values):
        return []
    found = []
    if values["flask_app_tls"] != "none" or values["flask_app_nginx_trusted_proxies"]:
        for name, good in (
            ("SESSION_COOKIE_SECURE", says["session_cookie_secure"]),
            ("REMEMBER_COOKIE_SECURE", says["remember_cookie_secure"]),
        ):
            if not good:
                what = f"the app runs with {name} off: browsers send the cookie over plain HTTP, too."
                cure = f"Set {name} to True outside development."
                found.append(Finding("insecure-cookie", WARNING, name, what, cure))
        if says["preferred_url_scheme"] != "https":
            name = "PREFERRED_URL_SCHEME"
            what = f"the app runs with {name} {says['preferred_url_scheme']}: links made outside requests lead to HTTP."
            cure = f"Set {name} to https outside development."
            found.append(Finding("insecure-scheme", WARNING, name, what, cure))
    for name in says["debuggers"]:
        package = name.replace("_", "-")
        what = f"the app has imported {package} in {values['flask_app_environment']}."
        found.append(Finding(DEBUG_TOOLBAR, ERROR, package, what, "Import it in development only."))
    return found


def inventory_findings(values: Mapping[str, Any], place: Place) -> Iterator[Finding]:
    """Secrets in plain text, and what two environments have in common."""
    if not place.inventory or not place.inventory.is_dir():
        return
    others = inventories.beside(place.inventory)
    yield from _plain_text_findings(place, others)
    key = inventories.new_key()
    given = _app_variables(values)
    mine = inventories.fingerprints(given["flask_app_env"], given["flask_app_secrets"], key)
    for directory in others:
        yield from _shared_findings(values, directory, place, mine, key)


def _plain_text_findings(place: Place, others: list[Path]) -> Iterator[Finding]:
    own = [path for path in (place.inventory, place.playbook) if path]
    seen: set[Path] = set()
    for directory in [*own, *others]:
        for path, names, literal in inventories.plain_text(directory):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            shown = _shown(path, place)
            if names:
                what = f"{shown} has {', '.join(names)} in plain text."
                severity = ERROR if directory in own else WARNING
                cure = f"Encrypt it (ansible-vault encrypt {shown}), and change the values if it was ever committed."
                yield Finding("plain-text-vault", severity, shown, what, cure)
            if literal:
                what = f"{shown} has {', '.join(literal)} of flask_app_secrets in plain text."
                cure = 'Put the value into vault.yml beside it, and "{{ vault_… }}" here.'
                yield Finding("plain-text-secret", WARNING, shown, what, cure)


def _shown(path: Path, place: Place) -> str:
    bases = [place.inventory.parent.parent] if place.inventory else []
    bases += [place.playbook.parent] if place.playbook else []
    return next((str(path.relative_to(base)) for base in bases if path.is_relative_to(base)), str(path))


def _shared_findings(
    values: Mapping[str, Any], directory: Path, place: Place, mine: inventories.Fingerprints, key: bytes
) -> Iterator[Finding]:
    shared = place.playbook / "group_vars" if place.playbook else None
    read, unreadable = inventories.Inventory(directory, shared).read(place.decrypt)
    found, reasons = [], list(unreadable)
    environment = directory.name
    for variables in read.values():
        try:
            environment = str(variables.get("flask_app_environment"))
        except inventories.UnreadableError:
            environment = directory.name
        if environment == values["flask_app_environment"]:  # another inventory of the same one
            continue
        parts = [variables.mapping(name) for name in ("flask_app_env", "flask_app_secrets")]
        reasons += [reason for _, why in parts for reason in why]
        found.append(inventories.fingerprints(parts[0][0], parts[1][0], key))
    if not found:
        return
    secret, database = inventories.in_common(mine, inventories.united(found))
    for name, other in secret:
        same = "" if name == other else f", as {other}"
        what = f"{name} has the same value in {_shown(directory, place)}{same}: who has the one has the other."
        yield Finding("shared-secret", ERROR, name, what, "Give each environment a value of its own.")
    for name, other in database:
        same = "" if name == other else f", as {other}"
        what = f"{name} names the same database in {_shown(directory, place)}{same}."
        yield Finding("shared-database", ERROR, name, what, "Give each environment a database of its own.")
    if unreadable:  # what such a file would have defined is undefined for no other reason
        reasons = unreadable
    if reasons:
        shown = _shown(directory, place)
        why = "; ".join(dict.fromkeys(reasons))
        what = f"{shown} was not compared, or not all of it: {why}."
        yield Finding(UNREADABLE, WARNING, shown, what, "Run this where its vault password is.")
