# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the inputs of a deploy, found on the controller before anything is touched.

Each function returns problems; a text names variables and keys, never a secret's value.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME, is_environment_name
from ansible_collections.greenlight.flask.plugins.module_utils._app.names import RESERVED, reserved
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import environment_text
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._build import git
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import (
    AS_LOCKED,
    Choice,
    decoded,
    how_to_lock,
    lock_faults,
    project_faults,
    within_source,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import pattern_is_fit, take
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import (
    RefusedError,
    directory_below,
    read_bytes,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._notification import flaw

PREFIX = "flask_app_"
#: Letters of a name that a message shows.
_SHOWN = 60
_SERVER_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")


def misspelt(names: Iterable[str], known: Collection[str]) -> list[Finding]:
    """A variable that looks like ours and is none of ours would otherwise be ignored in silence."""
    found = []
    for name in sorted(set(names)):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            fix = f"Did you mean {near[0]}?" if near else "Remove it; roles/flask_app/defaults/main.yml lists them all."
            found.append(Finding("unknown-variable", ERROR, name, f"{name} is not a variable of this role.", fix))
    return found


def name_problems(name: str) -> list[Finding]:
    if name in RESERVED or name.startswith("greenlight-"):
        return [reserved(name)]
    if APP_NAME.match(name):
        return []
    rule = "lower-case letters, digits and dashes, a letter first, at most 31 characters"
    what = f"flask_app_name is {name!r}; it names an account, a unit and directories."
    return [Finding("malformed-name", ERROR, "flask_app_name", what, f"Use {rule}.")]


def environment_problems(environment: str, environments: Collection[str], debug: bool) -> list[Finding]:
    found = []
    if environment not in environments:
        near = [name for name in environments if environment and name.startswith(environment.lower())]
        near = near or difflib.get_close_matches(environment, environments, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]}? " if near else ""
        what = f"flask_app_environment is {environment!r}, which is none of {', '.join(environments)}."
        fix = f"{hint}A name of your own goes into flask_app_environments."
        found.append(
            Finding(
                "unknown-environment", ERROR, "flask_app_environment", what, fix, variables=("flask_app_environments",)
            )
        )
    found += [
        Finding(
            "malformed-environment",
            ERROR,
            "flask_app_environments",
            f"flask_app_environments has {name[:_SHOWN]!r}, which a host can't be stamped with.",
            "Use one word of at most 100 characters, such as pre-prod.",
        )
        for name in environments
        if not is_environment_name(name)
    ]
    if debug and environment != "development":
        what = f"flask_app_debug is true, and flask_app_environment is {environment}: DEBUG shows code and secrets."
        fix = "Remove flask_app_debug from this inventory."
        found.append(Finding("debug", ERROR, "flask_app_debug", what, fix, variables=("flask_app_environment",)))
    return found


def secret_problems(secrets: Mapping[str, Any], required: Collection[str], environment: str) -> list[Finding]:
    """Ask once for all that is missing."""
    missing = [name for name in required if secrets.get(name) in (None, "")]
    if not missing:
        return []
    place = f"inventories/{environment}/group_vars/flask_app"
    left = json.dumps([name for name in required if name not in missing])
    what = f"flask_app_secrets has no {', no '.join(missing)}, which flask_app_required_secrets asks for."
    fix = (
        f"Name it in {place}/main.yml and give it a value with: ansible-vault edit {place}/vault.yml. If the app"
        f" needs no such secret, set flask_app_required_secrets: {left} in main.yml."
    )
    return [
        Finding(
            "missing-secret",
            ERROR,
            ", ".join(missing),
            what,
            fix,
            variables=("flask_app_secrets", "flask_app_required_secrets"),
        )
    ]


#: Variables -> the smallest and largest number that makes sense.
NUMBERS = {
    "flask_app_http_port": (1, 65535),
    "flask_app_gunicorn_workers": (0, 1000),
    "flask_app_gunicorn_workers_max": (1, 1000),
    "flask_app_gunicorn_worker_memory_mb": (1, 2**20),
    "flask_app_gunicorn_threads": (1, 10000),
    "flask_app_gunicorn_timeout_seconds": (1, 86400),
    "flask_app_gunicorn_graceful_timeout_seconds": (1, 86400),
    "flask_app_service_tasks_max": (8, 2**22),
    "flask_app_health_status": (100, 599),
    "flask_app_start_seconds": (1, 3600),
    "flask_app_probe_seconds": (1, 300),
    "flask_app_probe_interval_seconds": (0, 300),
    "flask_app_release_command_seconds": (1, 86400),
    "flask_app_lock_seconds": (60, 86400),
    "flask_app_drain_seconds": (0, 3600),
    "flask_app_keep_releases": (1, 1000),
    "flask_app_https_port": (1, 65535),
    "flask_app_nginx_body_size_mb": (0, 2**20),
    "flask_app_nginx_header_size_kb": (4, 1024),
    "flask_app_nginx_rate_limit": (0, 10**6),
    "flask_app_nginx_rate_limit_burst": (0, 10**6),
    "flask_app_nginx_hsts_seconds": (0, 2**31),
}
#: systemd.resource-control(5), MemoryMax=. What systemd can't read it ignores, and the app would have no limit at all.
_MEMORY = re.compile(r"infinity\Z|[1-9][0-9]*(\.[0-9]+)?[KMGT]?\Z|([1-9][0-9]?|100)%\Z")
#: The part before the question mark is a word in Nginx's configuration, which compares it with the decoded address.
_HEALTH_PATH = re.compile(r"/[\w.~!&()*+,=:@/-]*(\?[\w.~!$&'()*+,;=:@/?%-]*)?\Z", re.ASCII)


def value_problems(values: Mapping[str, Any]) -> list[Finding]:
    """Check numbers, sizes and paths that their types let through."""
    found = [
        Finding("out-of-range", ERROR, name, f"{name} is {values[name]}.", f"Use a number from {least} to {most}.")
        for name, (least, most) in NUMBERS.items()
        if values.get(name) is not None and not least <= values[name] <= most
    ]
    memory, path = values.get("flask_app_service_memory_max"), values.get("flask_app_health_path")
    if memory is not None and not _MEMORY.match(memory):
        what = f"flask_app_service_memory_max is {memory!r}, which systemd can't read."
        fix = "Use a size such as 512M or 2G, a share such as 40%, or infinity."
        found.append(Finding("malformed-value", ERROR, "flask_app_service_memory_max", what, fix))
    if path and not _HEALTH_PATH.match(path):
        what = f"flask_app_health_path is {path!r}."
        fix = "Start it with a slash; use letters, digits and the signs of an address, without spaces."
        found.append(Finding("malformed-value", ERROR, "flask_app_health_path", what, fix))
    return found


def unreadable_secrets(reason: str, environment: str) -> Finding:
    """The problem of secrets whose templates can't be resolved, mostly because there is no vault file yet."""
    what = f"flask_app_secrets can't be read: {reason}."
    fix = (
        f"Make fresh secrets with script/secrets {environment}, or add what is missing with:"
        f" ansible-vault edit inventories/{environment}/group_vars/flask_app/vault.yml. If the app needs no such"
        " secret, remove its name from flask_app_secrets and flask_app_required_secrets."
    )
    return Finding("unreadable-variable", ERROR, "flask_app_secrets", what, fix)


def variable_problems(variables: Mapping[str, Mapping[str, Any]], reserved: Collection[str]) -> list[Finding]:
    """Check names and values of the process's environment; ``variables`` maps the role variable to its mapping."""
    found = []
    owners: dict[str, str] = {}
    for owner, values in variables.items():
        for name, value in values.items():
            if name in reserved:
                what = f"{owner} sets {name}, which the role itself sets."
                found.append(Finding("environment-by-hand", ERROR, name, what, "Remove it.", variables=(owner,)))
            elif name in owners:
                what = f"{name} is in {owners[name]} and in {owner}."
                fix = "Keep one of them."
                found.append(Finding("variable-twice", ERROR, owner, what, fix, variables=(owners[name],)))
            owners[name] = owner
            try:
                environment_text(name, value)
            except GreenlightError as error:
                found.append(Finding("unfit-variable", ERROR, owner, f"{owner}: {error}"))
    return found


def unit_variables(service: Mapping[str, Any], gunicorn: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the process's variables that stand in settings of systemd and Gunicorn, by the role variable.

    ``PassEnvironment`` and ``UnsetEnvironment`` give only names; the value is then unknown, and or none.
    """
    found = {}
    for setting in ("Environment", "PassEnvironment", "UnsetEnvironment"):
        for word in _words(service.get(setting)):
            name, _, value = word.partition("=")
            found[name] = {"Environment": value, "PassEnvironment": setting}.get(setting, "")
    raw = gunicorn.get("raw_env") or []
    pairs = [str(pair).partition("=") for pair in (raw if isinstance(raw, (list, tuple)) else [raw])]
    return {
        "flask_app_service_settings": found,
        "flask_app_gunicorn_settings": {name.strip(): value for name, _, value in pairs},
    }


def _words(value: Any) -> list[str]:
    """Split the lines of a setting as systemd does (systemd.syntax(7), quoting)."""
    lines = [str(line) for line in (value if isinstance(value, (list, tuple)) else [value or ""])]
    try:
        return [word for line in lines for word in shlex.split(line)]
    except ValueError:
        return [word.strip("\"'") for line in lines for word in line.split()]


def unit_variable_problems(
    service: Mapping[str, Any], gunicorn: Mapping[str, Any], reserved: Collection[str]
) -> list[Finding]:
    """The role's own variables, set where nobody looks for them."""
    return [
        Finding(
            "environment-by-hand",
            ERROR,
            name,
            f"{owner} sets {name}, which the role itself sets.",
            "Remove it.",
            variables=(owner,),
        )
        for owner, values in unit_variables(service, gunicorn).items()
        for name in values
        if name in reserved
    ]


#: A name or a password in front of the host, or what services call a token.
_URL_USER = re.compile(r"\s*https?://[^/?#]*@|\s*[a-z+]+://[^/?#:]*:[^/?#]*@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"[?&;][^=&;#]*(token|secret|password|passwd|key|auth)[^=&;#]*=", re.IGNORECASE)


def git_url_problems(url: str) -> list[Finding]:
    """An address with a token in it would be shown, logged, and kept on the host; it is never shown here."""
    if not _URL_USER.match(url) and not _URL_TOKEN.search(url):
        if git.url_is_fit(url, local=True):
            return []
        what = "flask_app_source_git_url is not an address that git may be given."
        return [Finding("malformed-value", ERROR, "flask_app_source_git_url", what, f"Use {git.URLS}.")]
    what = "flask_app_source_git_url holds a name, a password or a token."
    fix = (
        "Remove it: name the repository as in git@example.org:shop.git, and in flask_app_source_git_key_file a"
        " deploy key on the host that may read it."
    )
    return [Finding("secret-in-url", ERROR, "flask_app_source_git_url", what, fix)]


@dataclass(frozen=True)
class Shipped:
    """What must be in a source beside the lock.

    Args:
        include: patterns of what is shipped although git ignores it.
        static: directories that Nginx is to serve.
        to_be_made: whether a hook may still make them.
    """

    include: Sequence[str] = ()
    static: Collection[str] = ()
    to_be_made: bool = False


def source_problems(
    directory: str,
    git_url: str,
    subdirectory: str,
    requirements: str,
    choice: Choice = AS_LOCKED,
    *,
    shipped: Shipped = Shipped(),
) -> list[Finding]:
    if bool(directory) == bool(git_url):
        said = "are both set" if directory else "are both empty"
        what = f"flask_app_source_directory and flask_app_source_git_url {said}."
        fix = "Set the one that says where the app's code comes from."
        return [
            Finding(
                "source-choice", ERROR, "flask_app_source_directory", what, fix, variables=("flask_app_source_git_url",)
            )
        ]
    if git_url:
        return [*git_url_problems(git_url), *_include_problems(shipped.include, from_git=True)]
    unfit = _include_problems(shipped.include, from_git=False)
    if unfit:
        return unfit
    try:
        top = directory_below(Path(directory), subdirectory)
        static = [place for place in map(str, shipped.static) if _BELOW.match(place)]
        taken = take(top, shipped.include, static, to_be_made=shipped.to_be_made)
    except RefusedError as error:
        what = f"flask_app_source_directory: {error.what}."
        return [Finding("unfit-source", ERROR, "flask_app_source_directory", what, error.cure)]
    except GreenlightError as error:
        what = f"flask_app_source_directory: {error}."
        fix = "Set it to the directory of the app's code."
        return [Finding("unfit-source", ERROR, "flask_app_source_directory", what, fix)]
    return _lock_problems(top, requirements, [entry.path for entry in taken], choice)


def _include_problems(include: Sequence[str], *, from_git: bool) -> list[Finding]:
    if include and from_git:
        what = "flask_app_source_include is set, and a source from git holds nothing that git ignores."
        fix = "Remove it, or deploy from a directory (flask_app_source_directory)."
        return [Finding("include-from-git", ERROR, "flask_app_source_include", what, fix)]
    unfit = [pattern for pattern in include if not pattern_is_fit(pattern)]
    if not unfit:
        return []
    what = f"flask_app_source_include has {', '.join(map(repr, unfit))}, which is not below the source."
    fix = "Name it as seen from the source's top, as in guestbook/static/dist."
    return [Finding("malformed-value", ERROR, "flask_app_source_include", what, fix)]


def chosen(values: Mapping[str, Any]) -> Choice:
    """What the role's variables choose of the lock."""
    return Choice(
        extras=tuple(values["flask_app_uv_extras"]),
        groups=tuple(values["flask_app_uv_groups"]),
        package=values["flask_app_uv_package"],
        project=bool(values["flask_app_install_project"]),
        installer=values["flask_app_installer"],
    )


def _lock_problems(top: Path, requirements: str, files: Collection[str], choice: Choice) -> list[Finding]:
    try:
        name = within_source(requirements)
        if name not in files:
            why = "is there, but .gitignore keeps it home" if (top / name).exists() else "is not there"
            what = f"flask_app_requirements is {name}; in {top} it {why}."
            fix = f"Make it with: {how_to_lock(name)}"
            return [Finding("missing-lock", ERROR, "flask_app_requirements", what, fix)]
        text = decoded(read_bytes(top, name) or b"", name)
    except GreenlightError as error:
        return [Finding("unreadable-lock", ERROR, "flask_app_requirements", str(error))]
    fault = lock_faults(text, name, choice) or project_faults(text, name, choice, top)
    return [Finding("unfit-lock", ERROR, "flask_app_requirements", fault)] if fault else []


#: A path relative to the source, without a step up.
_BELOW = re.compile(r"(?![-/])(?!(.*/)?\.\.(/|\Z))[^\x00-\x1f\x7f]*\Z")
#: What becomes a word of a command, or a path that a command gets: variable -> what it must look like, and the fix.
_WORDS = {
    "flask_app_source_git_key_file": (re.compile(r"/[^\x00-\x1f\x7f]*\Z"), "Use a whole path on the host."),
    "flask_app_source_subdirectory": (_BELOW, "Name a directory as seen from the top of the source."),
    "flask_app_requirements": (_BELOW, "Name the lock as seen from the source's top."),
    "flask_app_python": (re.compile(r"[/\w][^\x00-\x20\x7f]*\Z"), "Use a whole path on the host."),
    "flask_app_packages": (re.compile(r"[a-z0-9][a-z0-9+.:=~*-]*\Z"), "Use names of Debian packages."),
}


def word_problems(values: Mapping[str, Any]) -> list[Finding]:
    """A word of a command that git, pip or another program would take for an option, or that leads elsewhere."""
    found = []
    if not git.ref_is_fit(values["flask_app_source_git_ref"]):
        what = f"flask_app_source_git_ref is {values['flask_app_source_git_ref']!r}."
        fix = "Name a branch, a tag or a commit."
        found.append(Finding("malformed-value", ERROR, "flask_app_source_git_ref", what, fix))
    for name, (pattern, fix) in _WORDS.items():
        given = values[name] if isinstance(values[name], list) else [values[name] or ""]
        found += [
            Finding("malformed-value", ERROR, name, f"{name}: {word!r} can't be used.", fix)
            for word in given
            if word and not pattern.match(word)
        ]
    return found


def server_name_problems(names: Iterable[str]) -> list[Finding]:
    listed = list(names)
    if not listed:
        what = "flask_app_server_names is empty."
        return [Finding("missing-value", ERROR, "flask_app_server_names", what, "Name the site as its visitors do.")]
    wrong = [name for name in listed if not _SERVER_NAME.match(str(name))]
    if wrong:
        what = f"flask_app_server_names holds {', '.join(map(repr, wrong))}."
        fix = "Use plain host names in lower case."
        return [Finding("malformed-value", ERROR, "flask_app_server_names", what, fix)]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    what = f"flask_app_server_names holds {', '.join(map(repr, twice))} twice."
    return [Finding("named-twice", ERROR, "flask_app_server_names", what, "Keep one.")] if twice else []


def hook_problems(hooks: Mapping[str, Collection[str]]) -> list[Finding]:
    """Check that the task files are there; ``hooks`` maps the role variable to its paths."""
    return [
        Finding(
            "missing-file",
            ERROR,
            name,
            f"{name} names {path}, and there is no such file.",
            'Use a whole path, such as "{{ inventory_dir }}/…".',
        )
        for name, paths in hooks.items()
        for path in paths
        if not (Path(path).is_absolute() and Path(path).is_file())
    ]


def notification_problems(url: str) -> list[Finding]:
    """The URL itself is a secret and never shown."""
    fault = flaw(url) if url else ""
    what = f"flask_app_notify_url: {fault}."
    fix = "Use it as the service that made it shows it."
    return [Finding("malformed-value", ERROR, "flask_app_notify_url", what, fix)] if fault else []


def proof_problems(successes: int, probes: int) -> list[Finding]:
    if 1 <= successes <= probes:
        return []
    what = f"flask_app_probe_successes is {successes}, and flask_app_probes is {probes}: that proves nothing."
    fix = "Ask for at least one success, and for no more of them than there are probes."
    return [Finding("out-of-range", ERROR, "flask_app_probe_successes", what, fix, variables=("flask_app_probes",))]
