# SPDX-License-Identifier: GPL-3.0-or-later
"""A source is what git would take, named by its digest, and arrives as it was packed or not at all."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import UNFINISHED
from ansible_collections.greenlight.flask.plugins.module_utils._source import (
    Entry,
    digest,
    entries,
    export,
    git_digest,
    list_files,
    pack,
    unpack,
)
from hypothesis import given, settings
from hypothesis import strategies as st

#: Compiles nothing: what a test is not about shouldn't take its time.
NO_PYTHON = "/nonexistent/python"


def git(directory: Path, *words: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main")
    # Commits of another day than today, so that a file's time tells whose it is.
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
    """Pack and unpack ``app``; return where it is on the host."""
    name, archive = packed(app)
    unpack(archive, name, app.parent / "sources", python)
    return app.parent / "sources" / name


# What is taken


def test_a_repository_gives_tracked_and_new_files_without_ignored_ones(app: Path) -> None:
    git(app, "init", "--quiet")
    put(app, "tracked.py", "gone.py", "kept.log")
    commit(app)
    (app / "gone.py").unlink()
    (app / ".gitignore").write_text("*.log\n/instance/\n")
    put(app, "new.py", "debug.log", "instance/shop.db")
    files = [".gitignore", "kept.log", "new.py", "shop/__init__.py", "shop/static/style.css", "tracked.py", "wsgi.py"]
    assert list_files(app) == files


def test_a_plain_directory_gives_all_but_what_its_gitignore_names(app: Path) -> None:
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


def test_a_directory_that_an_outer_repository_ignores_is_taken_as_a_plain_one(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / ".gitignore").write_text("/app/\n*.css\n")
    (app / ".gitignore").write_text("*.log\n")
    put(app, "debug.log")
    assert list_files(app) == [".gitignore", "shop/__init__.py", "shop/static/style.css", "wsgi.py"]


def test_a_directory_of_a_repository_gives_only_its_own_files(app: Path) -> None:
    git(app.parent, "init", "--quiet")
    (app.parent / ".gitignore").write_text("*.css\n")
    put(app.parent, "outside.py")
    assert list_files(app) == ["shop/__init__.py", "wsgi.py"]


@pytest.mark.parametrize("outer", [True, False], ids=["in a repository", "in a plain directory"])
@pytest.mark.parametrize("tracked", [True, False], ids=["submodule", "untracked clone"])
def test_a_repository_inside_gives_its_files_as_git_sees_them_there(app: Path, outer: bool, tracked: bool) -> None:
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


def test_nothing_of_git_itself_is_taken(app: Path) -> None:
    git(app, "init", "--quiet")
    commit(app)
    shutil.copytree(app, app / "copy")
    git_file = app / "worktree"
    git(app, "worktree", "add", "--quiet", str(git_file))
    assert not [name for name in list_files(app) if ".git" in Path(name).parts]


@pytest.mark.parametrize(
    "name", ["with space.py", "été.py", 'quo"te.py', "new\nline.py", "-dash.py", "😀.py", "\udcff latin.py"], ids=ascii
)
def test_a_file_with_an_unusual_name_is_taken_and_arrives(app: Path, tmp_path: Path, name: str) -> None:
    (app / name).write_text("x")
    assert (sent(app) / name).read_text() == "x"


def test_the_variables_of_a_git_hook_do_not_lead_elsewhere(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_clone_of_another_account_is_read_all_the_same(app: Path) -> None:
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
        (lambda path: path.mkdir(), "holds no file that git would take"),
    ],
    ids=["absent", "a file", "empty"],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path / "app")
    with pytest.raises(GreenlightError, match=reason):
        list_files(tmp_path / "app")


def test_a_controller_without_git_is_told_so(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GreenlightError, match="git is not installed on the machine you deploy from"):
        list_files(app)


# What it is made of


def test_executables_and_links_are_told_from_files(app: Path) -> None:
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
def test_a_link_that_leads_out_is_refused(app: Path, target: str) -> None:
    (app / "shop/static/link").symlink_to(target)
    with pytest.raises(GreenlightError, match=r"shop/static/link is a link that leads out of the source"):
        entries(app, ["shop/static/link"])


def test_what_is_neither_file_nor_link_is_refused(app: Path) -> None:
    os.mkfifo(app / "pipe")
    with pytest.raises(GreenlightError, match="pipe is neither a file nor a link"):
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
def test_the_digest_changes_with_whatever_changes_the_app(app: Path, change: Callable[[Path], object]) -> None:
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
def test_what_was_packed_arrives_with_the_same_digest_and_readable_by_all(
    app: Path, tmp_path: Path, umask: int
) -> None:
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


def test_an_archive_belongs_to_root_and_names_nobody(app: Path) -> None:
    with tarfile.open(packed(app)[1]) as tar:
        assert {(member.uid, member.gid, member.uname, member.gname) for member in tar} == {(0, 0, "root", "root")}


def test_a_module_that_does_not_compile_is_no_hindrance(app: Path, tmp_path: Path) -> None:
    (app / "wsgi.py").write_text("def broken(:\n")
    assert (sent(app, sys.executable) / "wsgi.py").exists()


def test_what_a_killed_run_left_is_no_hindrance(app: Path, tmp_path: Path) -> None:
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
    with pytest.raises(GreenlightError, match="is not the one that was packed; run again"):
        unpack(tmp_path / "bad.tar.gz", name, tmp_path / "host/sources", NO_PYTHON)
    assert os.listdir(tmp_path / "host") == ["sources"]
    assert os.listdir(tmp_path / "host/sources") == []


@pytest.mark.parametrize("cut", [0, 1, 10, -1000], ids=["all", "a byte left", "the head", "the tail"])
def test_a_cut_archive_is_refused_and_leaves_nothing(app: Path, tmp_path: Path, cut: int) -> None:
    (app / "big").write_bytes(os.urandom(100_000))
    name, archive = packed(app)
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(GreenlightError, match="is not the one that was packed; run again"):
        unpack(archive, name, tmp_path / "sources", NO_PYTHON)
    assert os.listdir(tmp_path / "sources") == []


def test_a_garbled_archive_is_refused_and_leaves_nothing(app: Path, tmp_path: Path) -> None:
    for number, body in enumerate(
        [b"not an archive", gzip.compress(b"nor this" * 1000), b"\x1f\x8b\x08\x00" + b"x" * 99]
    ):
        (tmp_path / "a.tar.gz").write_bytes(body)
        with pytest.raises(GreenlightError, match="is not the one that was packed; run again"):
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
def test_any_tree_arrives_as_it_was_packed(tmp_path: Path, tree: dict[str, tuple[bytes, bool]]) -> None:
    tmp_path = tmp_path / f"{len(os.listdir(tmp_path))}"
    app = tmp_path / "app"
    names = []
    for name, (content, executable) in tree.items():
        try:
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_bytes(content)
        except OSError:  # one name is a file here and a directory there
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


# From a git clone


@pytest.fixture
def clone(app: Path) -> tuple[Path, str]:
    git(app, "init", "--quiet")
    (app / "run.sh").write_text("#!/bin/sh\n")
    (app / "run.sh").chmod(0o755)
    return app, commit(app)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_commit_is_exported_whole(clone: tuple[Path, str], tmp_path: Path, umask: int) -> None:
    directory, first = clone
    put(directory, "untracked.py", "second.py")
    before = os.umask(umask)
    try:
        export(directory, first, "", tmp_path / "sources", NO_PYTHON)
    finally:
        os.umask(before)
    arrived = tmp_path / "sources" / git_digest(first, "")
    assert sorted(os.listdir(arrived)) == ["run.sh", "shop", "wsgi.py"]
    assert (arrived / "wsgi.py").read_text() == "content of wsgi.py\n"
    assert modes(arrived) == {0o755, 0o644}
    assert (arrived / "run.sh").stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path / "sources") == [arrived.name]


@pytest.mark.parametrize("subdirectory", ["shop", "shop/", "/shop"])
def test_a_directory_of_a_commit_is_exported_alone(clone: tuple[Path, str], tmp_path: Path, subdirectory: str) -> None:
    directory, first = clone
    export(directory, first, subdirectory, tmp_path / "sources", NO_PYTHON)
    arrived = tmp_path / "sources" / git_digest(first, subdirectory)
    assert sorted(os.listdir(arrived)) == ["__init__.py", "static"]
    assert (arrived / "__init__.py").stat().st_mtime == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_a_commit_and_each_directory_of_it_have_their_own_digest() -> None:
    digests = {git_digest(commit, directory) for commit in ("a" * 40, "b" * 40) for directory in ("", "x", "y")}
    assert len(digests) == 6
    assert git_digest("a" * 40, "x") == "6243c5e0b9ddd8c0dd353453a26db7bcc6ab14334c33b71265b9e32962e10bc7"


@pytest.mark.parametrize(("wanted", "subdirectory"), [("0" * 40, ""), ("HEAD", "absent")])
def test_a_commit_or_directory_that_is_not_there_leaves_nothing_under_its_name(
    clone: tuple[Path, str], tmp_path: Path, wanted: str, subdirectory: str
) -> None:
    with pytest.raises(GreenlightError, match=f"reading {wanted}"):
        export(clone[0], wanted, subdirectory, tmp_path / "sources", NO_PYTHON)
    assert not (tmp_path / "sources" / git_digest(wanted, subdirectory)).exists()


def test_a_commit_with_a_link_that_leads_out_is_refused(clone: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = clone
    (directory / "secrets").symlink_to("/etc/shadow")
    with pytest.raises(GreenlightError, match="secrets"):
        export(directory, commit(directory), "", tmp_path / "sources", NO_PYTHON)
    assert [name for name in os.listdir(tmp_path / "sources") if not name.startswith(UNFINISHED)] == []
