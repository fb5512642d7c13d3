# SPDX-License-Identifier: GPL-3.0-or-later
"""Source: one exact state of the app's code, named by its digest; packed on the controller, unpacked on the host.

A directory is packed as git would see it: tracked and new files, without those that .gitignore names. From git, a
commit is fetched with its submodules. Both ways produce the same files and reject Git LFS pointers; :mod:`.tree` checks
the links of both.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from . import git
from . import tree
from .workshop import Step, StepFailed, workshop
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import NOT_INSTALLED, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED, make_directory, remove
from .hand_over import move_files
from .instance import INSTANCE
from .tree import Entry, RefusedError, named

#: What Git LFS leaves in place of a file, and the maximum size of such a pointer.
_POINTER = re.compile(rb"version https://[\w./-]+/spec/v1\r?\n(ext-.*\n)*oid sha256:[0-9a-f]{64}\r?\nsize \d+\s*")
_POINTER_BYTES = 1024
#: Names that are never included: git's own files, and bytecode, which is made on the host.
_NEVER_INCLUDED = (".git", "__pycache__")
#: Seconds for the bytecode of a source.
COMPILE_SECONDS = 300


def list_files(directory: Path, include: Sequence[str] = ()) -> list[str]:
    """Return the relative paths that git would track, and those that ``include`` names, sorted.

    Args:
        directory: the source.
        include: patterns as in :func:`_included`, for files that git ignores.

    Raises:
        GreenlightError: the directory, git or a submodule is missing, or there are no files.
    """
    if not directory.is_dir():
        raise GreenlightError(f"there is no directory {directory}")
    asked = run([*git.GIT, "-C", directory, "rev-parse", "--is-inside-work-tree"])
    if asked.code == NOT_INSTALLED:
        raise GreenlightError("git is not installed on the machine you deploy from. Install it (apt install git)")
    inside = asked.stdout.strip() == "true"
    ignored = inside and run([*git.GIT, "-C", directory, "check-ignore", "--quiet", "."]).code == 0
    names = _ls_files(directory, []) if inside and not ignored else _ls_files_of_plain_directory(directory)
    found = sorted({*_with_submodules(directory, names), *_included(directory, include)})
    if not found:
        raise GreenlightError(f"{directory} contains no file that git would track")
    return found


def _ls_files(directory: Path, options: list[str]) -> list[str]:
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = run([*git.GIT, *options, "-C", directory, *listing], errors="surrogateescape")
    if done.code != 0:
        raise GreenlightError(f"git ls-files failed in {directory}: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


def _ls_files_of_plain_directory(directory: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as git_directory:
        run([*git.GIT, "init", "--quiet", "--bare", "--template=", git_directory])
        options = [f"--git-dir={git_directory}", f"--work-tree={directory.resolve()}"]
        return [name for name in _ls_files(directory, options) if ".git" not in PurePosixPath(name).parts]


def _with_submodules(directory: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            place = name.rstrip("/")
            if not any(path.iterdir()):
                raise RefusedError(
                    f"the submodule {named([place])} is not checked out in {directory}",
                    "Check it out: git submodule update --init --recursive",
                )
            # Without its own repository, git would use the one around it, and list the same directory again.
            inner = list_files(path) if (path / ".git").exists() else _ls_files_of_plain_directory(path)
            yield from (f"{place}/{each}" for each in inner)
        elif path.is_symlink() or path.exists():
            yield name


def pattern_is_fit(pattern: str) -> bool:
    """Say whether a pattern names a path below the source."""
    parts = pattern.rstrip("/").split("/")
    return not any(part in ("", ".", "..", *_NEVER_INCLUDED) for part in parts) and pattern.isprintable()


def _included(directory: Path, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the files and links that a pattern names, or that are in a directory it names; follow no link.

    A pattern is a path with ``*``, ``?`` and ``[...]`` in its names, and ``**`` for any number of directories.
    """
    waiting = [("", {tuple(pattern.rstrip("/").split("/")) for pattern in patterns})] if patterns else []
    while waiting:
        place, wanted = waiting.pop()
        # "**/x" also matches "x" right here.
        wanted |= {rest[1:] for rest in wanted if rest[0] == "**" and rest[1:]}
        try:
            listed = sorted(os.scandir(directory / place), key=lambda each: each.name)
        except OSError as error:
            raise GreenlightError(f"{named([place])} can't be read: {error.strerror}") from error
        for each in listed:
            here = {rest for rest in wanted if rest[0] == "**" or fnmatch.fnmatchcase(each.name, rest[0])}
            whole = any(rest[1:] == () for rest in here)
            below: set[tuple[str, ...]] = {rest if rest[0] == "**" else rest[1:] for rest in here}
            if each.name in _NEVER_INCLUDED or not here:
                continue
            if each.is_dir(follow_symlinks=False):
                waiting.append((f"{place}{each.name}/", {("**",)} if whole else below))
            elif whole:
                yield f"{place}{each.name}"


