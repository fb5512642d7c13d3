# SPDX-License-Identifier: GPL-3.0-or-later
"""A source is what git would take, is named by its digest, and arrives as packed or not at all."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED
from ansible_collections.greenlight.flask.plugins.module_utils._build.git import Remote
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import (
    digest,
    entries,
    export,
    git_digest,
    list_files,
    pack,
    take,
    unpack,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import Entry
from hypothesis import given, settings
from hypothesis import strategies as st

#: Skips compilation, which would only take time.
NO_PYTHON = "/nonexistent/python"


def git(directory: Path, *words: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main")
    # Commits have another date than today, so that a file's time shows whether git set it.
    environment = {**os.environ, "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
    command = ["git", "-C", str(directory), *identity, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def put(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n", encoding="utf-8")


def commit(directory: Path) -> str:
    git(directory, "add", "--all", "--force")
    git(directory, "commit", "--quiet", "--message=test")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app in a plain directory."""
    directory = tmp_path / "app"
    put(directory, "wsgi.py", "shop/__init__.py", "shop/static/style.css")
    return directory


def named(directory: Path) -> str:
    return digest(directory, entries(directory, list_files(directory)))


def packed(app: Path) -> tuple[str, Path]:
    """Pack ``app``; return its digest and the archive."""
    listed = entries(app, list_files(app))
    archive = app.parent / "source.tar.gz"
    pack(app, listed, archive)
    return digest(app, listed), archive


def sent(app: Path, python: str = NO_PYTHON) -> Path:
    """Pack and unpack ``app``; return its path on the host."""
    name, archive = packed(app)
    unpack(archive, name, app.parent / "sources", python)
    return app.parent / "sources" / name


# Which files are taken


def test_a_repository_ships_tracked_and_new_files_but_not_ignored_ones(app: Path) -> None:
    git(app, "init", "--quiet")
    put(app, "tracked.py", "gone.py", "kept.log")
    commit(app)
    (app / "gone.py").unlink()
    (app / ".gitignore").write_text("*.log\n/instance/\n")
    put(app, "new.py", "debug.log", "instance/shop.db")
    files = [".gitignore", "kept.log", "new.py", "shop/__init__.py", "shop/static/style.css", "tracked.py", "wsgi.py"]
    assert list_files(app) == files


def test_a_plain_directory_ships_everything_except_its_gitignored_files(app: Path) -> None:
    (app / ".gitignore").write_text("*.log\n!kept.log\n")
    (app / "shop/.gitignore").write_text("/local.py\n")
    put(app, "debug.log", "kept.log", "shop/local.py", "local.py")
    files = [
        ".gitignore",
        "kept.log",
        "local.py",
        "shop/.gitignore",
        "shop/__init__.py",
        "shop/static/style.css",
        "wsgi.py",
    ]
    assert list_files(app) == files
    assert not (app / ".git").exists()


def test_a_directory_ignored_by_an_outer_repository_counts_as_plain(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / ".gitignore").write_text("/app/\n*.css\n")
    (app / ".gitignore").write_text("*.log\n")
    put(app, "debug.log")
    assert list_files(app) == [".gitignore", "shop/__init__.py", "shop/static/style.css", "wsgi.py"]


def test_a_directory_of_a_repository_ships_only_its_own_files(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / ".gitignore").write_text("*.css\n")
    put(app.parent, "outside.py")
    assert list_files(app) == ["shop/__init__.py", "wsgi.py"]


@pytest.mark.parametrize("outer", [True, False], ids=["in a repository", "in a plain directory"])
@pytest.mark.parametrize("tracked", [True, False], ids=["submodule", "untracked clone"])
def test_a_nested_repository_ships_the_files_git_sees_there(app: Path, outer: bool, tracked: bool) -> None:
    inner = app / "vendored"
    put(inner, "lib.py")
    git(inner, "init", "--quiet")
    commit(inner)
    (inner / ".gitignore").write_text("*.tmp\n")
    put(inner, "new.py", "x.tmp")
    if outer:
        git(app, "init", "--quiet")
        if tracked:
            git(app, "add", "vendored")
    taken = [name for name in list_files(app) if name.startswith("vendored")]
    assert taken == ["vendored/.gitignore", "vendored/lib.py", "vendored/new.py"]


def test_no_internal_files_of_git_are_shipped(app: Path) -> None:
    git(app, "init", "--quiet")
    commit(app)
    shutil.copytree(app, app / "copy")
    git_file = app / "worktree"
    git(app, "worktree", "add", "--quiet", str(git_file))
    assert not [name for name in list_files(app) if ".git" in Path(name).parts]


@pytest.mark.parametrize(
    "name", ["with space.py", "été.py", 'quo"te.py', "new\nline.py", "-dash.py", "😀.py", "\udcff latin.py"], ids=ascii
)
def test_a_file_with_an_unusual_name_is_shipped(app: Path, tmp_path: Path, name: str) -> None:
    (app / name).write_text("x")
    assert (sent(app) / name).read_text() == "x"


