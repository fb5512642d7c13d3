# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an app on a host: all of it goes, and nothing else.

Only what the record names goes. What would stop the removal is found before anything is touched, and in check mode too.
The stamp says that the app's name is ours here, so it goes last: as long as it is there, a removal that was killed is
done again from its start, and each step looks for what is left. Without a stamp, nothing of that name is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, names, systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import (
    APP_NAME,
    RELEASE_ID,
    Layout,
    release_of,
)
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    UNFINISHED,
    Damaged,
    HeldElsewhere,
    exclusively,
    locked_down,
    mount_points,
    readable,
    remove,
    remove_unfinished,
    shown,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop as builds
from ansible_collections.greenlight.flask.plugins.module_utils._edge import acme, nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import (
    HASHES,
    OWNER,
    apps_inside,
    files_of,
    remove_empty,
    unused_defaults,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    lost_stamp,
    other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import is_rest_of_removal

from .work import end_work

#: What the apps of a host share and nobody needs after the last one, as patterns below the root. Their directories go
#: with them, once they are empty.
SHARED = ("opt/greenlight/uv-*", "var/cache/greenlight/uv", "var/cache/private/greenlight/uv")
#: Accounts that the apps of a host share, with their groups.
SHARED_ACCOUNTS: tuple[str, ...] = ()
#: Why a file can't be removed -> what helps. ``{}`` is the directory that goes.
_CURES = {
    errno.EPERM: "chattr -R -f -i -a {}",
    errno.EROFS: "mount -o remount,rw of the file system with {}",
    errno.EBUSY: "findmnt shows what is mounted below {}: unmount it",
    errno.ENOTEMPTY: "stop what still writes below {}",
}


def remove_app(layout: Layout, environment: str, tree: nginx.Tree, bounds: Bounds, *, dry: bool = False) -> list[str]:
    """Remove the app; return what was there of it. With ``dry`` only report.

    Raises:
        GreenlightError: the host is stamped with another environment; or something of somebody else's is in the way,
            such as a file system that is mounted in one of the app's directories.
    """
    if not APP_NAME.match(layout.app):
        raise GreenlightError(f"flask_app_name is {layout.app!r}, which is not a name of an app; nothing was removed.")
    stamp = stamped(layout)
    if stamp is None:
        return _remove_rest(layout, dry=dry)
    other = other_environment(layout, environment)
    if other:
        raise GreenlightError(
            f"{other} Nothing was removed. If this app is the one that shall go, say so with: -e"
            f" flask_app_environment={stamp}"
        )
    made = names.recorded(layout)
    change = _without_site(layout, tree, made)
    _refuse(layout, list(_obstacles(layout, tree, change, made)))
    found = [str(tree.etc / name) for name in nginx.pending(tree, change)]
    found += map(str, [*_unit_paths(layout), *_places(layout, made), layout.etc, *_shared(layout)])
    found += [f"{part} {name}" for part, name in _doomed_accounts(layout, made)]
    certbot = acme.Certbot(layout.root)
    found += [str(certbot.settings(layout))] if acme.forget(certbot, layout, dry=True) else []
    if not dry:
        _close_site(layout, tree, change)
        remove_empty(tree)
        acme.forget(certbot, layout)
        _remove_units(layout, bounds)
        _refuse_processes(layout)
        for path in [*_places(layout, made), *_shared(layout)]:
            _take(path)
        _remove_empty(layout)
        for part, name in _doomed_accounts(layout, made):
            if accounts.number(part, name) is not None:
                accounts.remove(part, name)
        _give_up_name(layout)
    return found


def _remove_rest(layout: Layout, *, dry: bool) -> list[str]:
    """Remove what is left of an app that was removed but for its stamp's directory; of another one nothing."""
    lost = lost_stamp(layout, removal=True)
    if lost and not is_rest_of_removal(layout):
        what = f"{lost.path} can't be used: {lost.why}."
        _refuse(layout, [Finding("lost-stamp", ERROR, str(lost.path), what, lost.cure)])
    rest = layout.etc if lost else _rest(layout)
    found = [str(rest)] if rest.exists() or rest.is_symlink() else []
    if not dry:
        _take(rest)
    return found


def forget_lock(layout: Layout) -> None:
    """Give the lock back for good, with the file that guards it. Only for a step that holds it."""
    remove(layout.lock)
    remove(layout.lock.with_suffix(".guard"))


def _refuse(layout: Layout, problems: Sequence[Finding]) -> None:
    if problems:
        rows = [f"{number}. {problem.what} Fix: {problem.fix}" for number, problem in enumerate(problems, start=1)]
        raise GreenlightError("\n".join([f"{layout.app} can't be removed. Nothing was removed.", *rows]))


def _obstacles(layout: Layout, tree: nginx.Tree, change: nginx.Change, made: frozenset[str]) -> Iterator[Finding]:
    """Find what would stop the removal on its way, or break what is somebody else's."""
    app, doomed = layout.app, [*_places(layout, made), layout.runtime_root, layout.etc, *_shared(layout)]
    mounted = [path for path in mount_points(layout.root) if any(place in (path, *path.parents) for place in doomed)]
    for path in map(shown, mounted):
        what = f"{path}: a file system of its own is mounted there, and its content would go with {app}."
        yield Finding("mounted", ERROR, path, what, f"Unmount it (umount {path}), and run again.")
    for place in doomed:
        if place.is_dir() and os.statvfs(place).f_flag & os.ST_RDONLY:
            what = f"{place} is on a file system that is read-only."
            yield Finding("read-only", ERROR, str(place), what, _cure(errno.EROFS, place))
        locked = locked_down(place)
        if locked:
            what = f"{locked} is protected from being removed (lsattr -d shows it)."
            yield Finding("protected", ERROR, str(locked), what, _cure(errno.EPERM, place))
    for path, package in _packaged(layout, doomed):
        what = f"{path} belongs to Debian's package {package}."
        yield Finding("packaged", ERROR, path, what, f"Remove that first: apt purge {package}")
    yield from _site_problems(layout, tree, change)
    running = _processes(layout)
    if running:
        what = f"The account of {app} still runs something else than {app}: process {', '.join(running)}."
        fix = f"Stop it (systemctl status {running[0]} says what it is), and run again."
        yield Finding("foreign-process", ERROR, app, what, fix)
    guests = accounts.others_in_group(app) if "group" in made else []
    if guests:
        what = f"The group {app} is the own group of {', '.join(guests)}, so it can't be removed."
        fix = f"Give that account another group: usermod --gid <group> {guests[0]}"
        yield Finding("group-in-use", ERROR, app, what, fix)
    certbot = acme.Certbot(layout.root)
    if acme.forget(certbot, layout, dry=True) and not shutil.which("certbot"):
        what = f"certbot is not installed any more, and its certificate {app} goes with the app."
        fix = f"Install it (apt install certbot), or remove {certbot.settings(layout)}, and run again."
        yield Finding("no-certbot", ERROR, "certbot", what, fix)


def _packaged(layout: Layout, doomed: Sequence[Path]) -> list[tuple[str, str]]:
    """Return which paths came with a package, as one of the app's name does that was installed after the app."""
    paths = [f"/{path.relative_to(layout.root)}" for path in doomed]
    rows = [line.partition(": ") for line in run(["dpkg-query", "--search", *paths]).stdout.splitlines()]
    return [(path, packages) for packages, _, path in rows if path in paths]


def _site_problems(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> list[Finding]:
    """Find what other sites use of the app's, and test Nginx's configuration without its site."""
    inside = apps_inside(tree, layout.app)
    if inside:
        what = f"{', '.join(inside)}: served in the site of {layout.app} (flask_app_nginx_site_of)."
        fix = "Remove what is served there first, or deploy it with a site of its own."
        return [Finding("guest-in-site", ERROR, layout.app, what, fix)]
    if not tree.installed:
        return []
    used = _used_elsewhere(layout, tree, change)
    if used:
        what = f"Nginx still needs what goes with {layout.app}: {'; '.join(used)}."
        return [Finding("used-by-nginx", ERROR, "nginx", what, "Remove it there, and run again.")]
    try:
        nginx.check(tree, change, [])
    except Damaged as damage:
        what = f"{damage.path} can't be removed: {damage.why}."
        return [Finding("damaged-site", ERROR, str(damage.path), what, damage.cure)]
    except GreenlightError as error:
        sound = _is_sound(tree)
        # A configuration that is broken anyway is in the way only where Nginx has to read it.
        if sound or (_is_open(layout, tree, change) and systemd.state("nginx.service").is_running):
            reasons = " ".join(str(error).splitlines()[1:])
            what = f"Without {layout.app}, Nginx refuses its configuration: {reasons}"
            return [Finding("refused-by-nginx", ERROR, "nginx", what, "Correct that file, and run again.")]
    return []


def _used_elsewhere(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> list[str]:
    """Return where other sites name the app's upstreams, variables or paths, each with file and line.

    Nginx's own test doesn't see all of them: it looks up in the DNS a name that isn't an upstream, and a path that it
    serves may be missing.
    """
    files = nginx.files(tree)
    own = "\n".join(files.pop(tree.etc / name, "") for name in change)
    defined = re.findall(r"^\s*(?:upstream|log_format)\s+(\S+)", own, re.MULTILINE)
    upstreams = {f"{layout.app}_live", f"{layout.app}_candidate", *defined}
    variables = set(re.findall(r"^\s*(?:map|geo)\s[^;{]*\$(\w+)\s*\{", own, re.MULTILINE))
    certbot = acme.Certbot(layout.root)
    places = [layout.etc, layout.srv, layout.state, layout.runtime_root]
    places += [certbot.lineage(layout)] if acme.is_ours(certbot, layout) else []
    patterns = [rf"(?<![\w.-]){re.escape(name)}(?![\w.-])" for name in sorted(upstreams)]
    patterns += [rf"\$\{{?{name}\b" for name in sorted(variables)]
    patterns += [rf"(?<![\w.-]){re.escape(str(place))}(?=[/;\s])" for place in places]
    wanted, comment = re.compile("|".join(patterns)), re.compile(r"(^|\s)#.*")
    found = []
    for path, text in files.items():
        for number, line in enumerate(text.splitlines()):  # the first is the rest of the heading
            match = wanted.search(comment.sub("", line))
            if match:
                found.append(f"{match.group()} in {shown(path)}:{number}")
    return found


def _is_sound(tree: nginx.Tree) -> bool:
    try:
        nginx.check(tree, {}, [])
    except GreenlightError:
        return False
    return True


def _without_site(layout: Layout, tree: nginx.Tree, made: frozenset[str]) -> nginx.Change:
    """The app's site and the shared ones that it alone used; with the last app, all of these."""
    site = f"sites-enabled/{layout.app}.conf"
    found = [site] if names.made(layout, layout.root / "etc/nginx" / site, made) else []
    found += [name for name in files_of(tree, layout.app) if name != site]
    found += unused_defaults(tree, layout.app, {})
    if _is_last(layout):
        shared = [tree.etc / HASHES, *sorted((tree.etc / "sites-enabled").glob("00-default-*.conf"))]
        found += [str(path.relative_to(tree.etc)) for path in shared if OWNER in (readable(path) or "")]
    return dict.fromkeys(found)


def _is_last(layout: Layout) -> bool:
    return set((layout.root / "etc").glob("*/environment-id")) <= {layout.environment_id}


def _shared(layout: Layout) -> list[Path]:
    """Return what goes with the last app."""
    return sorted(path for each in SHARED for path in layout.root.glob(each)) if _is_last(layout) else []


def _remove_empty(layout: Layout) -> None:
    """Remove the directories of what is shared, if nothing else is in them."""
    if _is_last(layout):
        for each in SHARED:
            with contextlib.suppress(OSError):
                (layout.root / each).parent.rmdir()


def _doomed_accounts(layout: Layout, made: frozenset[str]) -> list[tuple[str, str]]:
    found = [(part, layout.app) for part in accounts.PARTS if part in made]
    found += [(part, name) for name in SHARED_ACCOUNTS for part in accounts.PARTS if _is_last(layout)]
    return [(part, name) for part, name in found if accounts.number(part, name) is not None]


def _is_open(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> bool:
    """Say whether Nginx may still serve the site."""
    return bool(nginx.pending(tree, change)) or _marker(layout, tree).exists()


def _marker(layout: Layout, tree: nginx.Tree) -> Path:
    """Says that the change of Nginx was confirmed. While it is there, it isn't known whether Nginx has let go."""
    return tree.state / f"{layout.app}.json"


def _close_site(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> None:
    if not _is_open(layout, tree, change):
        return
    if tree.installed and systemd.state("nginx.service").is_running:
        nginx.apply(tree, layout.app, change, [])
    else:  # one that was stopped, as to give its port to another server, is not started for this
        for name in change:
            remove(tree.etc / name)
    try:
        with exclusively(tree.state / "lock", nginx.LOCK_SECONDS):
            remove_unfinished(tree.state)
            remove(_marker(layout, tree))
    except HeldElsewhere:
        raise GreenlightError("another app's change of Nginx is at work on this host; run again in a minute") from None


def _unit_paths(layout: Layout) -> list[Path]:
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


def _remove_units(layout: Layout, bounds: Bounds) -> None:
    builds.end(layout.app, bounds.stop_seconds)
    paths = _unit_paths(layout)
    for path in paths:
        if path.parent != layout.units:
            _take(path)
    for release in sorted(systemd.loaded(layout) | {release_of(path.name) for path in paths}):
        end_work(layout, release, bounds)
        systemd.wait_until_queue_is_empty(layout.socket(release), bounds.drain_seconds)
        # systemd knows no unit that is neither there as a file nor at work, and stopping one would be an error.
        known = [unit for unit in layout.units_of(release) if systemd.state(unit).active != "inactive"]
        if known:
            systemd.stop(known, bounds.stop_seconds)
    for path in paths:
        _take(path)
    systemd.reload_units()
    if not _has_units(layout):
        # systemd makes it for the instances of a template and doesn't stop it by itself.
        run(["systemctl", "stop", *systemd.slices_of(layout)])


def _has_units(layout: Layout) -> bool:
    """Say whether anything is at work as an instance of the app's name, be it ours or not."""
    done = run(["systemctl", "list-units", "--plain", "--no-legend", "--full", *layout.unit_globs])
    return bool(done.stdout.strip())


def _places(layout: Layout, made: frozenset[str]) -> list[Path]:
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


def _take(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        reason = f"{error.filename} can't be removed: {error.strerror}."
        raise GreenlightError(f"{reason} Fix: {_cure(error.errno, path)}") from None


def _cure(number: int | None, place: Path) -> str:
    """Say what helps where something in ``place`` can't be removed; no name that the app has made is in it."""
    return _CURES.get(number or 0, "check {}").format(place) + ", and run again."


def _refuse_processes(layout: Layout) -> None:
    """Whatever still runs as the app's user, such as a worker of somebody else's, needs what would go now."""
    running = _processes(layout)
    if running:
        raise GreenlightError(
            f"{layout.app} takes no requests any more, but its account still runs something else on this host: process"
            f" {', '.join(running)}. Its directories were left as they were. Fix: stop that (systemctl status"
            f" {running[0]} says what it is), or wait for its end, and run again."
        )


def _processes(layout: Layout) -> list[str]:
    """Return the processes of the app's account that are not part of a release's unit."""
    uid = accounts.number("passwd", layout.app)
    unit = re.compile(rf"/{layout.unit_name}(/|$)", re.MULTILINE)
    found = []
    for path in sorted((layout.root / "proc").glob("[0-9]*/status")) if uid is not None else []:
        uids = re.search(r"^Uid:\t(.*)$", _told_by_kernel(path), re.MULTILINE)
        if uids and str(uid) in uids.group(1).split("\t"):
            match = unit.search(_told_by_kernel(path.with_name("cgroup")))
            if not match or not RELEASE_ID.match(match.group(1)):
                found.append(path.parent.name)
    return found


def _told_by_kernel(path: Path) -> str:
    """A file of /proc, in which names may have any encoding; empty where there is none, as after a process's end."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _rest(layout: Layout) -> Path:
    """What the app's directory in /etc is called when the name is given up."""
    return layout.etc.with_name(f"{UNFINISHED}{layout.app}")


def _give_up_name(layout: Layout) -> None:
    """Remove /etc/<app>, stamp and record by one rename: without them, the rest would be nobody's."""
    if not layout.etc.is_symlink():
        for path in sorted(layout.etc.iterdir()):
            if path not in (layout.environment_id, layout.made):
                _take(path)
    _take(_rest(layout))
    try:
        layout.etc.rename(_rest(layout))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # overlayfs renames no directory that came with the image.
        remove(layout.environment_id)
        _take(layout.etc)
    _take(_rest(layout))
