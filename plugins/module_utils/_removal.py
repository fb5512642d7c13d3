# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an app on a host: all of it goes, and nothing else.

The stamp says that the app's name is ours here, so it goes last: as long as it is there, a removal that was killed is
done again from its start, and each step looks for what is left. Without a stamp, nothing of that name is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils import _acme as acme
from ansible_collections.greenlight.flask.plugins.module_utils import _nginx as nginx
from ansible_collections.greenlight.flask.plugins.module_utils import _systemd as systemd
from ansible_collections.greenlight.flask.plugins.module_utils._command import require, run
from ansible_collections.greenlight.flask.plugins.module_utils._edge import OWNER, unused_defaults
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import (
    UNFINISHED,
    HeldElsewhere,
    exclusively,
    readable,
    remove,
    remove_unfinished,
)
from ansible_collections.greenlight.flask.plugins.module_utils._layout import APP_NAME, RELEASE_ID, Layout
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Bounds, other_environment
from ansible_collections.greenlight.flask.plugins.module_utils._state import stamped

#: What getent(1) calls the parts of an account -> what removes one; with the user, the group mostly goes too.
_ACCOUNTS = {"passwd": "/usr/sbin/userdel", "group": "/usr/sbin/groupdel"}


def remove_app(layout: Layout, environment: str, tree: nginx.Tree, bounds: Bounds, *, dry: bool = False) -> list[str]:
    """Remove the app; return what was there of it. With ``dry`` only tell.

    Raises:
        GreenlightError: the host is stamped with another environment; or something of somebody else's is in the way,
            such as a file system that is mounted in one of the app's directories.
    """
    if not APP_NAME.match(layout.app):
        raise GreenlightError(f"flask_app_name is {layout.app!r}, which is no name of an app; nothing was removed.")
    stamp = stamped(layout)
    if stamp is None:
        rest = _rest(layout)
        found = [str(rest)] if rest.exists() or rest.is_symlink() else []
        if not dry:
            remove(rest)
        return found
    other = other_environment(layout, environment)
    if other:
        raise GreenlightError(
            f"{other} Nothing was removed. If this app is the one that shall go, say so with: -e"
            f" flask_app_environment={stamp}"
        )
    _refuse_mounts(layout)
    change = _without_site(layout, tree)
    found = [str(tree.etc / name) for name in nginx.pending(tree, change)]
    found += map(str, [*_unit_paths(layout), *_places(layout), layout.etc])
    found += [f"{kind} {layout.app}" for kind in _ACCOUNTS if _account(layout, kind)]
    certbot = acme.Certbot(layout.root)
    found += [str(certbot.settings(layout))] if acme.forget(certbot, layout, dry=True) else []
    if not dry:
        _close_site(layout, tree, change)
        acme.forget(certbot, layout)
        _remove_units(layout, bounds)
        _refuse_processes(layout)
        for path in _places(layout):
            remove(path)
        for kind, program in _ACCOUNTS.items():
            if _account(layout, kind):
                require([program, layout.app], f"{program} {layout.app}")
        _give_up_name(layout)
    return found


def forget_lock(layout: Layout) -> None:
    """Give the lock back for good, with the file that guards it. Only for a step that holds it."""
    remove(layout.lock)
    remove(layout.lock.with_suffix(".guard"))


def _without_site(layout: Layout, tree: nginx.Tree) -> nginx.Change:
    """The app's site and the shared ones that it alone used; with the last app, all of these."""
    names = [f"sites-enabled/{layout.app}.conf", *unused_defaults(tree, layout.app, {})]
    if _is_last(layout):
        shared = sorted((tree.etc / "sites-enabled").glob("00-default-*.conf"))
        names += [str(path.relative_to(tree.etc)) for path in shared if OWNER in (readable(path) or "")]
    return dict.fromkeys(names)


def _is_last(layout: Layout) -> bool:
    return set((layout.root / "etc").glob("*/environment-id")) <= {layout.environment_id}


def _marker(layout: Layout, tree: nginx.Tree) -> Path:
    """Says that the change of Nginx was confirmed. While it is there, it isn't known whether Nginx has let go."""
    return tree.state / f"{layout.app}.json"