def test_variables_set_by_a_git_hook_are_ignored(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    put(other, "elsewhere.py")
    git(other, "init", "--quiet")
    git(app, "init", "--quiet")
    for name, value in {
        "GIT_DIR": ".git",
        "GIT_WORK_TREE": "",
        "GIT_INDEX_FILE": ".git/index",
        "GIT_PREFIX": "",
    }.items():
        monkeypatch.setenv(name, str(other / value))
    assert list_files(app) == ["shop/__init__.py", "shop/static/style.css", "wsgi.py"]


def test_a_clone_owned_by_another_account_is_still_read(app: Path) -> None:
    git(app, "init", "--quiet")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in [app, app / ".git"]:
        os.chown(path, 12345, 12345)
    assert "wsgi.py" in list_files(app)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "there is no directory"),
        (lambda path: path.write_text("x"), "there is no directory"),
        (lambda path: path.mkdir(), "contains no file that git would track"),
    ],
    ids=["absent", "a file", "empty"],
)
def test_an_invalid_source_is_refused(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path / "app")
    with pytest.raises(GreenlightError, match=reason):
        list_files(tmp_path / "app")


def test_a_controller_without_git_is_reported(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GreenlightError, match="git is not installed on the machine you deploy from"):
        list_files(app)


# What the digest covers


def test_executables_and_links_are_distinguished_from_files(app: Path) -> None:
    (app / "wsgi.py").chmod(0o700)
    (app / "shop/app.css").symlink_to("static/style.css")
    (app / "static").symlink_to("shop/static")
    listed = entries(app, ["shop/__init__.py", "wsgi.py", "shop/app.css", "static"])
    assert listed == [
        Entry("shop/__init__.py", False, None),
        Entry("wsgi.py", True, None),
        Entry("shop/app.css", False, "static/style.css"),
        Entry("static", False, "shop/static"),
    ]


@pytest.mark.parametrize("target", ["style.css", "../__init__.py", "../../wsgi.py", "./a/../b", "..hidden", "absent"])
def test_a_link_that_stays_inside_is_kept(app: Path, target: str) -> None:
    (app / "shop/static/link").symlink_to(target)
    assert entries(app, ["shop/static/link"]) == [Entry("shop/static/link", False, target)]


@pytest.mark.parametrize("target", ["wsgi.py", ".", "..hidden/file", "shop/.."])
def test_a_link_at_the_top_that_stays_inside_is_kept(app: Path, target: str) -> None:
    (app / "link").symlink_to(target)
    assert entries(app, ["link"]) == [Entry("link", False, target)]


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "//etc/passwd", "../../../x", "../../../app/wsgi.py", "a/../../../../x", "../../..", "../../../.."],
)
def test_a_link_that_leads_outside_is_refused(app: Path, target: str) -> None:
    (app / "shop/static/link").symlink_to(target)
    with pytest.raises(GreenlightError, match="shop/static/link"):
        entries(app, ["shop/static/link"])


def test_special_files_in_a_source_are_refused(app: Path) -> None:
    os.mkfifo(app / "pipe")
    with pytest.raises(GreenlightError, match="pipe"):
        entries(app, ["pipe"])


# Its name


def test_the_digest_is_sixty_four_hexadecimal_digits(app: Path) -> None:
    assert re.fullmatch("[0-9a-f]{64}", named(app))


