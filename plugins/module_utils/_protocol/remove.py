# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an app on a host: all of it goes, and nothing else.

Only what the record names goes. What would stop the removal is found before anything is touched, and in check mode too.
The stamp says that the app's name is ours here, so it goes last: as long as it is there, a removal that was killed is
done again from its start, and each step looks for what is left. Without a stamp, nothing of that name is touched.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, names, systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME, Layout, release_of
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    HeldElsewhere,
    exclusively,
    remove,
    remove_unfinished,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused, refused
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop as builds
from ansible_collections.greenlight.flask.plugins.module_utils._edge import acme, nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import remove_empty
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    lost_stamp,
    other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import is_rest_of_removal

from .obstacles import obstacles
from .removal import (
    SHARED_DIRECTORIES,
    accounts_to_remove,
    cure,
    foreign_processes,
    is_last,
    is_open,
    left_over,
    marker,
    paths_to_remove,
    shared_paths_to_remove,
    unit_paths,
    without_site,
)
from .work import end_work


def remove_app(layout: Layout, environment: str, tree: nginx.Tree, bounds: Bounds, *, dry: bool = False) -> list[str]:
    """Remove the app; return what was there of it. With ``dry`` only report.

    Raises:
        GreenlightError: the host is stamped with another environment; or something of somebody else's is in the way,
            such as a file system that is mounted in one of the app's directories.
    """
    if not APP_NAME.match(layout.app):
        what = f"flask_app_name is {layout.app!r}, which is not a name of an app. Nothing was removed."
        raise refused("malformed-name", "flask_app_name", what)
    stamp = stamped(layout)
    if stamp is None:
        return _remove_rest(layout, dry=dry)
    other = other_environment(layout, environment)
    if other:
        fix = f"To remove this app all the same, say so with: -e flask_app_environment={stamp}"
        raise refused("wrong-environment", layout.environment_id, f"{other} Nothing was removed.", fix)
    made = names.recorded(layout)
    change = without_site(layout, tree, made)
    _refuse(layout, list(obstacles(layout, tree, change, made)))
    found = [str(tree.etc / name) for name in nginx.pending(tree, change)]
    found += map(
        str, [*unit_paths(layout), *paths_to_remove(layout, made), layout.etc, *shared_paths_to_remove(layout)]
    )
    found += [f"{part} {name}" for part, name in accounts_to_remove(layout, made)]
    certbot = acme.Certbot(layout.root)
    found += [str(certbot.settings(layout))] if acme.forget(certbot, layout, dry=True) else []
    if not dry:
        _close_site(layout, tree, change)
        remove_empty(tree)
        acme.forget(certbot, layout)
        _remove_units(layout, bounds)
        _refuse_processes(layout)
        for path in [*paths_to_remove(layout, made), *shared_paths_to_remove(layout)]:
            _take(path)
        _remove_empty(layout)
        for part, name in accounts_to_remove(layout, made):
            if accounts.number(part, name) is not None:
                accounts.remove(part, name)
        _remove_claim(layout)
    return found


def _remove_rest(layout: Layout, *, dry: bool) -> list[str]:
    """Remove what is left of an app that was removed but for its stamp's directory; of another one nothing."""
    lost = lost_stamp(layout, removal=True)
    if lost and not is_rest_of_removal(layout):
        _refuse(layout, lost.findings)
    rest = layout.etc if lost else left_over(layout)
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
        raise Refused(*problems, heading=f"{layout.app} can't be removed. Nothing was removed.")


def _remove_empty(layout: Layout) -> None:
    """Remove the directories of what is shared, if nothing else is in them."""
    if is_last(layout):
        for each in SHARED_DIRECTORIES:
            with contextlib.suppress(OSError):
                (layout.root / each).rmdir()


def _close_site(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> None:
    if not is_open(layout, tree, change):
        return
    if tree.installed and systemd.state("nginx.service").is_running:
        nginx.apply(tree, layout.app, change, [])
    else:  # one that was stopped, as to give its port to another server, is not started for this
        for name in change:
            remove(tree.etc / name)
    try:
        with exclusively(tree.state / "lock", nginx.LOCK_SECONDS):
            remove_unfinished(tree.state)
            remove(marker(layout, tree))
    except HeldElsewhere:
        raise nginx.busy() from None


def _remove_units(layout: Layout, bounds: Bounds) -> None:
    builds.end(layout.app, bounds.stop_seconds)
    paths = unit_paths(layout)
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


def _take(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        reason = f"{error.filename} can't be removed: {error.strerror}."
        raise GreenlightError(f"{reason} Fix: {cure(error.errno, path)}") from None


def _refuse_processes(layout: Layout) -> None:
    """Whatever still runs as the app's user, such as a worker of somebody else's, needs what would go now."""
    running = foreign_processes(layout)
    if running:
        raise GreenlightError(
            f"{layout.app} takes no requests any more, but its account still runs something else on this host: process"
            f" {', '.join(running)}. Its directories were left as they were. Fix: stop that (systemctl status"
            f" {running[0]} says what it is), or wait for its end, and run again."
        )


def _remove_claim(layout: Layout) -> None:
    """Remove /etc/<app>, stamp and record by one rename: without them, the rest would be nobody's."""
    if not layout.etc.is_symlink():
        for path in sorted(layout.etc.iterdir()):
            if path not in (layout.environment_id, layout.made):
                _take(path)
    _take(left_over(layout))
    try:
        layout.etc.rename(left_over(layout))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # overlayfs renames no directory that came with the image.
        remove(layout.environment_id)
        _take(layout.etc)
    _take(left_over(layout))