def _close_site(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> None:
    if not nginx.pending(tree, change) and not _marker(layout, tree).exists():
        return
    if tree.installed and systemd.state("nginx.service").is_running:
        nginx.apply(tree, change, [])
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
    name = re.compile(rf"{re.escape(layout.app)}@([^.]+)\.(service|socket)(\.d)?\Z")
    found: list[Path] = []
    for pattern in (f"*.wants/{layout.app}@*", f"*.requires/{layout.app}@*", f"{layout.app}@*"):
        matches = ((path, name.match(path.name)) for path in sorted(layout.units.glob(pattern)))
        found += [path for path, match in matches if match and RELEASE_ID.match(match.group(1))]
    return found


def _remove_units(layout: Layout, bounds: Bounds) -> None:
    paths = _unit_paths(layout)
    for path in paths:
        if path.parent != layout.units:
            remove(path)
    for release in sorted(systemd.loaded(layout) | {path.name.partition("@")[2].partition(".")[0] for path in paths}):
        systemd.wait_until_queue_is_empty(layout.socket(release), bounds.drain_seconds)
        units = [layout.socket_unit(release), layout.service_unit(release)]
        # systemd knows no unit that is neither there as a file nor at work, and stopping one would be an error.
        known = [unit for unit in units if systemd.state(unit).active != "inactive"]
        if known:
            systemd.stop(known, bounds.stop_seconds)
    for path in paths:
        remove(path)
    systemd.reload_units()
    if not _has_units(layout):
        # systemd makes it for the instances of a template and doesn't stop it by itself.
        escaped = layout.app.replace("-", r"\x2d")
        run(["systemctl", "stop", f"system-{escaped}.slice"])


def _has_units(layout: Layout) -> bool:
    """Say whether anything is at work as an instance of the app's name, be it ours or not."""
    done = run(["systemctl", "list-units", "--plain", "--no-legend", "--full", f"{layout.app}@*"])
    return bool(done.stdout.strip())


def _places(layout: Layout) -> list[Path]:
    """Directories and files, less those that must go at another time.

    In /run only what is ours by its name: there, no first deploy has looked whether the name was free.
    """
    sockets = [path for path in sorted(layout.run.glob("*.sock")) if RELEASE_ID.match(path.stem)]
    directory = [layout.run] if layout.run.is_dir() and set(layout.run.iterdir()) <= set(sockets) else []
    logs = [path for kind in ("access", "error") for path in sorted(_logs(layout).glob(f"{layout.app}.{kind}.log*"))]
    places = [layout.srv, layout.state, *sockets, *directory, *logs]
    return [path for path in places if path.exists() or path.is_symlink()]


def _logs(layout: Layout) -> Path:
    return layout.root / "var/log/nginx"


def _refuse_mounts(layout: Layout) -> None:
    """What is mounted in a directory of the app's is no part of the app: it would be emptied with it."""
    doomed = (layout.srv, layout.state, layout.etc, layout.run)
    found = [path for path in _mount_points(layout) if any(place in (path, *path.parents) for place in doomed)]
    if found:
        raise GreenlightError(
            f"{', '.join(map(str, found))}: a file system of its own is mounted there, and its content would go with"
            f" {layout.app}. Nothing was removed. Unmount it (umount {found[0]}), and run again."
        )


def _mount_points(layout: Layout) -> Iterator[Path]:
    for line in _told_by_kernel(layout.root / "proc/self/mountinfo").splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), line.split(" ")[4])
        yield layout.root / place.lstrip("/")


def _refuse_processes(layout: Layout) -> None:
    """Whatever still runs as the app's user, such as a worker of somebody else's, needs what would go now."""
    user = _account(layout, "passwd")
    running = [
        path.parent.name
        for path in sorted((layout.root / "proc").glob("[0-9]*/status"))
        if user and re.search(rf"^Uid:\t{user}\t", _told_by_kernel(path), re.MULTILINE)
    ]
    if running:
        raise GreenlightError(
            f"{layout.app} takes no requests any more, but its account still runs something else on this host: process"
            f" {', '.join(running)}. Its directories were left as they were. Stop that (systemctl status {running[0]}"
            " says what it is), or wait for its end, and run again."
        )


def _told_by_kernel(path: Path) -> str:
    """A file of /proc, in which names may have any encoding; empty where there is none, as after a process's end."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _account(layout: Layout, kind: str) -> str:
    """The number of the user (``passwd``) or of the ``group`` of the app's name, empty where there is none."""
    fields = run(["getent", kind, layout.app]).stdout.split(":")
    return fields[2] if fields[2:] else ""


def _rest(layout: Layout) -> Path:
    """What the app's directory in /etc is called when the name is given up."""
    return layout.etc.with_name(f"{UNFINISHED}{layout.app}")


def _give_up_name(layout: Layout) -> None:
    """Remove /etc/<app>, the stamp by one rename: without it, the empty directory would be nobody's."""
    if not layout.etc.is_symlink():
        for path in sorted(layout.etc.iterdir()):
            if path != layout.environment_id:
                remove(path)
    remove(_rest(layout))
    layout.etc.rename(_rest(layout))
    remove(_rest(layout))