def test_the_digest_is_the_same_for_the_same_source_elsewhere(app: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    before = os.umask(0o077)
    try:
        for path in ("wsgi.py", "shop/static/style.css", "shop/__init__.py"):
            put(elsewhere, path)
            os.utime(elsewhere / path, (1, 1))
    finally:
        os.umask(before)
    assert named(elsewhere) == named(app)
    (app / "wsgi.py").chmod(0o666)
    git(app, "init", "--quiet")
    assert named(elsewhere) == named(app)


def test_the_digest_never_changes_between_versions(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "b/c.sh")
    (tmp_path / "b/c.sh").chmod(0o755)
    (tmp_path / "link").symlink_to("a.py")
    assert named(tmp_path) == "eb0c5bc0b26ad7ac337e1da30fe9433a8353a7eea1aea9104ab363c1326e6403"


@pytest.mark.parametrize(
    "change",
    [
        lambda app: (app / "wsgi.py").write_text("other"),
        lambda app: (app / "wsgi.py").chmod(0o755),
        lambda app: (app / "wsgi.py").rename(app / "wsgi2.py"),
        lambda app: (app / "wsgi.py").unlink(),
        lambda app: put(app, "new.py"),
        lambda app: (app / "new.py").symlink_to("wsgi.py"),
        lambda app: (app / "shop/static").rename(app / "shop/dynamic"),
        lambda app: (
            (app / "wsgi.py").write_text("content of shop/__init__.py\n")
            and (app / "shop/__init__.py").write_text("content of wsgi.py\n")
        ),
    ],
    ids=["content", "mode", "name", "fewer", "more", "link", "directory", "swapped"],
)
def test_the_digest_changes_with_everything_that_affects_the_app(app: Path, change: Callable[[Path], object]) -> None:
    before = named(app)
    change(app)
    assert named(app) != before


def test_the_digest_changes_with_the_target_of_a_link(app: Path) -> None:
    digests = set()
    for target in ("wsgi.py", "shop"):
        (app / "link").unlink(missing_ok=True)
        (app / "link").symlink_to(target)
        digests.add(named(app))
    (app / "link").unlink()
    (app / "link").write_text("wsgi.py")
    digests.add(named(app))
    assert len(digests) == 3


# On its way


def modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o7777 for path in [directory, *directory.rglob("*")] if not path.is_symlink()}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_packed_source_arrives_with_the_same_digest_and_world_readable(app: Path, tmp_path: Path, umask: int) -> None:
    (app / "run.sh").write_text("#!/bin/sh\n")
    (app / "run.sh").chmod(0o700)
    (app / "wsgi.py").write_text("value = 1\n")
    (app / "shop/__init__.py").write_text("")
    (app / "wsgi.py").chmod(0o600)
    (app / "shop").chmod(0o700)
    (app / "link").symlink_to("shop/static")
    os.link(app / "wsgi.py", app / "hard.py")
    before = os.umask(umask)
    try:
        arrived = sent(app, sys.executable)
    finally:
        os.umask(before)
    listed = sorted({str(path.relative_to(app)) for path in app.rglob("*") if path.is_symlink() or path.is_file()})
    assert digest(arrived, entries(arrived, listed)) == digest(app, entries(app, listed)) == arrived.name
    assert modes(arrived) == {0o755, 0o644}
    assert (arrived / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (arrived / "link").resolve() == (arrived / "shop/static").resolve()
    assert list(arrived.glob("__pycache__/wsgi.*.pyc"))
    assert os.listdir(tmp_path / "sources") == [arrived.name]


def test_times_are_kept(app: Path, tmp_path: Path) -> None:
    os.utime(app / "shop/static/style.css", (1_700_000_000, 1_700_000_000))
    assert (sent(app) / "shop/static/style.css").stat().st_mtime == 1_700_000_000


def test_an_archive_belongs_to_root_without_user_names(app: Path) -> None:
    with tarfile.open(packed(app)[1]) as tar:
        assert {(member.uid, member.gid, member.uname, member.gname) for member in tar} == {(0, 0, "root", "root")}


def test_a_module_that_does_not_compile_is_still_shipped(app: Path, tmp_path: Path) -> None:
    (app / "wsgi.py").write_text("def broken(:\n")
    assert (sent(app, sys.executable) / "wsgi.py").exists()


def test_leftovers_of_a_killed_run_do_not_matter(app: Path, tmp_path: Path) -> None:
    put(tmp_path / "sources" / f"{UNFINISHED}{named(app)}", "left.py")
    assert not (sent(app) / "left.py").exists()


def tampered(original: Path, change: str) -> bytes:
    """Return the archive with one member changed."""
    out = io.BytesIO()
    with tarfile.open(original) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            content = old.extractfile(member)
            data = content.read() if content else b""
            if member.name == "wsgi.py":
                if change == "fewer":
                    continue
                if change == "content":
                    data = b"import os\n" + data
                if change == "mode":
                    member.mode = 0o755
                if change == "name":
                    member.name = "wsgi2.py"
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
        info = tarfile.TarInfo({"outside": "../outside.py", "absolute": "/tmp/outside.py"}.get(change, "more.py"))
        if change in ("more", "outside", "absolute"):
            new.addfile(info)
        if change in ("device", "link out"):
            info.type = tarfile.CHRTYPE if change == "device" else tarfile.SYMTYPE
            info.linkname = "../../outside"
            new.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "change", ["content", "mode", "name", "fewer", "more", "outside", "absolute", "device", "link out"]
)
def test_a_tampered_archive_is_refused_and_leaves_nothing(app: Path, tmp_path: Path, change: str) -> None:
    name, good = packed(app)
    (tmp_path / "bad.tar.gz").write_bytes(tampered(good, change))
    with pytest.raises(GreenlightError, match="differs from the one that was packed"):
        unpack(tmp_path / "bad.tar.gz", name, tmp_path / "host/sources", NO_PYTHON)
    assert os.listdir(tmp_path / "host") == ["sources"]
    assert os.listdir(tmp_path / "host/sources") == []


@pytest.mark.parametrize("cut", [0, 1, 10, -1000], ids=["all", "a byte left", "the head", "the tail"])
def test_a_truncated_archive_is_refused_and_leaves_nothing(app: Path, tmp_path: Path, cut: int) -> None:
    (app / "big").write_bytes(os.urandom(100_000))
    name, archive = packed(app)
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(GreenlightError, match="differs from the one that was packed"):
        unpack(archive, name, tmp_path / "sources", NO_PYTHON)
    assert os.listdir(tmp_path / "sources") == []


