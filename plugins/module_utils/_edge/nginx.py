# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of Nginx's configuration as a transaction.

Stage: Nginx itself tests a copy of the whole tree with the change. Swap: replace each file atomically. Reload: wait for
new workers. If anything fails, restore the old tree. A marker says that a swap was begun but not confirmed yet, so that
the next run repairs what a killed one has left.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished, require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    Damaged,
    HeldElsewhere,
    exclusively,
    link,
    occupied,
    read_facts,
    readable,
    remove,
    remove_unfinished,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused

#: Seconds to wait for another app's change: if one of two concurrent changes failed, it would undo the other.
LOCK_SECONDS = 60
#: Seconds within which new workers must appear after a reload.
RELOAD_SECONDS = 15
_INCLUDE = re.compile(r"""(?:^|[{};])\s*include\s+["']?([^\s;"']+)""", re.MULTILINE)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """Nginx on this host.

    Args:
        etc: its configuration.
        state: directory with the markers of the last confirmed changes.
        nginx: the program.
    """

    etc: Path = Path("/etc/nginx")
    state: Path = Path("/var/lib/greenlight/nginx")
    nginx: str = "/usr/sbin/nginx"

    @property
    def installed(self) -> bool:
        return Path(self.nginx).exists() and (self.etc / "nginx.conf").exists()


#: Path of a file, relative to the tree -> its new content, or None to remove it.
Change = Mapping[str, "str | None"]


@dataclass(frozen=True)
class Pointer:
    """The link to a certificate, outside of the tree but used by sites, which changes in the same transaction.

    Args:
        path: the link.
        target: the directory that it is to point to.
    """

    path: Path
    target: Path

    @property
    def moved(self) -> bool:
        """Whether it already points there."""
        return self.path.is_symlink() and self.path.readlink() == self.target


@dataclass(frozen=True)
class Watch:
    """Checks that a change doesn't make anything unreachable.

    Args:
        page: how to request the changed site; kept in its marker, because the next change may use another page.
        before: takes the page of the current site, empty if unknown; returns what is reachable, as JSON. Empty means
            that nothing is, so nothing can be lost.
        after: takes what was reachable before; returns why it no longer is, or an empty text.
    """

    page: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _page: {}
    after: Callable[[Mapping[str, Any]], str] = lambda _seen: ""


@dataclass(frozen=True)
class _Kept:
    """What a change replaces. The marker keeps it until the change is confirmed, in case the run is killed.

    Args:
        files: as in a :data:`Change`.
        links: those of the files that are links -> their targets.
        pointed: target of the pointer, or empty.
        marker: content of the marker before.
        seen: what was reachable.
        written: shared file -> what this change, and killed ones before it, wrote there.
    """

    files: dict[str, str | None]
    links: dict[str, str]
    pointed: str
    marker: dict[str, Any]
    seen: dict[str, Any]
    written: dict[str, list[str | None]] = field(default_factory=dict)


def pending(tree: Tree, change: Change) -> dict[str, tuple[str, str]]:
    """Return what would change: relative path -> (content before, content after); a missing file is empty."""
    found = {}
    for name, after in change.items():
        before = readable(tree.etc / name)
        if before != after and not (after is None and not _exists(tree.etc / name)):
            found[name] = (before or "", after or "")
    return found


def included(tree: Tree) -> dict[Path, str]:
    """Return the files that Nginx reads, by following include directives, with their texts without comments."""
    found: dict[Path, str] = {}
    waiting = [tree.etc / "nginx.conf"]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found[path] = _COMMENT.sub("", path.read_text(encoding="utf-8", errors="replace"))
            for pattern in _INCLUDE.findall(found[path]):
                # As in Nginx itself, a star doesn't match hidden files, such as those that are being written.
                waiting += map(Path, glob.glob(str(tree.etc / pattern)))  # noqa: PTH207  # pathlib's would
    return found


