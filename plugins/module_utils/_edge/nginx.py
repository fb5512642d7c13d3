# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of Nginx's configuration as a transaction.

Staged: a copy of the whole tree with the change in it is tested by Nginx itself. Swapped: each file is replaced whole.
Reloaded: and new workers are seen. If anything fails, the tree is as it was. A marker says that a swap was begun and
not yet confirmed, so that the next run repairs what a killed one has left.
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

#: Seconds to wait for another app's change: two at once would each undo the other's where it fails.
LOCK_SECONDS = 60
#: Seconds within which a reload must have brought new workers.
RELOAD_SECONDS = 15
_INCLUDE = re.compile(r"""(?:^|[{};])\s*include\s+["']?([^\s;"']+)""", re.MULTILINE)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """Nginx on this host.

    Args:
        etc: its configuration.
        state: where the marker of the last confirmed change is kept.
        nginx: the program.
    """

    etc: Path = Path("/etc/nginx")
    state: Path = Path("/var/lib/greenlight/nginx")
    nginx: str = "/usr/sbin/nginx"

    @property
    def installed(self) -> bool:
        return Path(self.nginx).exists() and (self.etc / "nginx.conf").exists()


#: Path of a file below the tree (relative) -> its new content, or None: the file goes.
Change = Mapping[str, "str | None"]


@dataclass(frozen=True)
class Pointer:
    """A link outside of the tree that sites name, moved in the same transaction: that of a certificate.

    Args:
        path: the link.
        target: the directory that it shall lead to.
    """

    path: Path
    target: Path

    @property
    def moved(self) -> bool:
        """Whether it leads there already."""
        return self.path.is_symlink() and self.path.readlink() == self.target


@dataclass(frozen=True)
class Watch:
    """Sees that a change keeps reachable what was reachable before it.

    Args:
        page: how the site is asked once it is changed; kept in its marker, as the next change may ask otherwise.
        before: takes the page of the site as it is, empty where that isn't known; returns what is reached, as JSON.
            Empty: nothing, so that nothing can be lost.
        after: takes what was reached before; returns why it isn't reached any more, or an empty text.
    """

    page: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _page: {}
    after: Callable[[Mapping[str, Any]], str] = lambda _seen: ""


@dataclass(frozen=True)
class _Kept:
    """What a change replaces: it is in the marker until the change is confirmed, for whoever ends it after a kill.

    Args:
        files: as in a :data:`Change`.
        links: those of the files that are links -> where to.
        pointed: where the pointer leads; empty: nowhere.
        marker: what the marker was.
        seen: what was reached.
        written: of the files that apps share: what this change, and killed ones before it, put there.
    """

    files: dict[str, str | None]
    links: dict[str, str]
    pointed: str
    marker: dict[str, Any]
    seen: dict[str, Any]
    written: dict[str, list[str | None]] = field(default_factory=dict)


def pending(tree: Tree, change: Change) -> dict[str, tuple[str, str]]:
    """Return what would differ: relative path -> (content before, content after), an absent file being empty."""
    found = {}
    for name, after in change.items():
        before = readable(tree.etc / name)
        if before != after and not (after is None and not _exists(tree.etc / name)):
            found[name] = (before or "", after or "")
    return found


def included(tree: Tree) -> dict[Path, str]:
    """Return the files that Nginx reads, as their include directives name them, with their texts without comments."""
    found: dict[Path, str] = {}
    waiting = [tree.etc / "nginx.conf"]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found[path] = _COMMENT.sub("", path.read_text(encoding="utf-8", errors="replace"))
            for pattern in _INCLUDE.findall(found[path]):
                # As in Nginx itself, a star leaves out hidden files, such as those that are being written.
                waiting += map(Path, glob.glob(str(tree.etc / pattern)))  # noqa: PTH207  # pathlib's takes them
    return found


def check(tree: Tree, change: Change, server_names: Sequence[str], pointer: Pointer | None = None) -> None:
    """Test the tree with the change in it, and as if ``pointer`` led to its target, touching nothing.

    Raises:
        GreenlightError: Nginx refuses it, naming file and line; or another site owns one of ``server_names``, which
            Nginx itself only warns about before it ignores the second site.
        Damaged: a directory with files is where one of ours belongs.
    """
    for path in (tree.etc / name for name in change):
        if occupied(path):
            raise Damaged(path, "it is a directory with files in it")
    with _staged(tree, change, {f"{pointer.path}/": f"{pointer.target}/"} if pointer else {}) as stage:
        done = run([tree.nginx, "-t", "-c", stage / "nginx.conf"])
        _judge(done, _mine(change, pointer), server_names, lambda text: text.replace(str(stage), str(tree.etc)))