def test_a_garbled_archive_is_refused_and_leaves_nothing(app: Path, tmp_path: Path) -> None:
    for number, body in enumerate(
        [b"not an archive", gzip.compress(b"nor this" * 1000), b"\x1f\x8b\x08\x00" + b"x" * 99]
    ):
        (tmp_path / "a.tar.gz").write_bytes(body)
        with pytest.raises(GreenlightError, match="differs from the one that was packed"):
            unpack(tmp_path / "a.tar.gz", "a" * 64, tmp_path / f"{number}", NO_PYTHON)
        assert os.listdir(tmp_path / f"{number}") == []


segments = st.text(st.sampled_from("ab.-_ é😀"), min_size=1, max_size=6).filter(lambda name: name.strip(". ") != "")


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.lists(segments, min_size=1, max_size=3).map("/".join),
        st.tuples(st.binary(max_size=300), st.booleans()),
        min_size=1,
    )
)
def test_any_tree_arrives_exactly_as_packed(tmp_path: Path, tree: dict[str, tuple[bytes, bool]]) -> None:
    tmp_path = tmp_path / f"{len(os.listdir(tmp_path))}"
    app = tmp_path / "app"
    names = []
    for name, (content, executable) in tree.items():
        try:
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_bytes(content)
        except OSError:  # a name that is a file here and a directory there
            continue
        (app / name).chmod(0o755 if executable else 0o644)
        names.append(name)
    listed = entries(app, sorted(names))
    pack(app, listed, tmp_path / "a.tar.gz")
    unpack(tmp_path / "a.tar.gz", digest(app, listed), tmp_path / "sources", NO_PYTHON)
    arrived = tmp_path / "sources" / digest(app, listed)
    for name in names:
        assert (arrived / name).read_bytes() == (app / name).read_bytes()
        assert (arrived / name).stat().st_mode == (app / name).stat().st_mode


# From git


@pytest.fixture
def repository(app: Path) -> tuple[Path, str]:
    git(app, "init", "--quiet")
    (app / "run.sh").write_text("#!/bin/sh\n")
    (app / "run.sh").chmod(0o755)
    return app, commit(app)


def exported(repository: Path, wanted: str, place: Path, subdirectory: str = "") -> Path:
    """Export a commit of a repository as on the host; return its path."""
    export(Remote(str(repository), "", place / "git"), wanted, subdirectory, place / "sources", NO_PYTHON)
    return place / "sources" / git_digest(wanted, subdirectory)


def taken(repository: Path, wanted: str, way: str) -> None:
    """Take the files like a deploy, ``way`` being ``directory`` or ``git``."""
    if way == "git":
        exported(repository, wanted, repository.parent)
    else:
        take(repository)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_commit_is_exported_completely(repository: tuple[Path, str], tmp_path: Path, umask: int) -> None:
    directory, first = repository
    put(directory, "untracked.py", "second.py")
    before = os.umask(umask)
    try:
        arrived = exported(directory, first, tmp_path)
    finally:
        os.umask(before)
    assert sorted(os.listdir(arrived)) == ["run.sh", "shop", "wsgi.py"]
    assert (arrived / "wsgi.py").read_text() == "content of wsgi.py\n"
    assert modes(arrived) == {0o755, 0o644}
    assert (arrived / "run.sh").stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path / "sources") == [arrived.name]


@pytest.mark.parametrize("subdirectory", ["shop", "shop/", "/shop"])
def test_a_subdirectory_of_a_commit_is_exported_on_its_own(
    repository: tuple[Path, str], tmp_path: Path, subdirectory: str
) -> None:
    arrived = exported(*repository, tmp_path, subdirectory)
    assert sorted(os.listdir(arrived)) == ["__init__.py", "static"]
    assert (arrived / "__init__.py").stat().st_mtime == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_each_commit_and_subdirectory_has_its_own_digest() -> None:
    digests = {git_digest(commit, directory) for commit in ("a" * 40, "b" * 40) for directory in ("", "x", "y")}
    assert len(digests) == 6
    assert git_digest("a" * 40, "x") == "6243c5e0b9ddd8c0dd353453a26db7bcc6ab14334c33b71265b9e32962e10bc7"


def test_a_missing_commit_or_directory_leaves_nothing_behind(repository: tuple[Path, str], tmp_path: Path) -> None:
    directory, first = repository
    for wanted, subdirectory in (("0" * 40, ""), (first, "absent")):
        with pytest.raises(GreenlightError, match=wanted):
            exported(directory, wanted, tmp_path, subdirectory)
        assert os.listdir(tmp_path / "sources") == []