def check(tree: Tree, change: Change, server_names: Sequence[str], pointer: Pointer | None = None) -> None:
    """Test the tree with the change, as if ``pointer`` already pointed to its target; change nothing.

    Raises:
        GreenlightError: Nginx rejects it, naming file and line; or another site has one of ``server_names``. Nginx
            itself only warns about that and ignores the second site.
        Damaged: a directory with files is in the place of one of Greenlight's files.
    """
    for path in (tree.etc / name for name in change):
        if occupied(path):
            raise Damaged(path, "it is a directory with files in it")
    with _staged(tree, change, {f"{pointer.path}/": f"{pointer.target}/"} if pointer else {}) as stage:
        done = run([tree.nginx, "-t", "-c", stage / "nginx.conf"])
        _judge(done, _mine(change, pointer), server_names, lambda text: text.replace(str(stage), str(tree.etc)))


def files(tree: Tree) -> dict[Path, str]:
    """Return the text of each file that Nginx reads; empty if it rejects one."""
    with _staged(tree, {}, {}) as stage:
        dump = run([tree.nginx, "-T", "-c", stage / "nginx.conf"]).stdout.replace(str(stage), str(tree.etc))
    _, *parts = re.split(r"^# configuration file (.+):$", dump, flags=re.MULTILINE)
    return {Path(path): text for path, text in zip(parts[::2], parts[1::2], strict=True)}


@contextmanager
def _staged(tree: Tree, change: Change, moves: Mapping[str, str]) -> Iterator[Path]:
    """Make a copy of the tree with the change, and with private logs and a private pid file."""
    with tempfile.TemporaryDirectory(prefix="greenlight-nginx-") as directory:
        stage = Path(directory) / "nginx"
        (Path(directory) / "log").mkdir()
        _copy(tree.etc, stage)
        for name, content in change.items():
            path = stage / name
            remove(path)
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        _rewrite(stage, tree.etc, Path(directory), moves)
        yield stage


def apply(
    tree: Tree,
    app: str,
    change: Change,
    server_names: Sequence[str],
    pointer: Pointer | None = None,
    *,
    stale: bool = False,
    watch: Watch | None = None,
) -> bool:
    """Apply an app's change to the running Nginx and move ``pointer`` with it; say whether anything was done.

    Args:
        stale: whether Nginx is known to use something older than what is on disk.
        watch: checks what must stay reachable.

    Raises:
        GreenlightError: see :func:`check`; or no new workers appeared after the reload, or ``watch`` failed. The old
            tree is restored.
    """
    try:
        with exclusively(tree.state / "lock", LOCK_SECONDS):
            return _apply(tree, app, change, server_names, pointer, stale=stale, watch=watch or Watch())
    except HeldElsewhere:
        raise busy() from None


def _apply(
    tree: Tree,
    app: str,
    change: Change,
    server_names: Sequence[str],
    pointer: Pointer | None,
    *,
    stale: bool,
    watch: Watch,
) -> bool:
    marker = _marker(tree, app)
    digest = _digest(change, pointer)
    confirmed = json.dumps({"confirmed": digest, **({"page": dict(watch.page)} if watch.page else {})})
    noted = _noted(marker)
    settled = not stale and not pending(tree, change) and (not pointer or pointer.moved)
    if settled and noted.get("confirmed") == digest and _is("active") and _is("enabled"):
        write(marker, confirmed)
        return False
    check(tree, change, server_names, pointer)
    kept = _kept(tree, app, change, pointer, watch)
    # Not readable for others: it contains files that others may not be allowed to read.
    write(marker, json.dumps({"begun": digest, "kept": asdict(kept)}), 0o600)
    for directory in {(tree.etc / name).parent for name in change}:
        remove_unfinished(directory)
    try:
        _swap(tree, change, server_names, pointer)
        lost = watch.after(kept.seen) if kept.seen else ""
    except (GreenlightError, OSError):
        _take_back(tree, kept, pointer, marker)
        raise
    if lost:
        loaded = _take_back(tree, kept, pointer, marker)
        how = "" if loaded else ", but Nginx has not loaded it yet (systemctl status nginx says why)"
        what = f"The change of the site was reverted, and the previous site is restored{how}: {lost}"
        raise refused("site-taken-back", app, what)
    write(marker, confirmed)
    return True


