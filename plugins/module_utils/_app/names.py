# SPDX-License-Identifier: GPL-3.0-or-later
"""Names on a host: what an app's name claims, what else already uses it, and the record of what the role made.

An app gets its name if nothing on the host uses it; the record says so, and is written before anything it names.
Whatever gets that name later, such as the app's own data, belongs to the app.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, mount_points, read, shown
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding

from . import accounts, systemd
from .layout import Layout

#: Accounts and groups of Debian's base system (base-passwd, sysusers.d).
_ACCOUNTS = """
    adm audio backup bin cdrom crontab daemon dialout dip disk fax floppy games gnats input irc kmem kvm list lp mail
    man messagebus netdev news nobody nogroup operator plugdev polkitd proxy render root sasl sgx shadow src ssh sshd
    staff sudo sync sys systemd-journal systemd-network systemd-resolve systemd-timesync tape tty users utmp uucp video
    voice www-data
"""
#: Directories of Debian and systemd in the places where apps have theirs. Some appear late, such as /var/lib/private
#: with the first service that has DynamicUser=.
_SYSTEM = """
    alternatives apparmor apt confexts credentials credstore cron dbus debconf default dpkg extensions host initctl
    initramfs journal lock log machines misc mount netns opt pam polkit-1 portables private python python3 resolvconf
    shm ssl system systemd ucf udev user
"""
#: What the role installs, its own names, and "http": the variable $http_host of such an app would be Nginx's own.
_OF_THE_ROLE = "certbot greenlight http letsencrypt logrotate nginx openssl"
RESERVED = frozenset(f"{_ACCOUNTS} {_SYSTEM} {_OF_THE_ROLE}".split())

#: Where systemd finds units and drop-ins (systemd.unit(5), unit search path).
UNIT_DIRECTORIES = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "run/systemd/generator.late",
)
#: Further paths that reveal somebody else's service or account with the app's name.
_OF_OTHERS = (
    "etc/letsencrypt/archive/{}",
    "etc/letsencrypt/live/{}",
    "etc/letsencrypt/renewal/{}.conf",
    "etc/logrotate.d/{}",
    "var/cache/private/{}",
    "var/lib/systemd/linger/{}",
    "var/lib/private/{}",
    "var/log/private/{}",
    "var/mail/{}",
    "var/spool/cron/crontabs/{}",
)


def paths(layout: Layout) -> tuple[Path, ...]:
    """Return the paths that the app's name alone claims; names of units include a release's id."""
    return (
        layout.etc,
        layout.srv,
        layout.state,
        layout.cache,
        layout.logs,
        layout.runtime_root,
        layout.root / f"etc/nginx/sites-enabled/{layout.app}.conf",
    )


def nginx_logs(layout: Layout) -> list[Path]:
    """Return the logs of the app's site, including the rotated ones."""
    directory = layout.root / "var/log/nginx"
    name = re.compile(rf"{layout.app}\.(access|error)\.log([-.][0-9]+)*(\.(gz|bz2|xz|zst))?\Z")
    return sorted(path for path in directory.glob(f"{layout.app}.*") if name.match(path.name))


def parts(layout: Layout) -> list[str]:
    """Return all entries that the record of an app can have."""
    return [*(_on_host(layout, path) for path in paths(layout)), *accounts.PARTS]


def in_use(layout: Layout) -> list[str]:
    """Return, in words, what uses the app's name on a host that the app hasn't claimed."""
    candidates = [*paths(layout), *(layout.root / each.format(layout.app) for each in _OF_OTHERS), *nginx_logs(layout)]
    candidates += [*_shared_sites(layout), *_units(layout), *_at_work(layout)]
    found = [shown(path) for path in candidates if _is_there(path) and not _is_empty_disk(layout, path)]
    return [*found, *accounts.present(layout.app)]


