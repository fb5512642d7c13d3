# SPDX-License-Identifier: GPL-3.0-or-later
"""Run git so that neither variables nor repositories can turn it against us.

There is no work tree: a commit is fetched into a bare repository, which is a cache, and read from there as an archive.
A submodule's address comes from the tree. It is trusted less than the one in the inventory, so it can't name a path on
this host.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import NOT_INSTALLED, Finished, require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import make_directory, remove, write
from .tree import RefusedError, named

#: A git hook (githooks(5)) may have started the deploy; its variables would lead git to the hook's own repository.
_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
#: A clone may belong to another account than the one that deploys (git-config(1), safe.directory), so git must run
#: nothing that the clone's configuration names.
GIT = (
    "env", *(f"-u{name}" for name in _HOOK),
    "git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
)  # fmt: skip
#: Seconds for listing a repository's refs, and for fetching from it.
ASK_SECONDS = 120
FETCH_SECONDS = 1800
#: Maximum number of packs in a cache; each fetch adds one.
_PACKS = 30
#: Maximum number of submodules of a commit, nested ones included.
_SUBMODULES = 200
#: With these, an archive has the same files as a directory, even those that .gitattributes excludes. No filter runs.
_ATTRIBUTES = "* -export-ignore -filter\n"
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)"
_USER = r"([A-Za-z0-9_][A-Za-z0-9._-]*@)?"
_PATH = r"[^\x00-\x1f\x7f-\x9f]"
_REMOTE_URL = re.compile(
    rf"(https://{_HOST}(:\d+)?/|(ssh|git)://{_USER}{_HOST}(:\d+)?/|{_USER}{_HOST}:(?![-:]|//)){_PATH}+\Z"
)
_LOCAL_URL = re.compile(rf"(file://)?/{_PATH}+\Z")
#: As git-check-ref-format(1) says; patterns are excluded.
_REF = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{|/\.|\.lock(/|\Z)))[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])\Z")
URLS = "https://, ssh://, git@host:path, git://, file:// or an absolute path"


def url_is_fit(url: str, *, local: bool) -> bool:
    """Say whether an address is safe to pass to git: not an option, a program (``ext::``) or plain HTTP.

    Args:
        url: the address.
        local: whether it may be a path on this host.
    """
    return bool(_REMOTE_URL.match(url) or (local and _LOCAL_URL.match(url)))


def ref_is_fit(ref: str) -> bool:
    return bool(_REF.match(ref))


def require_fit(url: str, ref: str) -> None:
    """Reject what is unsafe to pass to git; see :func:`url_is_fit` and :func:`ref_is_fit`."""
    if not url_is_fit(url, local=True):
        raise GreenlightError(f"flask_app_source_git_url is not a valid git address. Use {URLS}.")
    if not ref_is_fit(ref):
        raise GreenlightError("flask_app_source_git_ref is not a valid git ref. Name a branch, tag or commit.")


@dataclass(frozen=True)
class Remote:
    """A repository elsewhere.

    Args:
        url: its address.
        key_file: a private key on this host for SSH, or empty.
        cache: directory of the bare repositories that keep what was fetched.
        protocols: protocols that git may use.
    """

    url: str
    key_file: str
    cache: Path
    protocols: str = "https:ssh:git:file"

    @property
    def store(self) -> Path:
        return self.cache / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def environment(self) -> dict[str, str]:
        key = f" -o IdentitiesOnly=yes -i {shlex.quote(self.key_file)}" if self.key_file else ""
        return {
            "GIT_ALLOW_PROTOCOL": self.protocols,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": f"ssh -o BatchMode=yes{key}",
        }


@dataclass(frozen=True)
class Part:
    """A commit whose files are part of a source: the repository that has it, and where its files belong."""

    store: Path
    tree: str
    prefix: str


def is_installed() -> bool:
    return run([*GIT, "--version"]).code != NOT_INSTALLED


def resolve(remote: Remote, ref: str) -> str:
    """Return the commit that a branch, a tag or a full commit id names.

    Raises:
        GreenlightError: the repository can't be read, or has no such name.
    """
    if COMMIT.match(ref):
        return ref
    wanted = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"{ref}^{{}}", ref]
    listing = [*GIT, "ls-remote", "--quiet", "--", remote.url, *wanted]
    done = run(listing, seconds=ASK_SECONDS, environment=remote.environment())
    if done.code != 0:
        raise GreenlightError(f"The git repository can't be read (exit code {done.code}):\n{_last_output(done)}")
    found = dict(line.split("\t")[::-1] for line in done.stdout.splitlines() if "\t" in line)
    commits = [found[name] for name in wanted if name in found]
    if not commits:
        raise GreenlightError(
            f"flask_app_source_git_ref is {ref}, but the repository has no such branch or tag. Name a branch, a tag or"
            " a full commit id."
        )
    return commits[0]


def fetch(remote: Remote, commit: str) -> Path:
    """Fetch a commit into the cache, without its history; return the repository that has it.

    Rebuild a cache that a killed run left damaged. If a server doesn't serve single commits, fetch everything.

    Raises:
        GreenlightError: the commit can't be fetched.
    """
    store = remote.store
    if len(list(store.glob("objects/pack/*.pack"))) > _PACKS:
        remove(store)
    fresh = not store.is_dir()
    one = ["--depth=1", "--", remote.url, f"+{commit}:refs/greenlight/{commit}"]
    everything = ["--", remote.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    said = Finished(0, "", "")
    for rebuild, what in ((False, one), *(() if fresh else ((True, one),)), (True, everything)):
        if rebuild:
            remove(store)
        _make(store)
        if holds(store, commit):
            return store
        options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head"]
        command = [*GIT, "-c", "fetch.unpackLimit=1", "-C", str(store), "fetch", *options, *what]
        done = run(command, seconds=FETCH_SECONDS, environment=remote.environment())
        said = said if said.stderr else done
        if done.code == 0 and holds(store, commit):
            return store
    raise GreenlightError(f"Commit {commit} can't be fetched from the git repository:\n{_last_output(said)}")


def _last_output(done: Finished) -> str:
    """Return the end of git's output, without a server's control characters."""
    return "\n".join(named([line]) for line in done.output.splitlines()[-20:])


def _make(store: Path) -> None:
    if not (store / "info/attributes").is_file():
        remove(store)
        make_directory(store.parent, 0o700)
        require([*GIT, "init", "--quiet", "--bare", "--template=", str(store)], "making the cache of the git repository")
        write(store / "info/attributes", _ATTRIBUTES)


def holds(store: Path, commit: str) -> bool:
    return run([*GIT, "-C", str(store), "cat-file", "-e", f"{commit}^{{tree}}"]).code == 0


def parts(remote: Remote, store: Path, commit: str, subdirectory: str) -> list[Part]:
    """Return a commit, or one directory of it, with all nested submodules, all of them fetched.

    Raises:
        GreenlightError: a submodule has no address, or an unsafe one, or can't be fetched.
    """
    at, place = _Commit(remote, store, commit), ""
    while subdirectory:  # it may be in a submodule
        around = [each for each in at.submodules("") if f"{subdirectory}/".startswith(f"{each[0]}/")]
        if not around:
            break
        path, inner = around[0]
        at, place = at.submodule(path, inner, f"{place}{path}"), f"{place}{path}/"
        subdirectory = subdirectory[len(path) + 1 :]
    found = {"": Part(at.store, f"{at.id}:{subdirectory}" if subdirectory else at.id, "")}
    waiting = [(at, subdirectory, "")]
    while waiting:
        at, inside, prefix = waiting.pop()
        for path, inner in at.submodules(inside):
            if len(found) > _SUBMODULES:
                raise RefusedError(f"The source has more than {_SUBMODULES} submodules", "Leave some out.")
            below = f"{prefix}{path}/"
            if below in found:
                raise RefusedError(f"{named([prefix + path])} is twice in the source", "Make it one submodule.")
            other = at.submodule(f"{inside}/{path}".strip("/"), inner, f"{prefix}{path}")
            found[below] = Part(other.store, inner, below)
            waiting.append((other, "", below))
    return list(found.values())


@dataclass(frozen=True)
class _Commit:
    """A fetched commit: its remote and the repository that has it."""

    remote: Remote
    store: Path
    id: str

    def submodules(self, inside: str) -> Iterator[tuple[str, str]]:
        """Yield path and commit of each submodule in a directory of the tree."""
        tree = f"{self.id}:{inside}"
        command = [*GIT, "-C", str(self.store), "ls-tree", "-r", "-z", tree]
        for line in require(command, f"reading {tree}", errors="surrogateescape").stdout.split("\0"):
            if line.startswith("160000 "):
                about, _, path = line.partition("\t")
                yield path, about.split()[2]

    def submodule(self, path: str, commit: str, shown: str) -> _Commit:
        """Fetch the submodule at ``path`` in the whole tree; messages call it ``shown``."""
        url = _address(self.store, self.id, path, self.remote.url)
        if not url_is_fit(url, local=False):
            why = "an unsafe address in .gitmodules" if url else "no address in .gitmodules"
            raise RefusedError(
                f"The submodule {named([shown])} has {why}",
                "Use an address with https:// or ssh://, or deploy from a directory that contains the submodule"
                " (flask_app_source_directory).",
            )
        remote = Remote(url, self.remote.key_file, self.remote.cache, "https:ssh:git")
        try:
            return _Commit(remote, fetch(remote, commit), commit)
        except GreenlightError as error:
            raise GreenlightError(f"The submodule {named([shown])} can't be fetched: {error}") from error


def _address(store: Path, commit: str, path: str, above: str) -> str:
    """Return the address of the submodule at ``path`` in .gitmodules, or an empty text."""
    options = ["config", "--blob", f"{commit}:.gitmodules", "--no-includes", "-z", "--get-regexp", r"^submodule\."]
    done = run([*GIT, "-C", str(store), *options], errors="surrogateescape")
    settings = dict(line.split("\n", 1) for line in done.stdout.split("\0") if "\n" in line)
    names = [name for name, value in settings.items() if name.endswith(".path") and value.rstrip("/") == path]
    url = settings.get(names[-1].removesuffix("path") + "url", "") if names else ""
    return _resolve_relative(above, url) if re.match(r"\.\.?/", url) else url


def _resolve_relative(above: str, url: str) -> str:
    """Resolve a submodule's relative address as git does (gitmodules(5))."""
    above = above.rstrip("/")
    while match := re.match(r"(\.\.?)/+", url):
        url = url[match.end() :]
        if match[1] == "..":
            cut = max(above.rfind("/"), above.rfind(":"))
            above, joint = (above[:cut], above[cut]) if cut >= 0 else ("", "/")
            if joint == ":":
                return f"{above}:{url}"
    return f"{above}/{url}"


def committed(store: Path, commit: str) -> float:
    """Return when a commit was made (UNIX seconds)."""
    log = [*GIT, "-C", str(store), "log", "--max-count=1", "--format=%ct", commit, "--"]
    return float(require(log, f"reading commit {commit}").stdout)


def archive(part: Part, file: Path) -> None:
    """Write a part of a source to a tar.

    Raises:
        GreenlightError: the cache is damaged. It is removed, so the next run fetches again.
    """
    command = [*GIT, "-c", "tar.umask=0022", "-C", str(part.store), "archive", "--format=tar", "--output", str(file)]
    try:
        require([*command, part.tree], f"reading {part.tree} from the git repository")
    except GreenlightError:
        remove(part.store)
        raise


def remove_other_repositories(remote: Remote, used: Iterable[Part]) -> None:
    """Remove the repositories from the cache that a source doesn't need."""
    stores = {remote.store, *(part.store for part in used)}
    for store in remote.cache.iterdir():
        if store not in stores:
            remove(store)
