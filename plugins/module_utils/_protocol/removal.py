# SPDX-License-Identifier: GPL-3.0-or-later
"""What the removal of an app removes, and which shared parts of a host are removed with the last app."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, names
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import RELEASE_ID, Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED, readable
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop as builds
from ansible_collections.greenlight.flask.plugins.module_utils._edge import nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import (
    HASHES,
    OWNER,
    files_of,
    unused_defaults,
)

#: Files that all apps of a host share, removed with the last one, as a pattern below the root.
SHARED = "opt/greenlight/uv-*"
#: Directories that are removed with the last app, if they are empty.
SHARED_DIRECTORIES = ("opt/greenlight", "var/cache/greenlight", "var/cache/private/greenlight")
#: Why a file can't be removed -> the fix. ``{}`` is the directory to remove.
_CURES = {
    errno.EPERM: "Run chattr -R -f -i -a {}",
    errno.EROFS: "Remount the file system of {} (mount -o remount,rw)",
    errno.EBUSY: "Unmount what findmnt shows below {}",
    errno.ENOTEMPTY: "Stop what still writes below {}",
}


def without_site(layout: Layout, tree: nginx.Tree, made: frozenset[str]) -> nginx.Change:
    """Return the app's site and the shared files that only it uses; for the last app, all shared files."""
    site = f"sites-enabled/{layout.app}.conf"
    found = [site] if names.made(layout, layout.root / "etc/nginx" / site, made) else []
    found += [name for name in files_of(tree, layout.app) if name != site]
    found += unused_defaults(tree, layout.app, {})
    if is_last(layout):
        shared = [tree.etc / HASHES, *sorted((tree.etc / "sites-enabled").glob("00-default-*.conf"))]
        found += [str(path.relative_to(tree.etc)) for path in shared if OWNER in (readable(path) or "")]
    return dict.fromkeys(found)


def is_last(layout: Layout) -> bool:
    return set((layout.root / "etc").glob("*/environment-id")) <= {layout.environment_id}


def shared_paths_to_remove(layout: Layout) -> list[Path]:
    """Return the shared paths to remove, if this is the last app."""
    return sorted(layout.root.glob(SHARED)) if is_last(layout) else []


def accounts_to_remove(layout: Layout, made: frozenset[str]) -> list[tuple[str, str]]:
    app = layout.app
    return [(part, app) for part in accounts.PARTS if part in made and accounts.number(part, app) is not None]


def is_open(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> bool:
    """Say whether Nginx may still serve the site."""
    return bool(nginx.pending(tree, change)) or marker(layout, tree).exists()


def marker(layout: Layout, tree: nginx.Tree) -> Path:
    """Return the marker of a confirmed change of Nginx. While it exists, Nginx may still serve the site."""
    return tree.state / f"{layout.app}.json"


def unit_paths(layout: Layout) -> list[Path]:
    """Return unit files and drop-ins of releases, and before them the links by which a reboot would start the units.

    Leave out units with the app's name that this role did not make, such as a worker's.
    """
    name = re.compile(rf"{layout.unit_name}(\.d)?\Z")
    found: list[Path] = []
    for directory in ("*.wants/", "*.requires/", ""):
        paths = sorted(path for glob in layout.unit_globs for path in layout.units.glob(directory + glob))
        matches = ((path, name.match(path.name)) for path in paths)
        found += [path for path, match in matches if match and RELEASE_ID.match(match.group(1))]
    return found


def paths_to_remove(layout: Layout, made: frozenset[str]) -> list[Path]:
    """Return directories and files to remove, except those that have to be removed at another time.

    In /run, only those named after a release. Cache and logs only if systemd made them for the app's units: then they
    belong to the app's account.
    """
    entries = sorted(layout.runtime_root.iterdir()) if layout.runtime_root.is_dir() else []
    ends = [".sock", *(process.infix for process in layout.processes)]
    of_releases = [path for path in entries if any(RELEASE_ID.match(path.name.removesuffix(end)) for end in ends)]
    directory = [layout.runtime_root] if layout.runtime_root.is_dir() and entries == of_releases else []
    uid = accounts.number("passwd", layout.app)
    own = [path for path in (layout.cache, layout.logs) if path.is_dir() and path.lstat().st_uid == uid]
    places = [path for path in (layout.srv, layout.state, *own) if names.made(layout, path, made)]
    places += [*of_releases, *directory, *names.nginx_logs(layout), *builds.traces(layout.root, layout.app)]
    return [path for path in places if path.exists() or path.is_symlink()]


def left_over(layout: Layout) -> Path:
    """Return the name of the app's directory in /etc after its claim is removed."""
    return layout.etc.with_name(f"{UNFINISHED}{layout.app}")


def foreign_processes(layout: Layout) -> list[str]:
    """Return the processes of the app's account that don't belong to a release's unit."""
    uid = accounts.number("passwd", layout.app)
    unit = re.compile(rf"/{layout.unit_name}(/|$)", re.MULTILINE)
    found = []
    for path in sorted((layout.root / "proc").glob("[0-9]*/status")) if uid is not None else []:
        uids = re.search(r"^Uid:\t(.*)$", _read_proc(path), re.MULTILINE)
        if uids and str(uid) in uids.group(1).split("\t"):
            match = unit.search(_read_proc(path.with_name("cgroup")))
            if not match or not RELEASE_ID.match(match.group(1)):
                found.append(path.parent.name)
    return found


def _read_proc(path: Path) -> str:
    """Read a file in /proc, in which names may have any encoding; empty if it is missing, as after a process's end."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cure(number: int | None, place: Path) -> str:
    """Return the fix if something in ``place`` can't be removed, without any names that the app has made."""
    return _CURES.get(number or 0, "Check {}").format(place) + ", and run again."
