# SPDX-License-Identifier: GPL-3.0-or-later
"""What may not be in flask_app_service_settings and flask_app_gunicorn_settings, and in any value that is one line.

A value that isn't checked here becomes a line of a file that systemd, Gunicorn or Nginx reads.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.unit_settings import UNIT_SETTING
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import environment_text
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, entries_for
from ansible_collections.greenlight.flask.plugins.module_utils._build.gunicorn_file import FILE
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.gunicorn import HOOKS, OF_A_PREFIX

#: Texts that may have several lines: each is a file, or part of one, by itself.
SEVERAL_LINES = (
    "flask_app_maintenance_page",
    "flask_app_nginx_after",
    "flask_app_nginx_before",
    "flask_app_nginx_inside",
    "flask_app_release_command",
    "flask_app_tls_certificate",
    "flask_app_tls_key",
)
#: Settings of the unit that the role's promise rests on, why, and what to use instead.
_OF_THE_ROLE = {
    r"Exec(Start|Stop|Reload|Condition)\w*": (
        "the unit runs the release's Gunicorn, and nothing beside it",
        "Use flask_app_release_command for what must run before a release takes traffic, and hooks of Gunicorn in"
        f" {FILE} of the source for the rest.",
    ),
    r"User|Group|DynamicUser": ("the app runs as the account that flask_app_name names", "Remove it."),
    r"Type|ExitType|NotifyAccess|PIDFile|BusName|GuessMainPID|RemainAfterExit|PermissionsStartOnly": (
        "the role must know when the process is there",
        "Remove it.",
    ),
    r"Sockets|NonBlocking|OpenFile|StandardInput\w*|USBFunction\w+": (
        "the process gets one socket, which the release's socket unit holds",
        "Remove it.",
    ),
    r"EnvironmentFile": (
        "the environment belongs to the release",
        "Move its variables to flask_app_env or flask_app_secrets.",
    ),
    r"WorkingDirectory|Root(Directory|Image|Hash|Verity|MStack)\w*": (
        "the process runs in the release's source",
        "Use flask_app_source_subdirectory for a part of it, and BindPaths for what must be elsewhere.",
    ),
    r"RuntimeDirectory|RuntimeDirectoryPreserve": (
        "systemd removes it when a unit ends, under the feet of the release that still uses it",
        "Use the directory that each release has: its path is in the variable RUNTIME_DIRECTORY.",
    ),
    r"StateDirectory|ConfigurationDirectory": (
        "the app's directories are the role's",
        "Use /var/lib/<flask_app_name>, where the app may make whatever it needs.",
    ),
    r"KillMode|\w*KillSignal|SendSIG\w+|Timeout(Stop|Abort)?Sec|TimeoutStopFailureMode": (
        "a release that retires finishes the requests that it has accepted",
        "Use flask_app_gunicorn_graceful_timeout_seconds.",
    ),
    r"Restart|Restart(Prevent|Force)ExitStatus|StartLimit\w+|(Failure|Success)Action|RebootArgument": (
        "a live release is started again whenever it ends",
        "Remove it.",
    ),
    r"RuntimeMaxSec|RuntimeRandomizedExtraSec|WatchdogS\w+": (
        "systemd would end a live release that is well",
        "Use max_requests in flask_app_gunicorn_settings to renew the workers one by one.",
    ),
}
#: Directories that systemd makes and gives to the app's account, whoever had them before.
_GIVEN_AWAY = ("CacheDirectory", "LogsDirectory")
#: The same for Gunicorn.
_OF_GUNICORN = {
    "bind": "Remove it: systemd holds the socket.",
    "chdir": "Use flask_app_source_subdirectory.",
    "check_config": "Remove it.",
    "config": f"Put it into {FILE} of the source.",
    "daemon": "Remove it.",
    "group": "Remove it.",
    "initgroups": "Remove it.",
    "pidfile": "Remove it.",
    "print_config": "Remove it.",
    "user": "Remove it.",
    "wsgi_app": "Use flask_app_wsgi.",
}
#: Variables that name variables of the process.
_NAMING = ("environment", "revision", "release", "secret_key")


def setting_problems(values: Mapping[str, Any]) -> list[Finding]:
    """Return everything; ``values`` are the role's variables in their types."""
    return [
        *_line_problems(values),
        *_name_problems(values),
        *service_problems(values["flask_app_service_settings"], values["flask_app_name"]),
        *_gunicorn_problems(values["flask_app_gunicorn_settings"], values["flask_app_url_prefix"]),
    ]


def several_lines(text: str) -> bool:
    """Say whether a text has a line break, or another character that ends a line or a text for some reader."""
    return any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text if each != "\t")