def files(tree: Tree) -> dict[Path, str]:
    """Return the text of each file that Nginx reads; of none where it refuses one."""
    with _staged(tree, {}, {}) as stage:
        told = run([tree.nginx, "-T", "-c", stage / "nginx.conf"]).stdout.replace(str(stage), str(tree.etc))
    _, *parts = re.split(r"^# configuration file (.+):$", told, flags=re.MULTILINE)
    return {Path(path): text for path, text in zip(parts[::2], parts[1::2], strict=True)}


@contextmanager
def _staged(tree: Tree, change: Change, moves: Mapping[str, str]) -> Iterator[Path]:
    """Make a copy of the tree with the change in it, whose logs and pid file are nobody's."""
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
    """Make the change of an app, live, and move ``pointer`` with it; say whether anything was done.

    Args:
        stale: Nginx is known to be at work with something older than what is on disk.
        watch: what must be kept.

    Raises:
        GreenlightError: see :func:`check`; or the reload brought no new workers, or ``watch`` lost what was reached
            before. The old tree is back.
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
    # Not for all: a file that its owner has closed to others is in it.
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
        how = "" if loaded else ", though Nginx has not loaded it yet (systemctl status nginx says why)"
        what = f"The changed site was taken back, and the one before is there again{how}: {lost}"
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
    """Return the error for a change that can't be made because another app's is under way."""
    what = "Another app's change of Nginx is at work on this host."
    return refused("nginx-busy", "nginx", what, "Run again in a minute.")


def noted_page(tree: Tree, app: str) -> dict[str, Any]:
    """Return how the confirmed site of an app is asked; empty where that isn't known."""
    page = _noted(_marker(tree, app)).get("page")
    return page if isinstance(page, dict) else {}


def confirmed(tree: Tree, app: str, change: Change) -> bool:
    """Say whether Nginx is at work with the files of a change, and no change of the app was begun since."""
    return "confirmed" in _noted(_marker(tree, app)) and not pending(tree, change) and _is("active")


def _marker(tree: Tree, app: str) -> Path:
    return tree.state / f"{app}.json"


def _noted(marker: Path) -> dict[str, Any]:
    with suppress(Damaged):
        return read_facts(marker) or {}
    return {}


def _kept(tree: Tree, app: str, change: Change, pointer: Pointer | None, watch: Watch) -> _Kept:
    """Return what is there, as far as no killed change has replaced it: of that, what was there before."""
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
        for name in old.keys() & killed.written.keys():  # it may be killed before it writes them, too
            written[name] = [*killed.written[name], *written.get(name, [])]
        return _Kept(files, links, killed.pointed or pointed, killed.marker, killed.seen, written)
    page = noted.get("page")
    # Of a site that was never confirmed nobody knows whether Nginx has it from these files.
    seen = {} if "begun" in noted else watch.before(page if isinstance(page, dict) else {})
    return _Kept(files, links, pointed, noted, seen, written)


def _is_own(name: str, app: str) -> bool:
    """Say whether a file is the app's alone: its site, or its part in that of another."""
    return name.startswith("sites-") and Path(name).name == f"{app}.conf"


def _is_to_restore(tree: Tree, app: str, name: str, killed: _Kept) -> bool:
    """Say whether a file that a killed change kept may still be put back: a shared one has other users.

    Not if somebody has changed it since, nor if another app has: it may rely on just what the killed change wrote.
    """
    if _is_own(name, app):
        return True
    begun = _marker(tree, app).stat().st_mtime_ns
    if any(path.stat().st_mtime_ns > begun for path in tree.state.glob("*.json")):
        return False
    there = readable(tree.etc / name, "surrogateescape")
    return there in [*killed.written.get(name, []), killed.files[name]]