# What leads outside, with both kinds of source


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory next to the source that nobody may read or write; the test fails at the end if somebody wrote."""
    directory = tmp_path / "outside"
    put(directory, "secret.txt")
    return directory


def untouched(outside: Path) -> bool:
    return os.listdir(outside) == ["secret.txt"] and "content of secret" in (outside / "secret.txt").read_text()


#: Links that each stay inside as text, but that other links use to lead out.
CHAIN = {"a/b/c/d/f": "../../../.."}
#: Ways to lead outside: links with their targets; the refusal must name the last one.
ESCAPES = {
    "absolute": {"x": "/etc/passwd"},
    "one step": {"x": "../outside"},
    "chained": {**CHAIN, "x": "a/b/c/d/f/../outside"},
    "chained and further": {**CHAIN, "x": "a/b/c/d/f/../../../../etc"},
    "by way of a link to the top": {"shop/top": "..", "x": "shop/top/../outside"},
    "a file": {**CHAIN, "x": "a/b/c/d/f/../outside", "wsgi2.py": "x/secret.txt"},
    "bytecode": {**CHAIN, "x": "a/b/c/d/f/../outside", "shop/__pycache__": "../x"},
    "a circle": {"y": "x", "x": "y"},
    "the instance folder": {"x": "instance"},
    "below the instance folder": {"shop/static/uploads": "../../instance/uploads"},
    "through the instance folder": {"x": "instance/../wsgi.py"},
    "the instance folder by way of another": {"y": "instance", "x": "y/pyproject.toml"},
}


def make_links(app: Path, links: Mapping[str, str]) -> None:
    for name, target in links.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).symlink_to(target)


@pytest.mark.slow
@pytest.mark.parametrize("case", ESCAPES)
@pytest.mark.parametrize("way", ["directory", "git"])
def test_a_tree_that_leads_outside_is_refused_by_name(app: Path, outside: Path, case: str, way: str) -> None:
    make_links(app, ESCAPES[case])
    name = list(ESCAPES[case])[-1]
    git(app, "init", "--quiet")
    wanted = commit(app)
    with pytest.raises(GreenlightError, match=rf"(^|[ ,;]){name} ->") as refused:
        taken(app, wanted, way)
    assert "content of" not in str(refused.value)
    assert untouched(outside)
    assert not (app.parent / "sources").exists() or os.listdir(app.parent / "sources") == []


@pytest.mark.parametrize("way", ["directory", "git"])
def test_an_instance_folder_in_a_source_is_an_ordinary_folder(app: Path, way: str) -> None:
    put(app, "instance/default.css")
    make_links(app, {"default.css": "instance/default.css", "shop/instance": "static", "x": "shop/instance/style.css"})
    git(app, "init", "--quiet")
    wanted = commit(app)
    arrived = exported(app, wanted, app.parent) if way == "git" else sent(app)
    assert (arrived / "default.css").read_text() == "content of instance/default.css\n"
    assert (arrived / "x").read_text() == "content of shop/static/style.css\n"


INSIDE = {
    "current": "shop",
    "style.css": "current/static/style.css",
    "shop/static/top": "../..",
    "shop/wsgi.py": "static/top/wsgi.py",
    "gone": "shop/absent/../later",
}


@pytest.mark.parametrize("way", ["directory", "git"])
def test_links_that_stay_inside_work_even_through_each_other(app: Path, way: str) -> None:
    make_links(app, INSIDE)
    git(app, "init", "--quiet")
    wanted = commit(app)
    arrived = exported(app, wanted, app.parent) if way == "git" else sent(app)
    assert (arrived / "style.css").read_text() == "content of shop/static/style.css\n"
    assert (arrived / "shop/wsgi.py").read_text() == "content of wsgi.py\n"
    assert (arrived / "gone").readlink() == Path("shop/absent/../later")


steps = st.lists(st.sampled_from(["a", "b", "c", ".", "..", "..", ""]), min_size=1, max_size=5).map("/".join)
places = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.dictionaries(places, steps, min_size=1, max_size=6))
def test_a_tree_is_refused_exactly_if_the_kernel_would_leave_it(tmp_path: Path, links: dict[str, str]) -> None:
    top = tmp_path / f"{len(os.listdir(tmp_path))}/1/2/3/4/5/6/top"
    top.mkdir(parents=True)
    made: list[str] = []
    for name, target in links.items():
        if not any(name.startswith(f"{other}/") for other in made):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # already a directory, or an empty target
                (top / name).symlink_to(target)
                made.append(name)

    def stays(name: str) -> bool:
        try:
            (top / name).stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
        return Path(os.path.realpath(top / name)).is_relative_to(top)

    if not all(map(stays, made)):
        with pytest.raises(GreenlightError):
            entries(top, sorted(made))
    elif all((top / name).exists() for name in made):
        assert len(entries(top, sorted(made))) == len(made)


def raw_tree(repository: Path, *rows: tuple[str, str, str]) -> str:
    """Commit a tree that git itself would not make: mode, name, and content or a tree's id."""
    out = b""
    for mode, name, content in rows:
        kind = {"40000": "tree", "160000": "commit"}.get(mode, "blob")
        hashing = ["git", "-C", str(repository), "hash-object", "-w", "--stdin", "-t", kind]
        found = content
        if kind == "blob":
            found = subprocess.run(hashing, input=content, check=True, capture_output=True, text=True).stdout.strip()
        out += f"{mode} {name}\0".encode() + bytes.fromhex(found)
    writing = ["git", "-C", str(repository), "hash-object", "-w", "--stdin", "--literally", "-t", "tree"]
    tree = subprocess.run(writing, input=out, check=True, capture_output=True).stdout.decode().strip()
    return git(repository, "commit-tree", tree, "-m", "crafted")


