# SPDX-License-Identifier: GPL-3.0-or-later
"""Find damage to an app's state on a host: each fault names a path and how to repair it.

:class:`~.store.Releases` checks whether a release is complete. This module checks what all releases share, and owners.
"""

from __future__ import annotations

import grp
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import names
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout, is_environment_name
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    AWAY,
    UNFINISHED,
    Damaged,
    discard,
    entries,
    is_ours,
    kind,
    make_directory,
    occupied,
    own,
    read,
    read_facts,
    remove,
    rename,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, Refused, refused
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import is_complete

from .stamp import KEY_BYTES, lost_stamp, stamped
from .store import (
    BAD,
    COMMANDED,
    PROVED,
    Releases,
)

#: As in the socket unit (SocketMode=, SocketGroup=).
SOCKET_MODE, SOCKET_GROUP = 0o660, "www-data"
_KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}\s*\Z")
_REHEARSAL = re.compile(r'"([0-9a-f]{32})" 1;\n\Z')


@dataclass(frozen=True)
class Fault:
    """A damaged part of the state.

    Args:
        path: where it is.
        what: what is wrong, as in "is missing".
        repair: repairs it; None if that needs somebody on the host.
        fix: what to do in that case.
    """

    path: Path
    what: str
    repair: Callable[[], object] | None = None
    fix: str = ""

    @property
    def finding(self) -> Finding:
        return Finding("damaged-state", ERROR, str(self.path), f"{self.path} {self.what}.", self.fix)


def directories(layout: Layout) -> dict[Path, int]:
    """Return the directories that a claim makes, with their modes."""
    return {
        layout.etc: 0o755,
        layout.environment_files: 0o700,
        layout.srv: 0o755,
        layout.sources: 0o755,
        layout.venvs: 0o755,
        layout.releases: 0o755,
    }


def is_rest_of_removal(layout: Layout) -> bool:
    """Say whether only the last part of a removal is left, because the run was killed."""
    return entries(layout.etc) == [layout.made] and not Releases(layout).names()


def rehearsal_word(layout: Layout) -> str:
    """Return the secret word with which Nginx routes a request to the candidate.

    Raises:
        Damaged: it can't be read.
    """
    match = _REHEARSAL.match(_text(layout.rehearsal))
    if not match:
        raise Damaged(layout.rehearsal, "it does not contain a word", "Deploy with site.yml, which makes a new one.")
    return match.group(1)


def breaks_site(layout: Layout) -> bool:
    """Say whether Nginx rejects its configuration because of the file with this word, which a claim recreates."""
    return os.path.lexists(layout.rehearsal) and not _REHEARSAL.match(_text(layout.rehearsal))


def faults(layout: Layout, environment: str, *, publishes: bool = True) -> list[Fault]:
    """Return all damage, in the order in which it is repaired.

    Args:
        environment: the stamp for a host without one.
        publishes: whether the site will be published, too.
    """
    found = [
        # The stamp comes first: without it nothing here is ours.
        _stamp(layout, environment),
        _file(layout.made, 0o600, names.is_recorded(layout), partial(_make_record, layout)),
        *(_directory(*each) for each in directories(layout).items()),
        _file(layout.digest_key, 0o600, bool(_KEY.match(_text(layout.digest_key))), partial(_make_key, layout)),
        _file(layout.rehearsal, 0o600, bool(_REHEARSAL.match(_text(layout.rehearsal))), partial(_make_word, layout)),
        _ledger(layout),
        *_releases(layout),
        *_code(layout),
        *(_link(path) for path in (layout.live, layout.live_socket, layout.previous, layout.candidate_socket)),
        *(_in_the_way(path) for path in (layout.trial, layout.rollback)),
        *(_edge(layout) if publishes else ()),
        *_run(layout),
    ]
    return [fault for fault in found if fault]


def _directory(path: Path, mode: int) -> Fault | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Fault(path, "is missing", lambda: make_directory(path, mode))
    if not stat.S_ISDIR(status.st_mode):
        return Fault(path, f"is {kind(status.st_mode)}, not a directory", fix=_real_directory(path, status))
    if stat.S_IMODE(status.st_mode) != mode or not is_ours(status):
        return Fault(path, f"must belong to root with mode {mode:04o}", lambda: make_directory(path, mode))
    return None


