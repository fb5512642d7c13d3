# SPDX-License-Identifier: GPL-3.0-or-later
"""Find where the inventory would make a different release of the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    environment_texts,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._release import process as processes
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Code
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    COMMAND,
    GUNICORN,
    HOOKS,
    Release,
    Specification,
)

from .look import Look, Report, names_of, settings

#: Part of a specification -> what defines it: files of the release, and parts of its processes.
_FILES = {
    "gunicorn": (GUNICORN, "flask_app_gunicorn_* and flask_app_wsgi"),
    "command": (COMMAND, "flask_app_release_command"),
    "hooks": (HOOKS, "this version of the collection has a different one"),
}
_PARTS = {
    "drop_in": "flask_app_service_*",
    "service": "the role's template of the unit",
}


def inventory(look: Look, report: Report, live: Release, made: Specification) -> None:
    """Report where the inventory would make a different release of the same code."""
    wanted = look.wanted.plan.with_code(Code.of(live.manifest), look.layout.root)
    try:
        texts = environment_texts(wanted.variables)
    except GreenlightError as error:
        report.add("inventory", "flask_app_env", str(error), "Correct the inventory.")
        texts = {}
    if texts:
        _variables(look, report, live, made=made, wanted=wanted, texts=texts)
    _texts(look, report, live, made, wanted)


def _texts(look: Look, report: Report, live: Release, made: Specification, wanted: Specification) -> None:
    """Report the files of the release and its units that the inventory would make differently."""
    reported = {finding.subject for finding in report.findings if finding.id == "file"}
    home, paths = look.layout.release(live.id), look.layout.parts(live.id)
    others = [
        (home / name, getattr(made, part), getattr(wanted, part), replace(made, **{part: getattr(wanted, part)}), why)
        for part, (name, why) in _FILES.items()
    ]
    # Put the units next to the settings of what they start.
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
        # Compare digests: they ignore differences that don't matter.
        if other.digest(b"") != made.digest(b"") and str(path) not in reported:
            names = names_of(set(settings(text)) ^ set(settings(before)))
            which = f" ({', '.join(names)})" if names and path.name not in (COMMAND, HOOKS) else ""
            report.add("inventory", path, f"{path} differs from the inventory{which}: {why}.", look.deploy)


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
        what = f"flask_app_release_variable is {wanted.release_variable}, but the live release uses another name."
        report.add("inventory", wanted.release_variable, what, look.deploy)
    both = texts.keys() & made.variables.keys()
    if both & set(wanted.credentials) != both & set(made.credentials):
        as_what = "credentials" if wanted.credentials else "variables"
        what = f"flask_app_secrets_as passes secrets as {as_what}, but the live release gets them the other way."
        report.add("inventory", "flask_app_secrets_as", what, look.deploy)
    found = processes.compare(look.key(), texts, environment_texts(made.variables))
    for names, what in (
        (found.changed, f"Variables have different values in the inventory and in {path}"),
        (found.missing, f"{path} lacks variables of the inventory"),
        (found.extra, f"{path} has variables that the inventory doesn't have"),
    ):
        report.add_variables("inventory", names, what, look.deploy)