def reserved(name: str) -> Finding:
    """Return the finding for a name in :data:`RESERVED`."""
    what = f"flask_app_name is {name!r}, a name of Debian's base system, of systemd or of this role itself."
    return Finding("reserved-name", ERROR, "flask_app_name", what, "Choose another flask_app_name.")


def problems(layout: Layout) -> list[Finding]:
    """Return what is wrong with the app's name on this host, which has no stamp for it."""
    if layout.made.exists() or layout.environment_id.exists():
        what = (
            f"{layout.environment_id} is missing or empty. It must contain the name of the environment that this host"
            f" belongs to for {layout.app}."
        )
        return [Finding("lost-stamp", ERROR, str(layout.environment_id), what, "Write the environment's name into it.")]
    taken = in_use(layout)
    if not taken:
        return []
    what = (
        f"flask_app_name is {layout.app}, but this host already has {', '.join(taken)}, which this role did not make."
    )
    fix = "Choose another flask_app_name, or remove what is no longer needed."
    return [Finding("name-in-use", ERROR, "flask_app_name", what, fix)]


def record(layout: Layout) -> str:
    """Return the text of the record of an app that claims its names now.

    Leave out disks that somebody has mounted for the app: they aren't ours to remove.
    """
    mounted = mount_points(layout.root)
    disks = {_on_host(layout, path) for path in paths(layout) if path in mounted}
    return json.dumps([part for part in parts(layout) if part not in disks], indent=2) + "\n"


def recorded(layout: Layout) -> frozenset[str]:
    """Return those of :func:`parts` that the role made on this host.

    Raises:
        GreenlightError: the record is missing, or can't be read.
    """
    try:
        found = json.loads(read(layout.made) or "")
        return frozenset(parts(layout)) & frozenset(found)
    except (ValueError, TypeError, RecursionError, OSError, Damaged):
        raise GreenlightError(
            f"{layout.made} can't be read, so it is unknown what this role made here for {layout.app}. Nothing was"
            f" removed. Fix: deploy {layout.app} once more to restore the record."
        ) from None


def is_recorded(layout: Layout) -> bool:
    """Say whether there is a readable record."""
    try:
        recorded(layout)
    except GreenlightError:
        return False
    return True


def made(layout: Layout, path: Path, of: frozenset[str]) -> bool:
    """Say whether ``path`` is in the record."""
    return _on_host(layout, path) in of


def _on_host(layout: Layout, path: Path) -> str:
    return f"/{path.relative_to(layout.root)}"


def _shared_sites(layout: Layout) -> Iterator[Path]:
    """Yield what sites of other apps serve under this app's name, and what this app's own site would serve."""
    shared = layout.root / "etc/nginx/sites-shared"
    yield from (directory / f"{layout.app}.conf" for directory in sorted(shared.glob("*/*")))
    yield from sorted(shared.glob(f"{layout.app}/*/*"))


def _units(layout: Layout) -> Iterator[Path]:
    """Yield unit files, drop-in directories and links with the app's name, and those of all instances."""
    for place in UNIT_DIRECTORIES:
        for pattern in (f"{layout.app}.*", *layout.unit_globs):
            for directory in ("", "*.wants/", "*.requires/"):
                yield from sorted((layout.root / place).glob(directory + pattern))


def _at_work(layout: Layout) -> Iterator[Path]:
    """Yield what runs under the app's name, even if its unit file is gone."""
    slices = layout.root / "sys/fs/cgroup/system.slice"
    yield from sorted(slices.glob(f"{layout.app}.*"))
    yield from (slices / name for name in systemd.slices_of(layout))


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _is_empty_disk(layout: Layout, path: Path) -> bool:
    """Say whether ``path`` is an empty disk, mounted for the app before its first deploy."""
    if path not in (layout.srv, layout.state) or not path.is_dir() or path not in mount_points(layout.root):
        return False
    return {entry.name for entry in path.iterdir()} <= {"lost+found"}