def _real_directory(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"Replace the link with a directory. To have it on another disk: mount --bind <directory> {path}"
    return AWAY


def _file(path: Path, mode: int, sound: bool, make: Callable[[], object]) -> Fault | None:
    """Check a file that can be recreated."""
    if occupied(path):
        return _in_the_way(path)
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Fault(path, "is missing", make)
    if not stat.S_ISREG(status.st_mode):
        return Fault(path, f"is {kind(status.st_mode)}, not a file", make)
    if not sound:
        return Fault(path, "is damaged", make)
    return _owned(path, status, mode)


def _owned(path: Path, status: os.stat_result, mode: int) -> Fault | None:
    if stat.S_IMODE(status.st_mode) == mode and is_ours(status):
        return None
    return Fault(path, f"must belong to root with mode {mode:04o}", lambda: own(path, mode))


def _in_the_way(path: Path) -> Fault | None:
    return Fault(path, "is a directory with files in it", fix=AWAY) if occupied(path) else None


def _stamp(layout: Layout, environment: str) -> Fault | None:
    path = layout.environment_id
    try:
        stamp = stamped(layout)
    except Damaged as damage:
        return Fault(path, f"can't be used: {damage.why}", fix=damage.fix)
    lost = lost_stamp(layout)
    if lost:
        return Fault(path, lost.why.removeprefix("it "), fix=lost.fix)
    if stamp is None:
        return Fault(path, "is missing", partial(_take_name, layout, environment))
    return _file(path, 0o644, True, lambda: write(path, f"{stamp}\n"))


def _take_name(layout: Layout, environment: str) -> None:
    """Make stamp and record in one rename: from then on the name is ours, even if the run is killed."""
    if not is_environment_name(environment):
        what = "flask_app_environment can't be used as a host's stamp. Nothing of the app was created."
        raise refused("unfit-environment", "flask_app_environment", what, "Use one word of at most 100 characters.")
    reserved = layout.app in names.RESERVED
    found = [names.reserved(layout.app)] if reserved else names.problems(layout)
    if found:
        raise Refused(*found, heading=f"{layout.app} can't be deployed to this host. Nothing of it was created.")
    unfinished = layout.etc.with_name(f"{UNFINISHED}{layout.app}")
    remove(unfinished)
    make_directory(unfinished)
    write(unfinished / layout.made.name, names.record(layout), 0o600)
    write(unfinished / layout.environment_id.name, f"{environment}\n")
    rename(unfinished, layout.etc)


def _make_record(layout: Layout) -> None:
    write(layout.made, names.record(layout), 0o600)


def _make_key(layout: Layout) -> None:
    write(layout.digest_key, secrets.token_hex(KEY_BYTES) + "\n", 0o600)


def _make_word(layout: Layout) -> None:
    # Nginx still has the old word in memory. Without the marker, the site is published again.
    remove(layout.site_marker)
    write(layout.rehearsal, f'"{secrets.token_hex(16)}" 1;\n', 0o600)


def _ledger(layout: Layout) -> Fault | None:
    """Check the ledger, which exists after the first deploy. Its content is never recreated."""
    path = layout.ledger
    if occupied(path):
        return _in_the_way(path)
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return Fault(path, "is a link, not a file", fix="Replace the link with the file itself.")
    if not stat.S_ISREG(status.st_mode):
        return Fault(path, f"is {kind(status.st_mode)}, not a file", lambda: discard(path))
    return _owned(path, status, 0o644)


def _releases(layout: Layout) -> Iterator[Fault | None]:
    """Check the marks and owners of the releases. A deploy replaces a damaged release."""
    releases = Releases(layout)
    for name in releases.names():
        home = layout.release(name)
        yield from (_mark(home / mark) for mark in (PROVED, BAD, COMMANDED) if os.path.lexists(home / mark))
        if releases.get(name):
            directories, files = releases.parts(name)
            yield from (_owned(path, path.lstat(), mode) for path, mode in {**directories, **files}.items())
            yield from (_link(home / part) for part in ("source", "venv"))


def _code(layout: Layout) -> Iterator[Fault | None]:
    """Check who owns the directories of sources and venvs. Verify compares their content."""
    venvs = filter(is_complete, entries(layout.venvs))
    for path in (*entries(layout.sources), *venvs):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and not is_ours(status) and not path.name.startswith(UNFINISHED):
            yield Fault(path, "must belong to root with everything in it", partial(_take_ownership, path))


def _take_ownership(top: Path) -> None:
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files):
            own(Path(parent, name))
    own(top)  # last, so that the fault is still detected after a killed run


def _mark(path: Path) -> Fault | None:
    """Check a mark: it still counts without its content, but then a live release must be proved again."""
    try:
        sound = read_facts(path) is not None
    except Damaged:
        sound = False
    return _file(path, 0o600, sound, lambda: write(path, "{}\n", 0o600))


def _link(path: Path) -> Fault | None:
    """Check who owns a link. Its target is checked by a deploy, and corrected by the switch."""
    if not path.is_symlink():
        return _in_the_way(path)
    return None if is_ours(path.lstat()) else Fault(path, "must belong to root", lambda: own(path))


def _run(layout: Layout) -> Iterator[Fault | None]:
    """Check the directory of the sockets, which systemd makes with the first socket, and the live socket."""
    if os.path.lexists(layout.runtime_root):
        yield _directory(layout.runtime_root, 0o755)
    path = layout.socket(Releases(layout).live())
    if is_socket(path):
        status, group = path.lstat(), socket_group()
        if stat.S_IMODE(status.st_mode) != SOCKET_MODE or not is_ours(status) or status.st_gid != group:
            what = f"must belong to root:{SOCKET_GROUP} with mode {SOCKET_MODE:04o}"
            yield Fault(path, what, lambda: own(path, SOCKET_MODE, group))


def is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def socket_group() -> int:
    try:
        return grp.getgrnam(SOCKET_GROUP).gr_gid
    except KeyError:  # without Nginx's package
        return os.getegid()


def _edge(layout: Layout) -> Iterator[Fault | None]:
    """Check what would keep the site from being published; Nginx checks the content of its files."""
    if os.path.lexists(layout.tls):
        yield _directory(layout.tls, 0o755)
    site = layout.root / f"etc/nginx/sites-enabled/{layout.app}.conf"
    drop_in = layout.units / "nginx.service.d/greenlight.conf"
    yield from map(_in_the_way, (layout.certificate, layout.site_marker, site, drop_in))


def _text(path: Path) -> str:
    try:
        return read(path) or ""
    except Damaged:
        return ""
