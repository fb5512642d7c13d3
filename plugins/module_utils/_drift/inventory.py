# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the inventory would make another release of the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    environment_texts,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._release import process as processes
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    COMMAND,
    GUNICORN,
    HOOKS,
    Release,
    Specification,
)

from .look import Look, Report, names_of, settings

#: Part of a specification to what makes it: files of the release, and parts of its processes.
_FILES = {
    "gunicorn": (GUNICORN, "flask_app_gunicorn_* and flask_app_wsgi"),
    "command": (COMMAND, "flask_app_release_command"),
    "hooks": (HOOKS, "this version of the collection has another one"),
}
_PARTS = {
    "drop_in": "flask_app_service_*",
    "service": "the role's template of the unit",
}


def inventory(look: Look, report: Report, live: Release, made: Specification) -> None:
    """Name where the inventory would make another release of the same code."""
    wanted = look.wanted.with_code_of(live)
    try:
        texts = environment_texts(wanted.variables)
    except GreenlightError as error:
        report.add("inventory", "flask_app_env", str(error), "Correct the inventory.")
        texts = {}
    if texts:
        _variables(look, report, live, made=made, wanted=wanted, texts=texts)
    _texts(look, report, live, made, wanted)


def _texts(look: Look, report: Report, live: Release, made: Specification, wanted: Specification) -> None:
    """Name the files of the release and of its units that the inventory makes otherwise."""
    told = {finding.subject for finding in report.findings if finding.id == "file"}
    home, paths = look.layout.release(live.id), look.layout.parts(live.id)
    others = [
        (home / name, getattr(made, part), getattr(wanted, part), replace(made, **{part: getattr(wanted, part)}), why)
        for part, (name, why) in _FILES.items()
    ]
    # The units beside the settings of what they start.
    others[1:1] = [
        (
            paths[each],
            made.parts.get(each, ""),
            text,
            made.with_part(*each, text),
            _PARTS.get(each[1], f"the role's template of the {each[1]}"),
        )
        for each, text in wanted.parts.items()
    ]
    for path, before, text, other, why in others:
        # By digest, which knows what counts as equal.
        if other.digest(b"") != made.digest(b"") and str(path) not in told:
            names = names_of(set(settings(text)) ^ set(settings(before)))
            which = f" ({', '.join(names)})" if names and path.name not in (COMMAND, HOOKS) else ""
            report.add("inventory", path, f"{path} is not what the inventory makes{which}: {why}.", look.deploy)


def _variables(
    look: Look,
    report: Report,
    live: Release,
    *,
    made: Specification,
    wanted: Specification,
    texts: Mapping[str, str],
) -> None:
    path = look.layout.environment_file(live.id)
    if wanted.release_variable != made.release_variable:
        what = f"flask_app_release_variable is {wanted.release_variable}, and in the live release it is another."
        report.add("inventory", wanted.release_variable, what, look.deploy)
    both = texts.keys() & made.variables.keys()
    if both & set(wanted.credentials) != both & set(made.credentials):
        as_what = "credentials" if wanted.credentials else "variables"
        what = f"flask_app_secrets_as asks for secrets as {as_what}, and the live release gets them otherwise."
        report.add("inventory", "flask_app_secrets_as", what, look.deploy)
    found = processes.compare(look.key(), texts, environment_texts(made.variables))
    for names, what in (
        (found.changed, f"The inventory has other values than {path}"),
        (found.missing, f"{path} lacks variables of the inventory"),
        (found.extra, f"{path} has variables that the inventory hasn't"),
    ):
        report.add_variables("inventory", names, what, look.deploy)