def entries(directory: Path, names: list[str]) -> list[Entry]:
    """Describe the files.

    Raises:
        RefusedError: an entry is neither file nor link, or :func:`.tree.check` rejects the tree.
    """
    found, others = [], []
    for name in names:
        status = (directory / name).lstat()
        if stat.S_ISLNK(status.st_mode):
            # The literal target, for the digest.
            found.append(Entry(name, False, os.readlink(directory / name)))  # noqa: PTH115
        elif stat.S_ISREG(status.st_mode):
            found.append(Entry(name, bool(status.st_mode & stat.S_IXUSR), None))
        else:
            others.append(name)
    if others:
        raise RefusedError(f"{named(others)}: neither a file nor a link", "Remove it from the source.")
    tree.check(found, leads_out=(INSTANCE,))
    return found


def take(
    directory: Path, include: Sequence[str] = (), static: Collection[str] = (), *, to_be_made: bool = False
) -> list[Entry]:
    """List and describe the files of a directory that a deploy ships.

    Args:
        directory: the source.
        include: patterns of files to ship although git ignores them.
        static: directories that Nginx is to serve.
        to_be_made: whether a hook may still make what these two name.

    Raises:
        GreenlightError: see :func:`list_files` and :func:`entries`; or a variable names something that isn't shipped,
            or Git LFS left a pointer in place of a file.
    """
    listed = entries(directory, list_files(directory, include))
    for pattern in () if to_be_made else include:
        if not any(True for _ in _included(directory, [pattern])):
            what = f"flask_app_source_include has {pattern}, but {directory} contains nothing that matches"
            raise RefusedError(what, "Create it before you deploy, or remove the entry.")
    for place in () if to_be_made else static:
        if not tree.holds(listed, place):
            what, cure = "no such directory", "Create it, or give its path from the top, as in guestbook/static."
            if (directory / place).is_dir():
                what, cure = "nothing there that git tracks", f"Add {place} to flask_app_source_include, or to git."
            raise RefusedError(f"flask_app_nginx_static has {place}, but {directory} contains {what}", cure)
    _refuse_pointers(directory, listed, "Fetch the files: git lfs pull")
    return listed


def _refuse_pointers(directory: Path, listed: Collection[Entry], cure: str) -> None:
    found = []
    with tree.Below(directory) as below:
        for entry in listed:
            if entry.target is None:
                with below.open(entry.path) as file:
                    if _POINTER.fullmatch(file.read(_POINTER_BYTES)):
                        found.append(entry.path)
    if found:
        raise RefusedError(f"{named(found)}: a Git LFS pointer instead of the file", cure)