def _swap(tree: Tree, change: Change, server_names: Sequence[str], pointer: Pointer | None) -> None:
    if pointer:
        link(pointer.path, str(pointer.target))
    _put(tree, change)
    _judge(run([tree.nginx, "-t"]), _mine(change, pointer), server_names, str)
    _load()


def busy() -> Refused:
    """Return the error for a change that has to wait for another app's change."""
    what = "Another app is changing the Nginx configuration of this host."
    return refused("nginx-busy", "nginx", what, "Run again in a minute.")


def noted_page(tree: Tree, app: str) -> dict[str, Any]:
    """Return how to request the confirmed site of an app; empty if unknown."""
    page = _noted(_marker(tree, app)).get("page")
    return page if isinstance(page, dict) else {}


def confirmed(tree: Tree, app: str, change: Change) -> bool:
    """Say whether Nginx uses the files of a change, and no other change of the app was begun since."""
    return "confirmed" in _noted(_marker(tree, app)) and not pending(tree, change) and _is("active")


def _marker(tree: Tree, app: str) -> Path:
    return tree.state / f"{app}.json"


def _noted(marker: Path) -> dict[str, Any]:
    with suppress(Damaged):
        return read_facts(marker) or {}
    return {}


def _kept(tree: Tree, app: str, change: Change, pointer: Pointer | None, watch: Watch) -> _Kept:
    """Return the current state; for what a killed change has replaced, return the state before that change."""
    noted = _noted(_marker(tree, app))
    written: dict[str, list[str | None]] = {name: [text] for name, text in change.items() if not _is_own(name, app)}
    files = {name: readable(tree.etc / name, "surrogateescape") for name in change}
    links = {name: str((tree.etc / name).readlink()) for name in change if (tree.etc / name).is_symlink()}
    pointed = str(pointer.path.readlink()) if pointer and pointer.path.is_symlink() else ""
    killed = _unconfirmed(noted)
    if killed:
        old = {name: text for name, text in killed.files.items() if _is_to_restore(tree, app, name, killed)}
        files.update(old)
        links = {name: target for name, target in links.items() if name not in old}
        links.update((name, target) for name, target in killed.links.items() if name in old)
        for name in old.keys() & killed.written.keys():  # this change may be killed before it writes them, too
            written[name] = [*killed.written[name], *written.get(name, [])]
        return _Kept(files, links, killed.pointed or pointed, killed.marker, killed.seen, written)
    page = noted.get("page")
    # If a site was never confirmed, it is unknown whether Nginx has loaded it from these files.
    seen = {} if "begun" in noted else watch.before(page if isinstance(page, dict) else {})
    return _Kept(files, links, pointed, noted, seen, written)


def _is_own(name: str, app: str) -> bool:
    """Say whether a file belongs to the app alone: its site, or its part in the site of another."""
    return name.startswith("sites-") and Path(name).name == f"{app}.conf"


def _is_to_restore(tree: Tree, app: str, name: str, killed: _Kept) -> bool:
    """Say whether a file that a killed change replaced may still be restored: a shared file has other users.

    Don't restore it if somebody or another app has changed it since: they may rely on what the killed change wrote.
    """
    if _is_own(name, app):
        return True
    begun = _marker(tree, app).stat().st_mtime_ns
    if any(path.stat().st_mtime_ns > begun for path in tree.state.glob("*.json")):
        return False
    there = readable(tree.etc / name, "surrogateescape")
    return there in [*killed.written.get(name, []), killed.files[name]]


