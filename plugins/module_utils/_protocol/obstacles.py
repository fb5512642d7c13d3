# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what would stop a removal halfway or break something else, before anything is touched."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts, systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
    locked_down,
    mount_points,
    shown,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._edge import acme, nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import apps_inside

from .removal import cure, foreign_processes, is_open, paths_to_remove, shared_paths_to_remove


def obstacles(layout: Layout, tree: nginx.Tree, change: nginx.Change, made: frozenset[str]) -> Iterator[Finding]:
    """Yield what would stop the removal halfway, or break something that isn't the app's."""
    app = layout.app
    to_remove = [*paths_to_remove(layout, made), layout.runtime_root, layout.etc, *shared_paths_to_remove(layout)]
    mounted = [path for path in mount_points(layout.root) if any(place in (path, *path.parents) for place in to_remove)]
    for path in map(shown, mounted):
        what = f"A file system is mounted at {path}, and its content would be removed with {app}."
        yield Finding("mounted", ERROR, path, what, f"Unmount it (umount {path}), and run again.")
    for place in to_remove:
        if place.is_dir() and os.statvfs(place).f_flag & os.ST_RDONLY:
            what = f"{place} is on a read-only file system."
            yield Finding("read-only", ERROR, str(place), what, cure(errno.EROFS, place))
        locked = locked_down(place)
        if locked:
            what = f"{locked} is protected from removal (lsattr -d shows it)."
            yield Finding("protected", ERROR, str(locked), what, cure(errno.EPERM, place))
    for path, package in _packaged(layout, to_remove):
        what = f"{path} belongs to Debian's package {package}."
        yield Finding("packaged", ERROR, path, what, f"Remove the package first: apt purge {package}")
    yield from _site_problems(layout, tree, change)
    running = foreign_processes(layout)
    if running:
        what = f"The account of {app} still runs processes that are not part of {app}: {', '.join(running)}."
        fix = f"Stop them (systemctl status {running[0]} says what the first one is), and run again."
        yield Finding("foreign-process", ERROR, app, what, fix)
    guests = accounts.others_in_group(app) if "group" in made else []
    if guests:
        what = f"The group {app} is the primary group of {', '.join(guests)}, so it can't be removed."
        fix = f"Give the account another primary group: usermod --gid <group> {guests[0]}"
        yield Finding("group-in-use", ERROR, app, what, fix)
    certbot = acme.Certbot(layout.root)
    if acme.forget(certbot, layout, dry=True) and not shutil.which("certbot"):
        what = f"certbot is no longer installed, but its certificate {app} must be removed with the app."
        fix = f"Install it (apt install certbot), or remove {certbot.settings(layout)}, and run again."
        yield Finding("no-certbot", ERROR, "certbot", what, fix)


def _packaged(layout: Layout, to_remove: Sequence[Path]) -> list[tuple[str, str]]:
    """Return which paths belong to a package, such as one with the app's name that was installed later."""
    paths = [f"/{path.relative_to(layout.root)}" for path in to_remove]
    rows = [line.partition(": ") for line in run(["dpkg-query", "--search", *paths]).stdout.splitlines()]
    return [(path, packages) for packages, _, path in rows if path in paths]


def _site_problems(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> list[Finding]:
    """Find what other sites use of the app, and test Nginx's configuration without its site."""
    inside = apps_inside(tree, layout.app)
    if inside:
        what = f"The site of {layout.app} also serves {', '.join(inside)} (flask_app_nginx_site_of)."
        fix = "Remove these apps first, or deploy them with their own sites."
        return [Finding("guest-in-site", ERROR, layout.app, what, fix)]
    if not tree.installed:
        return []
    used = _used_elsewhere(layout, tree, change)
    if used:
        what = f"Other Nginx sites still use what is removed with {layout.app}: {'; '.join(used)}."
        return [Finding("used-by-nginx", ERROR, "nginx", what, "Remove these references, and run again.")]
    try:
        nginx.check(tree, change, [])
    except Damaged as damage:
        return list(damage.findings)
    except Refused as error:
        sound = _is_sound(tree)
        # A configuration that is already broken only matters if Nginx has to read it.
        if sound or (is_open(layout, tree, change) and systemd.state("nginx.service").is_running):
            what = "\n".join([f"Without the site of {layout.app}:", *(each.what for each in error.findings)])
            return [Finding("refused-by-nginx", ERROR, "nginx", what, "Correct that file, and run again.")]
    return []


def _used_elsewhere(layout: Layout, tree: nginx.Tree, change: nginx.Change) -> list[str]:
    """Return where other sites use the app's upstreams, variables or paths, each with file and line.

    Nginx's own test doesn't find all of them: it resolves a name that isn't an upstream in the DNS, and accepts missing
    paths.
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
        for number, line in enumerate(text.splitlines()):  # line 0 is the rest of the heading
            match = wanted.search(comment.sub("", line))
            if match:
                found.append(f"{match.group()} in {shown(path)}:{number}")
    return found


def _is_sound(tree: nginx.Tree) -> bool:
    try:
        nginx.check(tree, {}, [])
    except Refused:
        return False
    return True