def _unconfirmed(noted: Mapping[str, Any]) -> _Kept | None:
    """Return what a change kept that was begun and neither confirmed nor taken back."""
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
    """Put back what was there, and its marker last; say whether Nginx is at work with it."""
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
    with suppress(OSError):  # as on a full disk: then the next change takes this one for killed, which ends the same
        if not loaded:
            page = {"page": kept.marker["page"]} if "page" in kept.marker else {}
            write(marker, json.dumps({"begun": "", **page}))
        elif kept.marker:
            write(marker, json.dumps(kept.marker))
        else:
            remove(marker)
    return loaded


def stock_default_site(tree: Tree) -> bool:
    """Say whether Debian's own default site is enabled and unchanged, so that it may give way to ours."""
    enabled = tree.etc / "sites-enabled/default"
    return enabled.is_symlink() and stock(enabled)


def stock(path: Path) -> bool:
    """Say whether a file is as Debian's package brought it (dpkg-query(1): the conffiles' digests)."""
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
            # By its place: a client may have the word in a request that Nginx quotes.
            why = [line for line in log.splitlines() if re.match(r"\S+ \S+ \[emerg\] ", line)][-1:]
            what = (
                f"Nginx was reloaded, and no new worker process came within {RELOAD_SECONDS} seconds; the configuration"
                f" is as it was before. {''.join(why)}".strip()
            )
            raise refused("nginx-not-reloaded", "nginx", what, "Read the end of /var/log/nginx/error.log on the host.")
        time.sleep(0.05)
    # The old ones accept connections for a moment longer, and answer as they did.
    while _workers(main) & before and time.monotonic() < deadline:
        time.sleep(0.02)


def _workers(main: str) -> set[int]:
    """Process ids of the workers of ``main`` that accept connections (not those that are shutting down)."""
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
    """What a message of Nginx about this change names."""
    written = [name for name, content in change.items() if content is not None]
    return [*(f"/{name}:" for name in written), *([f"{pointer.target}/"] if pointer else [])]


def _judge(done: Finished, mine: Sequence[str], server_names: Sequence[str], readable: Callable[[str], str]) -> None:
    text = readable(done.output)
    if done.code != 0:
        reasons = [line for line in text.splitlines() if "[emerg]" in line] or text.splitlines()
        ours = any(name in line for name in mine for line in reasons)
        named = any(re.search(r"""(?:^|[\s"'])/\w""", line) for line in reasons)
        what = "Nginx refuses the configuration. Nothing was changed."
        fix = "The fault is in a file that is not this app's: correct that first." if named and not ours else ""
        small = re.search(r"you should increase (?:either )?(\w+)", text)
        if small:
            fix = f"A file of this host sets {small[1]} too low: grep -rn {small[1]} /etc/nginx shows which."
        if ours and "duplicate location" in text:
            fix = "Another app of this site is served below the same path: choose another flask_app_url_prefix."
        if "duplicate default server" in text:
            fix = (
                "Another site is the default server already: set flask_app_nginx_default_server: false, and remove"
                " /etc/nginx/sites-enabled/00-default-*.conf where they are from a time before."
            )
        raise refused("refused-by-nginx", "nginx", "\n".join([what, *reasons]), fix)
    if 'conflicting server name "_"' in text and any("/00-default-" in name for name in mine):
        what = (
            "Another site of this host's Nginx answers for all names that no site has (server_name _), and would do so"
            " no more."
        )
        fix = "To leave that as it is, set flask_app_nginx_default_server: false."
        raise refused("default-server-taken", "flask_app_nginx_default_server", what, fix)
    taken = sorted(set(re.findall(r'conflicting server name "([^"]+)"', text)) & set(server_names))
    if taken:
        what = (
            f"flask_app_server_names holds {', '.join(taken)}, which another site of this host's Nginx already serves"
            " on the same port."
        )
        fix = "Choose another name, or remove that site (nginx -T shows it)."
        raise refused("name-taken", "flask_app_server_names", what, fix)


def _copy(source: Path, target: Path) -> None:
    """Copy the tree with links followed; a link to nowhere stays one, because Nginx would stumble over it too."""
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
    """Make absolute paths of the copy point into the copy; keep logs and the pid file of the test out of the way.

    ``moves`` are further paths, old to new.
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
        for name in re.findall(r"/var/log/nginx/([^\s;\"']+)/", text):  # a site may have a log directory of its own
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
