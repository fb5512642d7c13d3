# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an app goes when it is removed, and what of a host's shared parts goes with the last app."""

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

#: What the apps of a host share and nobody needs after the last one, as a pattern below the root.
SHARED = "opt/greenlight/uv-*"
#: Directories that go after the last app, if nothing else is in them.
SHARED_DIRECTORIES = ("opt/greenlight", "var/cache/greenlight", "var/cache/private/greenlight")
#: Why a file can't be removed -> what helps. ``{}`` is the directory that goes.
_CURES = {
    errno.EPERM: "chattr -R -f -i -a {}",
    errno.EROFS: "mount -o remount,rw of the file system with {}",
    errno.EBUSY: "findmnt shows what is mounted below {}: unmount it",
    errno.ENOTEMPTY: "stop what still writes below {}",
}


def without_site(layout: Layout, tree: nginx.Tree, made: frozenset[str]) -> nginx.Change:
    """The app's site and the shared ones that it alone used; with the last app, all of these."""
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
    """Return what goes with the last app."""
    return sorted(layout.root.glob(SHARED)) if is_last(layout) else []


def accounts_to_remove(layout: Layout, made: frozenset[str]) -> list[tuple[str, str]]:
    app = layout.app
    return [(part, app) for part in accounts.PARTS if part in made and accounts.number(part, app) is not None]


def is_open(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> bool:
    """Say whether Nginx may still serve the site."""
    return bool(nginx.pending(tree, change)) or marker(layout, tree).exists()


def marker(layout: Layout, tree: nginx.Tree) -> Path:
    """Says that the change of Nginx was confirmed. While it is there, it isn't known whether Nginx has let go."""
    return tree.state / f"{layout.app}.json"


def unit_paths(layout: Layout) -> list[Path]:
    """Unit files and their drop-ins, before them the links by which a reboot would start the units.

    Of releases only: a unit of the app's name that somebody else made, such as that of a worker, stays.
    """
    name = re.compile(rf"{layout.unit_name}(\.d)?\Z")
    found: list[Path] = []
    for directory in ("*.wants/", "*.requires/", ""):
        paths = sorted(path for glob in layout.unit_globs for path in layout.units.glob(directory + glob))
        matches = ((path, name.match(path.name)) for path in paths)
        found += [path for path, match in matches if match and RELEASE_ID.match(match.group(1))]
    return found


def paths_to_remove(layout: Layout, made: frozenset[str]) -> list[Path]:
    """Directories and files, less those that must go at another time.

    In /run only what has a release's name, and of cache and logs only what systemd made for the app's units: that
    belongs to the app's account.
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
    """What the app's directory in /etc is called when the name is given up."""
    return layout.etc.with_name(f"{UNFINISHED}{layout.app}")


def foreign_processes(layout: Layout) -> list[str]:
    """Return the processes of the app's account that are not part of a release's unit."""
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
    """A file of /proc, in which names may have any encoding; empty where there is none, as after a process's end."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cure(number: int | None, place: Path) -> str:
    """Say what helps where something in ``place`` can't be removed; no name that the app has made is in it."""
    return _CURES.get(number or 0, "check {}").format(place) + ", and run again."