def _line_problems(values: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in values.items():
        if name in SEVERAL_LINES or name.startswith("flask_app_secret"):  # its own check names each secret
            continue
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and several_lines(text) for text in texts):
            what = f"{name} holds a line break or another control character."
            yield Finding("control-character", ERROR, name, what, "Write it on one line.")


def _name_problems(values: Mapping[str, Any]) -> Iterator[Finding]:
    for name in (f"flask_app_{part}_variable" for part in _NAMING):
        try:
            environment_text(values[name], "")
        except GreenlightError as error:
            yield Finding("unfit-variable", ERROR, name, f"{name}: {error}")
    try:
        environment_text("flask_app_revision", values.get("flask_app_revision") or "")
    except GreenlightError as error:
        yield Finding("unfit-variable", ERROR, "flask_app_revision", str(error))


def unit_lines(value: Any) -> list[Any]:
    """Return the values that a setting has in the unit, one for each line."""
    return list(value) if isinstance(value, list) else [value]


def service_problems(settings: Mapping[str, Any], app: str) -> list[Finding]:
    """Return what is wrong with flask_app_service_settings, without asking systemd."""
    return [problem for name, value in settings.items() for problem in _unit_problems(name, value, app)]


def _unit_problems(name: str, value: Any, app: str) -> Iterator[Finding]:
    variable = "flask_app_service_settings"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        what = f"{variable} has the name {name!r}."
        yield Finding("malformed-value", ERROR, variable, what, "Use one of systemd.exec(5) or systemd.service(5).")
        return
    for pattern, (why, fix) in _OF_THE_ROLE.items():
        if re.fullmatch(pattern, name):
            yield Finding("setting-of-the-role", ERROR, variable, f"{variable} has {name}, but {why}.", fix)
            return
    lines = unit_lines(value)
    if not all(isinstance(line, (str, int, float)) for line in lines):
        what = f"{variable}: {name} has a value that isn't a text, a number or a list of these."
        yield Finding("wrong-type", ERROR, variable, what, "Correct it.")
        return
    texts = list(map(str, lines))
    if any(several_lines(text) or text.endswith("\\") for text in texts):
        what = (
            f"{variable}: the value of {name} holds a control character such as a line break, or ends in a backslash."
        )
        fix = "Write it on one line. A list gives several lines, each with the name in front."
        yield Finding("control-character", ERROR, variable, what, fix)
    elif name in _GIVEN_AWAY:
        own = re.compile(rf"{re.escape(app)}(/[\w.-]+)*")
        foreign = [word for text in texts for word in text.split() if not own.fullmatch(word) or ".." in word]
        if foreign:
            what = f"{variable}: {name} names {', '.join(foreign)}, and systemd gives that to the app's account."
            fix = f"Name {app}, or a directory below it."
            yield Finding("foreign-directory", ERROR, variable, what, fix, variables=("flask_app_name",))


def for_the_host(values: Mapping[str, Any], accepted: Collection[str]) -> dict[str, list[str]]:
    """Return the lines of flask_app_service_settings that systemd is asked of; none if they may not be written."""
    settings = values["flask_app_service_settings"]
    if service_problems(settings, values["flask_app_name"]):
        return {}
    return {
        name: list(map(str, unit_lines(value)))
        for name, value in settings.items()
        if not set(entries_for(UNIT_SETTING, name)) & set(accepted)
    }


def _gunicorn_problems(settings: Mapping[str, Any], prefix: str) -> Iterator[Finding]:
    variable = "flask_app_gunicorn_settings"
    for name, value in settings.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            what = f"{variable} has the name {name!r}."
            yield Finding("malformed-value", ERROR, variable, what, "Use the name of a setting of Gunicorn.")
        elif name in _OF_GUNICORN:
            what = f"{variable} has {name}, on which the role's own unit rests."
            yield Finding("setting-of-the-role", ERROR, variable, what, _OF_GUNICORN[name])
        elif name in OF_A_PREFIX and prefix:
            what = f"{variable} has {name}, by which Gunicorn learns of flask_app_url_prefix."
            fix = "Remove it: the role sets it."
            yield Finding("setting-of-the-role", ERROR, variable, what, fix, variables=("flask_app_url_prefix",))
        elif name in HOOKS:
            what = f"{variable} has {name}, which is a function."
            yield Finding("gunicorn-hook", ERROR, variable, what, f"Put it into the source's {FILE}.")
        elif not _is_data(value):
            what = f"{variable}: {name} has a value that can't be written as text, number, yes or no, list or mapping."
            yield Finding("wrong-type", ERROR, variable, what, "Write a date or a large number in quotes.")


def _is_data(value: Any) -> bool:
    """Say whether Python reads what we write of a value as the same value."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_data(key) and _is_data(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_data, value))
    if isinstance(value, str):
        return not any(unicodedata.category(each) == "Cs" for each in value)
    return value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
