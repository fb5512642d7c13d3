# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an app from a host: all of it, and nothing else.

Remove only what the record names. Find obstacles before anything is touched, in check mode too. The stamp says that the
app's name is ours here, so remove it last: while it exists, a killed removal starts over, and each step looks for what
is left. Without a stamp, touch nothing with that name.
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
    """Remove the app; return what existed of it. With ``dry``, only report.

    Raises:
        GreenlightError: the host is stamped with another environment; or something that isn't the app's is in the way,
            such as a file system that is mounted in one of its directories.
    """
    if not APP_NAME.match(layout.app):
        what = f"flask_app_name is {layout.app!r}, which is not a valid name. Nothing was removed."
        raise refused("malformed-name", "flask_app_name", what)
    stamp = stamped(layout)
    if stamp is None:
        return _remove_rest(layout, dry=dry)
    other = other_environment(layout, environment)
    if other:
        fix = f"To remove this app anyway, run with: -e flask_app_environment={stamp}"
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
    """Finish a removal that got as far as the stamp's directory; otherwise remove nothing."""
    lost = lost_stamp(layout, removal=True)
    if lost and not is_rest_of_removal(layout):
        _refuse(layout, lost.findings)
    rest = layout.etc if lost else left_over(layout)
    found = [str(rest)] if rest.exists() or rest.is_symlink() else []
    if not dry:
        _take(rest)
    return found


def forget_lock(layout: Layout) -> None:
    """Remove the lock and its guard file. Only for a step that holds it."""
    remove(layout.lock)
    remove(layout.lock.with_suffix(".guard"))


def _refuse(layout: Layout, problems: Sequence[Finding]) -> None:
    if problems:
        raise Refused(*problems, heading=f"{layout.app} can't be removed. Nothing was removed.")


def _remove_empty(layout: Layout) -> None:
    """Remove the shared directories, if they are empty."""
    if is_last(layout):
        for each in SHARED_DIRECTORIES:
            with contextlib.suppress(OSError):
                (layout.root / each).rmdir()


def _close_site(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> None:
    if not is_open(layout, tree, change):
        return
    if tree.installed and systemd.state("nginx.service").is_running:
        nginx.apply(tree, layout.app, change, [])
    else:  # Nginx may have been stopped on purpose, to free its port for another server: don't start it
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
        # Stopping a unit that has no file and doesn't run would be an error: systemd doesn't know it.
        known = [unit for unit in layout.units_of(release) if systemd.state(unit).active != "inactive"]
        if known:
            systemd.stop(known, bounds.stop_seconds)
    for path in paths:
        _take(path)
    systemd.reload_units()
    if not _has_units(layout):
        # systemd makes these slices for the instances of a template, but doesn't stop them.
        run(["systemctl", "stop", *systemd.slices_of(layout)])


def _has_units(layout: Layout) -> bool:
    """Say whether any instance with the app's name runs, ours or not."""
    done = run(["systemctl", "list-units", "--plain", "--no-legend", "--full", *layout.unit_globs])
    return bool(done.stdout.strip())


def _take(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        reason = f"{error.filename} can't be removed: {error.strerror}."
        raise GreenlightError(f"{reason} Fix: {cure(error.errno, path)}") from None


def _refuse_processes(layout: Layout) -> None:
    """Stop if something else still runs as the app's user: it may need what is to be removed next."""
    running = foreign_processes(layout)
    if running:
        raise GreenlightError(
            f"{layout.app} no longer accepts requests, but its account still runs other processes on this host:"
            f" {', '.join(running)}. Its directories were not removed. Fix: stop them (systemctl status {running[0]}"
            " says what the first one is), or wait until they end, and run again."
        )


def _remove_claim(layout: Layout) -> None:
    """Remove /etc/<app> with stamp and record in one rename: without these, nobody would own the rest."""
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
        # overlayfs can't rename a directory that came with the image.
        remove(layout.environment_id)
        _take(layout.etc)
    _take(left_over(layout))