def digest(directory: Path, listed: list[Entry]) -> str:
    """Return SHA-256 over path, kind, executable bit and content of each entry, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    with tree.Below(directory) as below:
        for entry in listed:
            if entry.target is None:
                with below.open(entry.path) as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                kind = "x" if entry.executable else "f"
            else:
                content, kind = entry.target, "l"
            total.update(f"{kind}\0{entry.path}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def pack(directory: Path, listed: list[Entry], archive: Path) -> None:
    """Write the entries to a compressed tar: owned by root, 0644 or 0755, with their times (for Nginx's ETags)."""
    with tarfile.open(archive, "w:gz", compresslevel=3) as tar, tree.Below(directory) as below:
        for entry in listed:
            info = tarfile.TarInfo(entry.path)
            info.uname = info.gname = "root"
            info.mode = 0o755 if entry.executable else 0o644
            if entry.target is None:
                with below.open(entry.path) as content:
                    status = os.fstat(content.fileno())
                    info.size, info.mtime = status.st_size, status.st_mtime
                    tar.addfile(info, content)
            else:
                info.type, info.linkname = tarfile.SYMTYPE, entry.target
                info.mtime = (directory / entry.path).lstat().st_mtime
                tar.addfile(info)


def unpack(archive: Path, expected: str, sources: Path, python: str) -> None:
    """Unpack a source below ``sources`` under its digest; it appears complete or not at all.

    Raises:
        GreenlightError: the archive differs from what was packed.
    """
    unfinished = _begun(sources, expected)
    try:
        arrived = digest(unfinished, _extract({"": archive}, unfinished))
    except (GreenlightError, FileNotFoundError) as error:
        arrived = str(error)
    if arrived != expected:
        remove(unfinished)
        raise GreenlightError("The source that arrived on the host differs from the one that was packed. Run again.")
    finish(unfinished, sources / expected, python)


def _begun(sources: Path, name: str) -> Path:
    unfinished = sources / f"{UNFINISHED}{name}"
    make_directory(sources)
    remove(unfinished)
    make_directory(unfinished)
    return unfinished


def git_digest(commit: str, subdirectory: str) -> str:
    """Return the digest of a commit's tree: SHA-256 over the commit's id and its chosen directory."""
    return hashlib.sha256(f"git\0{commit}\0{subdirectory}".encode()).hexdigest()


def export(remote: git.Remote, commit: str, subdirectory: str, sources: Path, python: str) -> None:
    """Put a commit with its submodules below ``sources`` under its digest; it appears complete or not at all.

    Raises:
        GreenlightError: the repository has no such commit, the commit no such directory, or it can't be deployed.
    """
    name = git_digest(commit, subdirectory)
    unfinished = _begun(sources, name)
    try:
        store = git.fetch(remote, commit)
        parts = git.parts(remote, store, commit, subdirectory.strip("/"))
        with tempfile.TemporaryDirectory() as scratch:
            archives = {part.prefix: Path(scratch) / f"{number}.tar" for number, part in enumerate(parts)}
            for part in parts:
                git.archive(part, archives[part.prefix])
            # git archive gives a directory's files the current time. Nginx makes ETags of times, so use the commit's,
            # which is the same on all hosts.
            listed = _extract(archives, unfinished, git.committed(store, commit))
        cure = "Deploy from a directory after git lfs pull (flask_app_source_directory), or store them in git itself."
        _refuse_pointers(unfinished, listed, cure)
    except GreenlightError:
        remove(unfinished)
        raise
    git.remove_other_repositories(remote, parts)
    finish(unfinished, sources / name, python)


def files_of(source: Path) -> list[str]:
    """List the files and links of a source on the host, except those below a link."""
    return [
        str((Path(parent) / name).relative_to(source))
        for parent, directories, files in os.walk(source)
        for name in (*files, *(each for each in directories if (Path(parent) / each).is_symlink()))
    ]


def check_static(source: Path, static: Collection[str]) -> None:
    """Reject a source on the host that lacks a directory for Nginx to serve.

    Raises:
        RefusedError: with the directory's name.
    """
    for place in static:
        try:
            found = any(tree.directory_below(source, place).iterdir())
        except GreenlightError:
            found = False
        if not found:
            what = f"flask_app_nginx_static has {place}, but the commit contains no such directory"
            cure = "Commit it, or deploy from a directory where it was built (flask_app_source_directory)."
            raise RefusedError(what, cure)


def _extract(archives: Mapping[str, Path], directory: Path, time: float | None = None) -> list[Entry]:
    """Unpack archives, each below its prefix; set the time of all files to ``time`` (UNIX seconds) if given."""
    try:
        with ExitStack() as stack:
            tars = {prefix: stack.enter_context(tarfile.open(archive)) for prefix, archive in archives.items()}
            members = [(prefix, member) for prefix, tar in tars.items() for member in tar.getmembers()]
            listed = [(_entry(prefix, each), tars[prefix], each) for prefix, each in members if not each.isdir()]
            others = [entry.path for entry, _, each in listed if not (each.isreg() or each.issym())]
            if others:
                raise RefusedError(f"{named(others)}: neither a file nor a link", "Remove it from the source.")
            directories = [prefix + each.name for prefix, each in members if each.isdir()]
            tree.check([entry for entry, _, _ in listed], directories, leads_out=(INSTANCE,))
            # Links last, so that there is none while a file is written.
            below = stack.enter_context(tree.Below(directory))
            for entry, tar, member in sorted(listed, key=lambda each: each[0].target is not None):
                content = tar.extractfile(member) if entry.target is None else None
                below.write(entry, content or io.BytesIO(), member.mtime if time is None else time)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise GreenlightError(f"The source can't be unpacked: {error}") from error
    return [entry for entry, _, _ in listed]


def _entry(prefix: str, member: tarfile.TarInfo) -> Entry:
    executable = member.isreg() and bool(member.mode & stat.S_IXUSR)
    return Entry(prefix + member.name, executable, member.linkname if member.issym() else None)


def finish(unfinished: Path, destination: Path, python: str) -> None:
    """Compile the modules (the app can't write bytecode itself) and give the source its name.

    The compiler only reads the code: the bytecode is made elsewhere and then moved.
    """
    home = destination.parents[1]
    with workshop(home.name, destination.with_name(f"{destination.name}.bytecode"), home, python) as shop:
        step = Step(
            "compiling", [python, "-I", "-X", f"pycache_prefix={shop.target}", "-m", "compileall", "-q", destination]
        )
        # A module that doesn't compile may never be imported; the candidate will show it.
        with suppress(StepFailed):
            shop.perform([step], seconds=COMPILE_SECONDS, reads={unfinished: destination})
        shop.finish()
        bytecode = shop.tree / str(destination).lstrip("/")
        if bytecode.is_dir():  # a source may have no module
            move_files(bytecode, unfinished, ".pyc")
    unfinished.rename(destination)
