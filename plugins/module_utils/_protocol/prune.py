# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old releases, and what no kept release uses."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import RELEASE_ID, Layout, release_of
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import occupied, remove, remove_unfinished
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import directories
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases


def prunable(layout: Layout, keep: int) -> list[str]:
    """Return the paths to remove.

    These are releases except the newest ``keep`` good ones and the newest bad one, their environment files and
    drop-ins, the sources and venvs that no kept release uses, the link to a candidate, and a link to a previous release
    that no longer exists. Always keep the live and the previous release. Return nothing if one of the app's directories
    is a link: its content may not be the app's.
    """
    if _has_linked_directory(layout):
        return []
    releases = Releases(layout)
    found = releases.all()
    good = [release.id for release in found if release.proved and not release.bad]
    bad = [release.id for release in found if release.bad]
    kept = {releases.live(), releases.previous(), *good[max(len(good) - keep, 0) :], *bad[-1:]} - {""}
    used = {str(release.manifest.get(kind)) for release in found if release.id in kept for kind in ("source", "venv")}
    # Check the links, too: the live release's manifest may be damaged.
    homes = [layout.release(name) / kind for name in kept for kind in ("source", "venv")]
    used |= {home.readlink().name for home in homes if home.is_symlink()}
    links = [layout.candidate_socket, *([] if releases.previous() else [layout.previous])]
    to_remove: list[Path] = [path for path in links if os.path.lexists(path) and not occupied(path)]
    to_remove += _entries_except(layout.releases, kept)
    parts = {path.name for name in kept for path in (layout.environment_file(name), layout.credentials(name))}
    to_remove += _entries_except(layout.environment_files, parts)
    there = [path for glob in layout.unit_globs for path in layout.units.glob(glob)]
    units = [path for path in there if RELEASE_ID.match(release_of(path.name))]
    to_remove += sorted(path for path in units if release_of(path.name) not in kept)
    to_remove += _entries_except(layout.sources, used) + _entries_except(layout.venvs, used)
    return [str(path) for path in to_remove]


def _has_linked_directory(layout: Layout) -> bool:
    return any(map(Path.is_symlink, directories(layout)))


def prune(layout: Layout, keep: int) -> list[str]:
    """Remove what :func:`prunable` returns; return the paths."""
    to_remove = prunable(layout, keep)
    if _has_linked_directory(layout):
        return []
    releases = Releases(layout)
    for path in map(Path, to_remove):
        if path.parent == layout.releases:
            releases.destroy(path.name)
        remove(path)
    places = [layout.sources, layout.venvs, layout.releases, layout.environment_files, layout.srv, layout.etc]
    places.append(layout.units)
    for release in releases.all():
        places += [layout.release(release.id), *(path.parent for path in layout.parts(release.id).values())]
    for directory in dict.fromkeys(places):
        remove_unfinished(directory)
    return to_remove


def _entries_except(directory: Path, kept: set[str]) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name not in kept) if directory.is_dir() else []