def inner_tree(repository: Path, *row: str) -> str:
    """Make a tree with one row; return its id."""
    mode, name, content = row
    return git(repository, "rev-parse", f"{raw_tree(repository, (mode, name, content))}^{{tree}}")


#: The id of a tree with a link to its parent directory.
UP = "up"
#: Trees that git itself would not make -> their rows, given where "outside" is and a tree with one file.
CRAFTED: dict[str, Callable[[str, str], list[tuple[str, str, str]]]] = {
    "a link and a directory": lambda outside, inner: [("120000", "d", outside), ("40000", "d", inner)],
    "a link inside and a directory": lambda outside, inner: [("120000", "d", "wsgi.py"), ("40000", "d", inner)],
    "a link that leads out by way of another one, and a directory": lambda outside, inner: [
        ("40000", "up", UP),
        ("120000", "d", "up/f/../../outside"),
        ("40000", "d", inner),
    ],
    "a file and a directory": lambda outside, inner: [("100644", "d", "x"), ("40000", "d", inner)],
    "a file twice": lambda outside, inner: [("100644", "d", "x"), ("100644", "d", "y")],
    "a link and a file": lambda outside, inner: [("120000", "d", f"{outside}/new.py"), ("100644", "d", "y")],
    "a step up": lambda outside, inner: [("40000", "..", inner)],
    "a path in a name": lambda outside, inner: [("100644", "../outside/new.py", "x")],
    "an absolute name": lambda outside, inner: [("100644", f"{outside}/new.py", "x")],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CRAFTED)
def test_a_tree_that_git_would_not_create_is_refused_without_side_effects(
    repository: tuple[Path, str], outside: Path, tmp_path: Path, case: str
) -> None:
    directory, _ = repository
    inner, up = inner_tree(directory, "100644", "new.py", "x"), inner_tree(directory, "120000", "f", "..")
    rows = CRAFTED[case](str(outside), inner)
    wanted = raw_tree(directory, *((mode, name, up if content is UP else content) for mode, name, content in rows))
    git(directory, "update-ref", "refs/heads/crafted", wanted)
    with pytest.raises(GreenlightError):
        exported(directory, wanted, tmp_path)
    assert untouched(outside)
    assert os.listdir(tmp_path / "sources") == []


def test_an_archive_never_writes_through_its_links(app: Path, outside: Path, tmp_path: Path) -> None:
    """Even with the wrong digest, which is known only afterwards."""
    name, _ = packed(app)
    up = "../../../outside"
    for number, rows in enumerate(
        [
            [("d", tarfile.SYMTYPE, up), ("d/new.py", tarfile.REGTYPE, "")],
            [
                ("a/b/c/f", tarfile.SYMTYPE, "../../.."),
                ("d", tarfile.SYMTYPE, f"a/b/c/f/{up}"),
                ("d/new.py", tarfile.REGTYPE, ""),
            ],
            [("a/f", tarfile.SYMTYPE, ".."), ("a/f/new.py", tarfile.REGTYPE, "")],
            [("secret.py", tarfile.LNKTYPE, f"{up}/secret.txt")],
            [("d", tarfile.SYMTYPE, "a"), ("d", tarfile.DIRTYPE, "")],
        ]
    ):
        with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
            for path, kind, target in rows:
                info = tarfile.TarInfo(path)
                info.type, info.linkname = kind, target
                tar.addfile(info)
        with pytest.raises(GreenlightError):
            unpack(tmp_path / "bad.tar.gz", name, tmp_path / f"{number}/sources", NO_PYTHON)
        assert untouched(outside)


def test_a_directory_that_became_a_link_is_neither_read_nor_sent(app: Path, outside: Path) -> None:
    put(app, "data/secret.txt")
    git(app, "init", "--quiet")
    commit(app)
    shutil.rmtree(app / "data")
    (app / "data").symlink_to("../outside")
    with pytest.raises(GreenlightError, match="data"):
        take(app)
    (app / "data").unlink()
    (app / "data").symlink_to("shop")
    with pytest.raises(GreenlightError, match="data"):
        put(app, "shop/secret.txt")
        take(app)


def test_a_file_that_became_a_link_meanwhile_is_not_read(app: Path, outside: Path, tmp_path: Path) -> None:
    listed = entries(app, list_files(app))
    for name in ("wsgi.py", "shop"):
        app.joinpath(name).rename(tmp_path / name)
        app.joinpath(name).symlink_to(tmp_path / name)
        with pytest.raises(GreenlightError):
            digest(app, listed)
        with pytest.raises(GreenlightError):
            pack(app, listed, tmp_path / "a.tar.gz")
        app.joinpath(name).unlink()
        tmp_path.joinpath(name).rename(app / name)


