# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the app's unit in flask_app_service_settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.unit_settings import UNIT_SETTING as _UNIT_SETTING
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import entries_for
from ansible_collections.greenlight.flask.plugins.module_utils._build.gunicorn_file import FILE

from ..case import Case
from ..rule import HOST, Example, Found, Rule, finds
from .reading import WRONG_TYPE
from .values import CONTROL_CHARACTER, MALFORMED_VALUE, several_lines

_VARIABLE = "flask_app_service_settings"

SETTING_OF_THE_ROLE = Rule(
    "setting-of-the-role",
    "A setting of systemd or Gunicorn is one that the role depends on, so it can't be changed.",
    bad=Example({_VARIABLE: {"User": "root"}}),
    good=Example({_VARIABLE: {"LimitNOFILE": 4096}}),
)
FOREIGN_DIRECTORY = Rule(
    "foreign-directory",
    "CacheDirectory or LogsDirectory names another owner's directory, and systemd would give it to the app.",
    bad=Example({_VARIABLE: {"CacheDirectory": "nginx"}}),
    good=Example({_VARIABLE: {"CacheDirectory": "shop"}}),
)
UNIT_SETTING = Rule(
    _UNIT_SETTING,
    "systemd on the host would ignore a name or a value in flask_app_service_settings. Only a deploy finds this.",
    acceptable=True,
    needs=(HOST,),
)

#: Settings of the unit that the role depends on, why, and what to use instead.
_OF_THE_ROLE = {
    r"Exec(Start|Stop|Reload|Condition)\w*": (
        "the unit runs only the release's Gunicorn",
        "Use flask_app_release_command for what must run before a release takes traffic. For the rest, use Gunicorn's"
        f" hooks in the source's {FILE}.",
    ),
    r"User|Group|DynamicUser": ("the app runs as the account that flask_app_name names", "Remove it."),
    r"Type|ExitType|NotifyAccess|PIDFile|BusName|GuessMainPID|RemainAfterExit|PermissionsStartOnly": (
        "the role must know when the process has started",
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
        "Use flask_app_source_subdirectory for a part of it, and BindPaths for files that must be elsewhere.",
    ),
    r"RuntimeDirectory|RuntimeDirectoryPreserve": (
        "systemd removes it when one unit stops, while another release may still use it",
        "Use the release's own directory: its path is in the variable RUNTIME_DIRECTORY.",
    ),
    r"StateDirectory|ConfigurationDirectory": (
        "the role manages the app's directories",
        "Use /var/lib/<flask_app_name>: the app may write there.",
    ),
    r"KillMode|\w*KillSignal|SendSIG\w+|Timeout(Stop|Abort)?Sec|TimeoutStopFailureMode": (
        "a retiring release finishes its accepted requests",
        "Use flask_app_gunicorn_graceful_timeout_seconds.",
    ),
    r"Restart|Restart(Prevent|Force)ExitStatus|StartLimit\w+|(Failure|Success)Action|RebootArgument": (
        "a live release is restarted whenever it ends",
        "Remove it.",
    ),
    r"RuntimeMaxSec|RuntimeRandomizedExtraSec|WatchdogS\w+": (
        "systemd would end a healthy live release",
        "Use max_requests in flask_app_gunicorn_settings to replace the workers one by one.",
    ),
}
#: Directories that systemd creates and gives to the app's account, whoever owned them before.
_GIVEN_AWAY = ("CacheDirectory", "LogsDirectory")


@finds(MALFORMED_VALUE, SETTING_OF_THE_ROLE, WRONG_TYPE, CONTROL_CHARACTER, FOREIGN_DIRECTORY, guards=True)
def settings(case: Case) -> Iterator[Found]:
    """Check what can be checked without systemd."""
    for name, value in case["service_settings"].items():
        yield from _faults(name, value, case["name"])


def _faults(name: str, value: Any, app: str) -> Iterator[Found]:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        what = f"{_VARIABLE} has the name {name!r}."
        yield MALFORMED_VALUE(_VARIABLE, what, "Use a setting from systemd.exec(5) or systemd.service(5).")
        return
    for pattern, (why, fix) in _OF_THE_ROLE.items():
        if re.fullmatch(pattern, name):
            yield SETTING_OF_THE_ROLE(_VARIABLE, f"{_VARIABLE} has {name}, but {why}.", fix)
            return
    lines = _lines(value)
    if not all(isinstance(line, (str, int, float)) for line in lines):
        what = f"{_VARIABLE}: the value of {name} isn't a text, a number or a list of these."
        yield WRONG_TYPE(_VARIABLE, what, "Correct the value.")
        return
    texts = list(map(str, lines))
    if any(several_lines(text) or text.endswith("\\") for text in texts):
        what = (
            f"{_VARIABLE}: the value of {name} holds a control character such as a line break, or ends in a backslash."
        )
        fix = "Write it on one line. For several lines with the same name, use a list."
        yield CONTROL_CHARACTER(_VARIABLE, what, fix)
    elif name in _GIVEN_AWAY:
        own = re.compile(rf"{re.escape(app)}(/[\w.-]+)*")
        foreign = [word for text in texts for word in text.split() if not own.fullmatch(word) or ".." in word]
        if foreign:
            what = f"{_VARIABLE}: {name} names {', '.join(foreign)}, and systemd would give that to the app's account."
            fix = f"Name {app}, or a directory below it."
            yield FOREIGN_DIRECTORY(_VARIABLE, what, fix, variables=("flask_app_name",))


def _lines(value: Any) -> list[Any]:
    """Return a setting's values in the unit, one per line."""
    return list(value) if isinstance(value, list) else [value]


def for_the_host(case: Case) -> dict[str, list[str]]:
    """Return the lines of flask_app_service_settings for systemd to check; none if one of them is refused here."""
    given = case["service_settings"]
    if any(True for _ in settings(case)):
        return {}
    accepted = set(case["accepted_findings"])
    return {
        name: list(map(str, _lines(value)))
        for name, value in given.items()
        if not set(entries_for(UNIT_SETTING.id, name)) & accepted
    }
