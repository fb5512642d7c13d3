# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the files of the live release with the digest that it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import credentials
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    environment_texts,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
    readable,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    key,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    MANIFEST,
    Release,
    Specification,
    as_made,
)

from .look import Look, Report, settings


def files(look: Look, report: Report, live: Release) -> Specification | None:
    """Compare the release's files with the digest that it was made with; return what they say now."""
    layout, add = look.layout, report.add
    names = credentials.held(layout, live.id).keys() | credentials.named(layout, live.id)
    handing_over = [layout.credentials_drop_in(live.id, process) for process in look.releases.processes(live.id)]
    # Not part of the digest, because they are derived from the names.
    made_of_names = settings(credentials.drop_in(layout.app, names))
    for path in handing_over if names else ():
        if settings(readable(path) or "") != made_of_names:
            add("file", path, f"{path} was edited after the release was made.", look.deploy)
    _, paths = look.releases.parts(live.id)
    try:
        made = as_made(layout, live)
        environment_texts(made.variables)
        host_key = key(layout)
    except EnvironmentValueError as error:
        place = layout.environment_files
        add("file", place, f"A file of release {live.id} in {place} was edited: {error}", look.deploy)
        return None
    except Damaged as damage:
        if damage.path == layout.digest_key:
            return made  # reported for the host
        add("file", damage.path, f"{damage.path} can't be read: {damage.why}.", look.deploy)
        return None
    if made.digest(host_key) != live.digest:
        _edited(look, report, live, [path for path in paths if path not in handing_over])
    return made


def _edited(look: Look, report: Report, live: Release, files: Sequence[Path]) -> None:
    """Report which files were edited: the manifest is written last, so any newer file was."""
    manifest = look.layout.release(live.id) / MANIFEST
    newer = [path for path in files if path.stat().st_mtime > manifest.stat().st_mtime]
    for path in newer:
        report.add("file", path, f"{path} was edited after the release was made.", look.deploy)
    if not newer:
        what = f"The files of release {live.id} don't match its {MANIFEST}: one of them was edited."
        report.add("file", manifest, what, look.deploy)