def test_programs_configured_in_a_repository_are_not_run(app: Path, tmp_path: Path) -> None:
    for place in (app, app / "vendored"):
        put(place, "lib.py")
        git(place, "init", "--quiet")
        git(place, "config", "core.fsmonitor", f"touch {tmp_path}/run-by-git; false")
    assert "vendored/lib.py" in list_files(app)
    assert not (tmp_path / "run-by-git").exists()


# Submodules, and files of Git LFS


def serve(base: Path) -> Iterator[str]:
    """Serve the repositories below ``base``; yield the prefix of their URLs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--reuseaddr", "--export-all", f"--base-path={base}", "--listen=127.0.0.1", f"--port={port}"]
    daemon = subprocess.Popen(["git", "daemon", *options, str(base)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.01)
        yield f"git://127.0.0.1:{port}"
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    yield from serve(tmp_path / "served")


def library(tmp_path: Path, name: str, *files: str) -> tuple[Path, str]:
    """Make a served repository; return it and its commit."""
    directory = tmp_path / "served" / name
    put(directory, *files)
    git(directory, "init", "--quiet")
    return directory, commit(directory)


def add_submodule(directory: Path, path: str, url: str, wanted: str) -> str:
    """Commit a submodule without fetching it, like any tree may."""
    git(directory, "init", "--quiet")
    git(directory, "config", "--file", ".gitmodules", f"submodule.{path}.path", path)
    git(directory, "config", "--file", ".gitmodules", f"submodule.{path}.url", url)
    git(directory, "add", "--all")
    git(directory, "update-index", "--add", "--cacheinfo", f"160000,{wanted},{path}")
    git(directory, "commit", "--quiet", "--message=submodule")
    return git(directory, "rev-parse", "HEAD")


@pytest.mark.slow
def test_submodules_are_shipped_the_same_from_git_and_directory(server: str, tmp_path: Path) -> None:
    _, deepest = library(tmp_path, "deepest", "deep.py")
    inner, _ = library(tmp_path, "inner", "lib.py")
    middle = add_submodule(inner, "more/deepest", "../deepest", deepest)
    outer, _ = library(tmp_path, "outer", "backend/wsgi.py")
    wanted = add_submodule(outer, "backend/vendored", f"{server}/inner", middle)
    export(Remote(f"{server}/outer", "", tmp_path / "git"), wanted, "", tmp_path / "sources", NO_PYTHON)
    arrived = tmp_path / "sources" / git_digest(wanted, "")
    from_git = sorted(str(path.relative_to(arrived)) for path in arrived.rglob("*") if path.is_file())
    git(tmp_path, "clone", "--quiet", "--recurse-submodules", f"{server}/outer", "checkout")
    assert from_git == list_files(tmp_path / "checkout")
    assert "backend/vendored/more/deepest/deep.py" in from_git
    for inside, file in (
        ("backend", "vendored/more/deepest/deep.py"),
        ("backend/vendored", "more/deepest/deep.py"),
        ("backend/vendored/more/deepest", "deep.py"),
    ):
        export(Remote(f"{server}/outer", "", tmp_path / "git"), wanted, inside, tmp_path / "sources", NO_PYTHON)
        assert (tmp_path / "sources" / git_digest(wanted, inside) / file).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    ["file://{here}/served/inner", "{here}/served/inner", "ext::touch {here}/run", "--upload-pack=touch {here}/run",
     "http://127.0.0.1/inner", "ssh://-oProxyCommand=touch {here}/run/x", "../inner", ""],
)  # fmt: skip
def test_a_submodule_with_a_forbidden_url_is_refused_by_name(tmp_path: Path, url: str) -> None:
    _, inner = library(tmp_path, "inner", "lib.py")
    outer, _ = library(tmp_path, "outer", "wsgi.py")
    wanted = add_submodule(outer, "vendored", url.format(here=tmp_path), inner)
    with pytest.raises(GreenlightError, match="vendored"):
        exported(outer, wanted, tmp_path)
    assert not (tmp_path / "run").exists()
    assert os.listdir(tmp_path / "sources") == []


def test_a_submodule_listed_twice_in_a_tree_is_refused(server: str, tmp_path: Path) -> None:
    _, inner = library(tmp_path, "inner", "lib.py")
    outer, _ = library(tmp_path, "outer", "wsgi.py")
    add_submodule(outer, "vendored", f"{server}/inner", inner)
    modules = (outer / ".gitmodules").read_text()
    wanted = raw_tree(
        outer, ("100644", ".gitmodules", modules), ("160000", "vendored", inner), ("160000", "vendored", inner)
    )
    git(outer, "update-ref", "refs/heads/crafted", wanted)
    for inside in ("", "vendored/x"):
        with pytest.raises(GreenlightError):
            exported(outer, wanted, tmp_path, inside)


@pytest.mark.parametrize("around", ["", "tracked/"], ids=["at the top", "in a submodule"])
def test_a_submodule_that_is_not_checked_out_is_refused_by_name(app: Path, around: str) -> None:
    place = app / around
    put(place, "lib.py")
    add_submodule(place, "vendored", "https://example.org/vendored.git", "1" * 40)
    (place / "vendored").mkdir()
    git(app, "init", "--quiet")
    with pytest.raises(GreenlightError, match=rf"vendored .*{around.strip('/')}"):
        list_files(app)


def test_a_submodule_with_copied_files_is_shipped(app: Path) -> None:
    add_submodule(app, "vendored", "https://example.org/vendored.git", "1" * 40)
    put(app, "vendored/lib.py")
    assert "vendored/lib.py" in list_files(app)


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 32}\nsize 12345\n"


@pytest.mark.parametrize("way", ["directory", "git"])
def test_a_git_lfs_pointer_is_refused_by_name(app: Path, way: str) -> None:
    (app / "shop/static/logo.png").write_text(POINTER)
    (app / "README.md").write_text(f"A pointer is as follows:\n\n{POINTER}")
    (app / "POINTER.md").write_text(f"{POINTER}\nThis is how a pointer looks.\n")
    (app / ".gitattributes").write_text("*.png filter=lfs diff=lfs merge=lfs -text\n")
    git(app, "init", "--quiet")
    wanted = commit(app)
    with pytest.raises(GreenlightError, match=r"shop/static/logo\.png") as refused:
        taken(app, wanted, way)
    assert ".md" not in str(refused.value)
    assert "git lfs pull" in str(refused.value)


def test_files_excluded_from_git_archives_are_still_exported(app: Path, tmp_path: Path) -> None:
    put(app, "migrations/one.sql")
    (app / ".gitattributes").write_text("migrations export-ignore\n*.css export-ignore\n")
    git(app, "init", "--quiet")
    arrived = exported(app, commit(app), tmp_path)
    from_git = sorted(str(path.relative_to(arrived)) for path in arrived.rglob("*") if path.is_file())
    assert from_git == list_files(app)


# Ignored by git, but needed by the app


@pytest.fixture
def built(app: Path) -> Path:
    """An app with built files that git ignores, and others that must not be sent."""
    (app / ".gitignore").write_text("dist/\n*.mo\n/local.py\n.env\n")
    put(app, "dist/app.js", "dist/css/app.css", "dist/.vite/manifest.json", "shop/de/messages.mo", "messages.mo")
    put(app, "local.py", ".env", "shop/dist/app.js", "dist/__pycache__/x.pyc", "dist/node/.git/config")
    git(app, "init", "--quiet")
    return app


@pytest.mark.parametrize(
    ("patterns", "more"),
    [
        ([], []),
        (["dist"], ["dist/.vite/manifest.json", "dist/app.js", "dist/css/app.css"]),
        (["dist/"], ["dist/.vite/manifest.json", "dist/app.js", "dist/css/app.css"]),
        (["dist/**"], ["dist/.vite/manifest.json", "dist/app.js", "dist/css/app.css"]),
        (["dist/*.js"], ["dist/app.js"]),
        (["**/*.mo"], ["messages.mo", "shop/de/messages.mo"]),
        (["*.mo", "local.py"], ["local.py", "messages.mo"]),
        (["**/dist/app.js"], ["dist/app.js", "shop/dist/app.js"]),
        (["shop/d?/*"], ["shop/de/messages.mo"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("repository", [True, False], ids=["repository", "plain directory"])
def test_git_ignored_files_can_be_included_by_name(
    built: Path, patterns: list[str], more: list[str], repository: bool
) -> None:
    if not repository:
        shutil.rmtree(built / ".git")
    before = [".gitignore", "shop/__init__.py", "shop/static/style.css", "wsgi.py"]
    assert [entry.path for entry in take(built, patterns)] == sorted([*before, *more])


def test_a_pattern_without_matches_is_refused_unless_built_later(built: Path) -> None:
    with pytest.raises(GreenlightError, match=r"flask_app_source_include .*build"):
        take(built, ["dist", "build"])
    assert take(built, ["dist", "build"], to_be_made=True)


def test_a_pattern_does_not_follow_links(built: Path, outside: Path) -> None:
    (built / "dist/out").symlink_to("../../outside")
    with pytest.raises(GreenlightError, match="dist/out"):
        take(built, ["dist"])
    with pytest.raises(GreenlightError, match="flask_app_source_include"):
        take(built, ["dist/out/secret.txt"])


@pytest.mark.parametrize("static", ["dist", "dist/css", "absent", "wsgi.py", "shop/static/style.css"])
def test_an_unshipped_static_directory_is_refused_by_name(built: Path, static: str) -> None:
    with pytest.raises(GreenlightError, match=rf"flask_app_nginx_static .*{static}"):
        take(built, [], [static])


def test_a_shipped_static_directory_is_accepted(built: Path) -> None:
    (built / "assets").symlink_to("shop/static")
    assert take(built, ["dist"], ["shop/static", "shop/static/", "shop", "dist/css", "assets"])