def _unconfirmed(noted: Mapping[str, Any]) -> _Kept | None:
    """Return what a change replaced that was begun and neither confirmed nor reverted."""
    try:
        kept = _Kept(**noted["kept"])
        texts = [*kept.files, *filter(None, kept.files.values()), *kept.links, *kept.links.values(), kept.pointed]
        texts += [text for each in kept.written.values() for text in each if text is not None]
        facts = [kept.marker, kept.seen]
    except (KeyError, TypeError, AttributeError):
        return None
    sound = all(isinstance(each, str) for each in texts) and all(isinstance(each, dict) for each in facts)
    return kept if sound else None


def _take_back(tree: Tree, kept: _Kept, pointer: Pointer | None, marker: Path) -> bool:
    """Restore what was there before, the marker last; say whether Nginx has loaded it."""
    if pointer and kept.pointed:
        link(pointer.path, kept.pointed)
    _put(tree, {name: content for name, content in kept.files.items() if name not in kept.links})
    for name, target in kept.links.items():
        remove(tree.etc / name)
        (tree.etc / name).symlink_to(target)
    loaded = False
    if run([tree.nginx, "-t"]).code == 0 and _is("active"):
        with suppress(GreenlightError):
            _load()
            loaded = True
    with suppress(OSError):  # e.g. a full disk: the next change then treats this one as killed, with the same result
        if not loaded:
            page = {"page": kept.marker["page"]} if "page" in kept.marker else {}
            write(marker, json.dumps({"begun": "", **page}))
        elif kept.marker:
            write(marker, json.dumps(kept.marker))
        else:
            remove(marker)
    return loaded


def stock_default_site(tree: Tree) -> bool:
    """Say whether Debian's own default site is enabled and unchanged, so that ours may replace it."""
    enabled = tree.etc / "sites-enabled/default"
    return enabled.is_symlink() and stock(enabled)


def stock(path: Path) -> bool:
    """Say whether a file is unchanged since Debian's package was installed (dpkg-query(1): digests of conffiles)."""
    if not path.exists():
        return False
    done = run(["dpkg-query", "--show", "--showformat=${Conffiles}\n", "nginx-common", "nginx"])
    known = dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) > 1)
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return known.get(str(path.resolve())) == digest


def _load() -> None:
    if not _is("enabled"):
        require(["systemctl", "enable", "--quiet", "nginx"], "systemctl enable nginx")
    if not _is("active"):
        require(["systemctl", "start", "nginx"], "systemctl start nginx")
        return
    main = run(["systemctl", "show", "nginx", "--property=MainPID", "--value"]).stdout.strip()
    before = _workers(main)
    require(["systemctl", "reload", "nginx"], "systemctl reload nginx")
    deadline = time.monotonic() + RELOAD_SECONDS
    while not _workers(main) - before:
        if time.monotonic() > deadline:
            log = readable(Path("/var/log/nginx/error.log")) or ""
            # Match the position of [emerg]: Nginx also logs requests, which may contain it.
            why = [line for line in log.splitlines() if re.match(r"\S+ \S+ \[emerg\] ", line)][-1:]
            what = (
                f"Nginx was reloaded, but no new worker process appeared within {RELOAD_SECONDS} seconds. The previous"
                f" configuration is restored. {''.join(why)}".strip()
            )
            raise refused("nginx-not-reloaded", "nginx", what, "Read the end of /var/log/nginx/error.log on the host.")
        time.sleep(0.05)
    # The old workers accept connections a little longer, and answer as before.
    while _workers(main) & before and time.monotonic() < deadline:
        time.sleep(0.02)


def _workers(main: str) -> set[int]:
    """Return the process ids of the workers of ``main`` that accept connections (not those that are shutting down)."""
    found = set()
    for name in (readable(Path(f"/proc/{main}/task/{main}/children")) or "").split():
        title = readable(Path(f"/proc/{name}/cmdline")) or ""
        if title.startswith("nginx: worker process") and "shutting down" not in title:
            found.add(int(name))
    return found


def _is(state: str) -> bool:
    """Say whether systemd calls Nginx ``active`` or ``enabled``."""
    return run(["systemctl", f"is-{state}", "--quiet", "nginx"]).code == 0


