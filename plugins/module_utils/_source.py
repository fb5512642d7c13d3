# SPDX-License-Identifier: GPL-3.0-or-later
"""Source: one exact state of the app's code, named by its digest; packed on the controller, unpacked on the host.

A directory is packed as git would see it: tracked and new files, without those that .gitignore names.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.greenlight.flask.plugins.module_utils._build import Step, StepFailed, workshop
from ansible_collections.greenlight.flask.plugins.module_utils._command import NOT_INSTALLED, require, run
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import UNFINISHED, make_directory, remove
from ansible_collections.greenlight.flask.plugins.module_utils._hand_over import move_files

COMPILE_SECONDS = 300


@dataclass(frozen=True)
class Entry:
    """A file or link of a source: path relative to it, whether it is executable, link target or None."""

    path: str
    executable: bool
    target: str | None


def list_files(directory: Path) -> list[str]:
    """Return the relative paths that git would take, sorted.

    Raises:
        GreenlightError: no directory, no git program, or nothing in it.
    """
    if not directory.is_dir():
        raise GreenlightError(f"there is no directory {directory}")
    asked = run([*_GIT, "-C", directory, "rev-parse", "--is-inside-work-tree"])
    if asked.code == NOT_INSTALLED:
        raise GreenlightError("git is not installed on the machine you deploy from; install it (apt install git)")
    inside = asked.stdout.strip() == "true"
    ignored = inside and run([*_GIT, "-C", directory, "check-ignore", "--quiet", "."]).code == 0
    names = _ls_files(directory, []) if inside and not ignored else _ls_files_of_plain_directory(directory)
    found = sorted(set(_with_submodules(directory, names)))
    if not found:
        raise GreenlightError(f"{directory} holds no file that git would take")
    return found


#: A clone may belong to another account than the one that deploys (git-config(1), safe.directory); and a deploy may be
#: started by a git hook, whose variables (githooks(5)) would lead to the hook's own repository.
_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_GIT = ("env", *(f"-u{name}" for name in _HOOK), "git", "-c", "safe.directory=*")


def _ls_files(directory: Path, options: list[str]) -> list[str]:
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = run([*_GIT, *options, "-C", directory, *listing], errors="surrogateescape")
    if done.code != 0:
        raise GreenlightError(f"git ls-files failed in {directory}: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


def _ls_files_of_plain_directory(directory: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as git_directory:
        run([*_GIT, "init", "--quiet", "--bare", "--template=", git_directory])
        options = [f"--git-dir={git_directory}", f"--work-tree={directory.resolve()}"]
        return [name for name in _ls_files(directory, options) if ".git" not in PurePosixPath(name).parts]


def _with_submodules(directory: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            yield from (f"{name.rstrip('/')}/{inner}" for inner in list_files(path))
        elif path.is_symlink() or path.exists():
            yield name


def entries(directory: Path, names: list[str]) -> list[Entry]:
    """Describe the files.

    Raises:
        GreenlightError: a link that leaves the source, or something that is neither file nor link.
    """
    found = []
    for name in names:
        status = (directory / name).lstat()
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(directory / name)  # noqa: PTH115  # as it is written, for the digest
            if _leads_out(name, target):
                raise GreenlightError(f"{name} is a link that leads out of the source ({target}); make it a file")
            found.append(Entry(name, False, target))
        elif stat.S_ISREG(status.st_mode):
            found.append(Entry(name, bool(status.st_mode & stat.S_IXUSR), None))
        else:
            raise GreenlightError(f"{name} is neither a file nor a link; a source can't hold it")
    return found


def _leads_out(name: str, target: str = "") -> bool:
    """Say whether a path, or what the link at this path points at, is outside the source."""
    # An absolute target replaces what stands before it; an empty one leaves the directory of the path.
    ends = (PurePosixPath(os.path.normpath(end)) for end in (name, PurePosixPath(name).parent / target))
    return any(end.is_absolute() or end.parts[:1] == ("..",) for end in ends)


def digest(directory: Path, listed: list[Entry]) -> str:
    """SHA-256 over path, kind, executable bit and content of each entry, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for entry in listed:
        if entry.target is None:
            content = hashlib.sha256((directory / entry.path).read_bytes()).hexdigest()
            kind = "x" if entry.executable else "f"
        else:
            content, kind = entry.target, "l"
        total.update(f"{kind}\0{entry.path}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def pack(directory: Path, listed: list[Entry], archive: Path) -> None:
    """Write the entries to a compressed tar, owned by root, 0644 or 0755, times kept (Nginx makes ETags of them)."""
    with tarfile.open(archive, "w:gz", compresslevel=3) as tar:
        for entry in listed:
            info = tar.gettarinfo(str(directory / entry.path), arcname=entry.path)
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mode = 0o755 if entry.executable else 0o644
            if entry.target is None:
                info.type = tarfile.REGTYPE
                with (directory / entry.path).open("rb") as content:
                    info.size = os.fstat(content.fileno()).st_size  # 0 so far for a second hard link to one file
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def unpack(archive: Path, expected: str, sources: Path, python: str) -> None:
    """Unpack a source below ``sources`` under its digest; it appears whole or not at all.

    Raises:
        GreenlightError: what arrived is not what was packed.
    """
    destination = sources / expected
    unfinished = sources / f"{UNFINISHED}{expected}"
    make_directory(sources)
    remove(unfinished)
    make_directory(unfinished)
    try:
        arrived = digest(unfinished, entries(unfinished, _extract(archive, unfinished)))
    except (GreenlightError, FileNotFoundError) as error:
        arrived = str(error)
    if arrived != expected:
        remove(unfinished)
        raise GreenlightError("the source that arrived on the host is not the one that was packed; run again")
    finish(unfinished, destination, python)


def git_digest(commit: str, subdirectory: str) -> str:
    """The digest of a commit's tree: SHA-256 over the commit's id and the directory taken of it."""
    return hashlib.sha256(f"git\0{commit}\0{subdirectory}".encode()).hexdigest()


def export(clone: Path, commit: str, subdirectory: str, sources: Path, python: str) -> None:
    """Put a commit of a clone below ``sources`` under its digest; it appears whole or not at all.

    Raises:
        GreenlightError: the clone has no such commit, or the commit no such directory.
    """
    name = git_digest(commit, subdirectory)
    unfinished = sources / f"{UNFINISHED}{name}"
    make_directory(sources)
    remove(unfinished)
    make_directory(unfinished)
    tree = f"{commit}:{subdirectory.strip('/')}" if subdirectory.strip("/") else commit
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "source.tar"
        git = [*_GIT, "-c", "tar.umask=0022", "-C", str(clone)]
        require([*git, "archive", "--format=tar", "--output", str(archive), tree], f"reading {tree} from the git clone")
        # git archive gives a directory's files the time of day; Nginx makes ETags of times, the same on all hosts.
        committed = require([*git, "log", "--max-count=1", "--format=%ct", commit], f"reading commit {commit}")
        _extract(archive, unfinished, float(committed.stdout))
    finish(unfinished, sources / name, python)


def _extract(archive: Path, directory: Path, time: float | None = None) -> list[str]:
    """Unpack ``archive``, with one time for all files (UNIX seconds) where one is given; return their names."""
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            for member in members:
                member.mtime = member.mtime if time is None else time
                if not (member.isreg() or member.issym()) or _leads_out(member.name, member.linkname):
                    raise GreenlightError(f"{member.name} is no file or link of the source; a source can't hold it")
            # Of the filters of PEP 706 none is in every Python that we meet, so the rule stands above.
            tar.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            tar.extractall(directory, members)  # noqa: S202  # checked above
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise GreenlightError(f"the source can't be unpacked: {error}") from error
    for parent, _, _ in os.walk(directory):
        Path(parent).chmod(0o755)
    return [member.name for member in members]


def finish(unfinished: Path, destination: Path, python: str) -> None:
    """Compile the modules (the app can't write bytecode itself) and give the source its name.

    The code is read and never written by whoever compiles it: the bytecode is made elsewhere, and moved.
    """
    home = destination.parents[1]
    with workshop(home.name, destination.with_name(f"{destination.name}.bytecode"), home, python) as shop:
        step = Step(
            "compiling", [python, "-I", "-X", f"pycache_prefix={shop.target}", "-m", "compileall", "-q", destination]
        )
        # A module that doesn't compile may be one that is never imported; the candidate tells.
        with suppress(StepFailed):
            shop.perform([step], seconds=COMPILE_SECONDS, reads={unfinished: destination})
        shop.finish()
        bytecode = shop.tree / str(destination).lstrip("/")
        if bytecode.is_dir():  # a source may have no module
            move_files(bytecode, unfinished, ".pyc")
    unfinished.rename(destination)