def _put(tree: Tree, change: Change) -> None:
    for name, content in change.items():
        if content is None:
            remove(tree.etc / name)
        else:
            write(tree.etc / name, content)


def _mine(change: Change, pointer: Pointer | None) -> list[str]:
    """Return the texts by which Nginx's messages refer to this change."""
    written = [name for name, content in change.items() if content is not None]
    return [*(f"/{name}:" for name in written), *([f"{pointer.target}/"] if pointer else [])]


def _judge(done: Finished, mine: Sequence[str], server_names: Sequence[str], readable: Callable[[str], str]) -> None:
    text = readable(done.output)
    if done.code != 0:
        reasons = [line for line in text.splitlines() if "[emerg]" in line] or text.splitlines()
        ours = any(name in line for name in mine for line in reasons)
        named = any(re.search(r"""(?:^|[\s"'])/\w""", line) for line in reasons)
        what = "Nginx rejects the configuration. Nothing was changed."
        fix = "Correct that file first: it does not belong to this app." if named and not ours else ""
        small = re.search(r"you should increase (?:either )?(\w+)", text)
        if small:
            fix = f"Raise {small[1]} in the file that sets it; find it with: grep -rn {small[1]} /etc/nginx"
        if ours and "duplicate location" in text:
            fix = "Choose another flask_app_url_prefix: another app of this site is served below the same path."
        if "duplicate default server" in text:
            fix = (
                "Set flask_app_nginx_default_server: false, because another site is already the default server, and"
                " remove old files /etc/nginx/sites-enabled/00-default-*.conf."
            )
        raise refused("refused-by-nginx", "nginx", "\n".join([what, *reasons]), fix)
    if 'conflicting server name "_"' in text and any("/00-default-" in name for name in mine):
        what = (
            "Another site of this host's Nginx answers for all unknown names (server_name _) and would stop doing so."
        )
        fix = "To keep it, set flask_app_nginx_default_server: false."
        raise refused("default-server-taken", "flask_app_nginx_default_server", what, fix)
    taken = sorted(set(re.findall(r'conflicting server name "([^"]+)"', text)) & set(server_names))
    if taken:
        what = (
            f"flask_app_server_names has {', '.join(taken)}, but another site of this host's Nginx already serves it"
            " on the same port."
        )
        fix = "Choose another name, or remove that site (nginx -T shows it)."
        raise refused("name-taken", "flask_app_server_names", what, fix)


def _copy(source: Path, target: Path) -> None:
    """Copy the tree and follow links; keep a broken link, because Nginx would fail on it, too."""
    target.mkdir()
    for entry in source.iterdir():
        copy = target / entry.name
        if entry.is_symlink() and not entry.exists():
            copy.symlink_to(entry.readlink())
        elif entry.is_dir():
            _copy(entry, copy)
        elif entry.is_file():
            shutil.copyfile(entry, copy)


def _rewrite(stage: Path, etc: Path, directory: Path, moves: Mapping[str, str]) -> None:
    """Make absolute paths in the copy point into the copy, and logs and the pid file to ``directory``.

    ``moves`` maps further paths, old to new.
    """
    for path in stage.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        moved = text.replace(f"{etc}/", f"{stage}/").replace("/var/log/nginx/", f"{directory}/log/")
        moved = re.sub(r"^(\s*pid\s+)[^;]+;", rf"\g<1>{directory}/nginx.pid;", moved, flags=re.MULTILINE)
        for old, new in moves.items():
            moved = moved.replace(old, new)
        for name in re.findall(r"/var/log/nginx/([^\s;\"']+)/", text):  # a site may have its own log directory
            (directory / "log" / name).mkdir(parents=True, exist_ok=True)
        if moved != text:
            path.write_text(moved, encoding="utf-8")


def _digest(change: Change, pointer: Pointer | None) -> str:
    written = {name: content for name, content in change.items() if content is not None}
    if pointer:
        written[str(pointer.path)] = str(pointer.target)
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()
