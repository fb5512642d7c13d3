# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links appear complete or not at all, even to concurrent readers."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base import files
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    UNFINISHED,
    Damaged,
    HeldElsewhere,
    discard,
    exclusively,
    link,
    locked_down,
    make_directory,
    mount_points,
    read,
    read_facts,
    readable,
    remove,
    remove_unfinished,
    shown,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.killing import killed


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@contextmanager
def watched(look: Callable[[], object]) -> Iterator[set[object]]:
    """Call ``look`` repeatedly until the block ends, and collect its results."""
    seen: set[object] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(look())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("bits", [0o644, 0o600, 0o755, 0o400])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_file_has_its_content_and_exactly_its_mode(tmp_path: Path, bits: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert write(tmp_path / "file", "content\n", bits) is True
    finally:
        os.umask(before)
    assert read(tmp_path / "file") == "content\n"
    assert mode(tmp_path / "file") == bits
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("content", "bits", "changed"),
    [("same", 0o644, False), ("other", 0o644, True), ("same", 0o600, True), ("same\n", 0o644, True)],
)
def test_a_write_says_whether_it_changed_anything(tmp_path: Path, content: str, bits: int, changed: bool) -> None:
    path = tmp_path / "file"
    write(path, "same")
    before = path.stat().st_ino
    assert write(path, content, bits) is changed
    assert (path.stat().st_ino != before) is changed
    assert (read(path), mode(path)) == (content, bits)


def test_missing_parent_directories_are_created(tmp_path: Path) -> None:
    write(tmp_path / "a/b/file", "x")
    assert read(tmp_path / "a/b/file") == "x"


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_is_read_back_unchanged(tmp_path: Path, text: str) -> None:
    write(tmp_path / "file", text)
    assert read(tmp_path / "file") == text
    assert write(tmp_path / "file", text) is False


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    write(tmp_path / "file", "x")
    assert read(tmp_path / "absent") is None
    assert read(tmp_path / "file/below") is None


def test_a_write_through_a_link_replaces_the_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "file").symlink_to("target")
    write(tmp_path / "file", "ours")
    assert not (tmp_path / "file").is_symlink()
    assert read(tmp_path / "target") == "theirs"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "file", "new \ud800")
    assert read(tmp_path / "file") == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_sees_either_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old, new = "old" * 50_000, "new" * 50_000
    write(path, old)
    with watched(lambda: read(path)) as seen:
        for _ in range(20):
            write(path, new)
            write(path, old)
    assert seen <= {old, new}


def test_a_file_is_flushed_before_its_rename_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    flushed: list[tuple[bool, str | None]] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: flushed.append((stat.S_ISDIR(os.fstat(handle).st_mode), read(path)))
    )
    write(path, "new")
    assert flushed == [(False, None), (True, "new")]
    flushed.clear()
    link(tmp_path / "live", "a")
    assert flushed == [(True, "new")]


def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for change in range(1, 20):
        write(path, "old", 0o600)
        if not killed(change, lambda: write(path, "new", 0o644)):
            break
        assert (read(path), mode(path)) in (("old", 0o600), ("new", 0o644))
        write(path, "new", 0o644)
        assert os.listdir(tmp_path) == ["file"]
    assert change > 3


def test_a_secret_file_is_never_readable_by_others(tmp_path: Path) -> None:
    for change in range(1, 20):
        if not killed(change, lambda: write(tmp_path / "file", "secret", 0o600)):
            break
        assert all(mode(path) == 0o600 for path in tmp_path.iterdir())


def test_a_link_points_to_its_given_target(tmp_path: Path) -> None:
    assert link(tmp_path / "live", "releases/a") is True
    assert link(tmp_path / "live", "releases/a") is False
    assert link(tmp_path / "live", "releases/b") is True
    assert os.readlink(tmp_path / "live") == "releases/b"
    assert os.listdir(tmp_path) == ["live"]


def test_a_leftover_link_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}live").symlink_to("nowhere")
    link(tmp_path / "live", "releases/a")
    assert os.readlink(tmp_path / "live") == "releases/a"
    assert os.listdir(tmp_path) == ["live"]


def test_a_reader_never_sees_a_link_missing(tmp_path: Path) -> None:
    path = tmp_path / "live"
    link(path, "a")

    def look() -> str:
        try:
            return os.readlink(path)
        except OSError as error:
            return str(error)

    with watched(look) as seen:
        for _ in range(200):
            link(path, "b")
            link(path, "a")
    assert seen <= {"a", "b"}


def test_a_killed_link_points_to_the_old_or_the_new_target(tmp_path: Path) -> None:
    path = tmp_path / "live"
    for change in range(1, 20):
        link(path, "old")
        if not killed(change, lambda: link(path, "new")):
            break
        assert os.readlink(path) in ("old", "new")
    assert change > 2


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_directory_has_exactly_its_mode(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert make_directory(tmp_path / "d", 0o700) is True
        assert make_directory(tmp_path / "e") is True
    finally:
        os.umask(before)
    assert (mode(tmp_path / "d"), mode(tmp_path / "e")) == (0o700, 0o755)
    assert make_directory(tmp_path / "d", 0o700) is False
    assert make_directory(tmp_path / "d", 0o750) is True
    assert mode(tmp_path / "d") == 0o750


def test_a_directory_is_created_with_its_parents(tmp_path: Path) -> None:
    assert make_directory(tmp_path / "a/b/c") is True
    assert (tmp_path / "a/b/c").is_dir()


def test_files_links_and_trees_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("tree", "link", "broken"):
        assert remove(tmp_path / name) is True
        assert remove(tmp_path / name) is False
    assert os.listdir(tmp_path) == ["kept"]


#: Awkward names that an app may give to a file: for a shell, a terminal, and anyone who assumes UTF-8.
ODD = [b"-rf", b"--", b"a b", b"line\nfeed", b"\x1b[2Jcleared", b"\xff\xfe", b"*", b"'; id #", b"x" * 255]


def deep(top: Path, levels: int) -> None:
    """Make a tree too deep for recursion, and for the longest path."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_a_tree_of_any_depth_is_removed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # If the removal fails, pytest couldn't remove it either, in this run or any later one.
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", tmp_path / "tree"], check=True))
    (tmp_path / "tree").mkdir()
    deep(tmp_path / "tree", 3000)
    assert locked_down(tmp_path / "tree") == ""
    assert remove(tmp_path / "tree") is True
    assert os.listdir(tmp_path) == []


def test_a_tree_with_any_names_and_kinds_is_removed(tmp_path: Path) -> None:
    top = os.fsencode(tmp_path / "tree")
    for name in ODD:
        os.makedirs(os.path.join(top, name, name))
        with open(os.path.join(top, name, b"file"), "w"):
            pass
    os.mkfifo(os.path.join(top, b"pipe"))
    os.chmod(os.path.join(top, b"-rf"), 0o700)
    assert remove(tmp_path / "tree") is True
    assert os.listdir(tmp_path) == []


def test_removal_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/thesis").write_text("years of work")
    (tmp_path / "tree/inner").mkdir(parents=True)
    for name in ("tree/link", "tree/inner/link"):
        (tmp_path / name).symlink_to(tmp_path / "kept")
    (tmp_path / "tree/file").symlink_to(tmp_path / "kept/thesis")
    assert remove(tmp_path / "tree") is True
    assert (tmp_path / "kept/thesis").read_text() == "years of work"


def test_a_directory_replaced_by_a_link_during_removal_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/thesis").write_text("years of work")
    (tmp_path / "tree/inner").mkdir(parents=True)
    opened = os.open

    def swap(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "inner":
            (tmp_path / "tree/inner").rmdir()
            (tmp_path / "tree/inner").symlink_to(tmp_path / "kept")
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError, match=re.escape(f"{tmp_path}/tree/inner")):
        remove(tmp_path / "tree")
    assert (tmp_path / "kept/thesis").read_text() == "years of work"


def test_removal_does_not_enter_mount_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree/disk").mkdir(parents=True)
    (tmp_path / "tree/disk/thesis").write_text("years of work")
    monkeypatch.setattr(files, "_mount_id", lambda handle: os.readlink(f"/proc/self/fd/{handle}").endswith("disk"))
    with pytest.raises(OSError, match=r"busy: '[^']*/tree/disk'"):
        remove(tmp_path / "tree")
    assert (tmp_path / "tree/disk/thesis").exists()


def test_a_file_that_cannot_be_removed_is_named_in_printable_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = os.path.join(os.fsencode(tmp_path / "tree"), b"\x1b[2J\xff")
    os.makedirs(inner)
    with open(os.path.join(inner, b"file"), "w"):
        pass

    def unlink(name: str, *, dir_fd: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", name)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(OSError, match="Operation not permitted") as caught:
        remove(tmp_path / "tree")
    assert caught.value.filename == f"{tmp_path}/tree/\\x1b[2J\\xff/file"


@pytest.mark.parametrize("name", ["", "inner", "inner/file"])
def test_an_immutable_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").touch()
    (tmp_path / "tree/link").symlink_to("inner/file")
    os.mkfifo(tmp_path / "tree/pipe")
    assert locked_down(tmp_path / "tree") == ""
    doomed, asked = (tmp_path / "tree" / name).stat().st_ino, []

    def flags(name: str, directory: int | None) -> int:
        asked.append(os.path.basename(name))
        return int(os.stat(name, dir_fd=directory).st_ino == doomed)

    monkeypatch.setattr(files, "_flags", flags)
    assert locked_down(tmp_path / "tree") == str(tmp_path / "tree" / name).rstrip("/")
    assert not {"pipe", "link"} & set(asked)


def test_a_path_is_shown_on_one_line_without_control_characters() -> None:
    assert shown("/srv/shop/plain name-ä") == "/srv/shop/plain name-ä"
    for name in ODD:
        assert shown(os.fsdecode(name)).isprintable()
    assert len(shown("x/" * 5000)) < 300


def test_mount_points_are_listed_by_their_real_names(tmp_path: Path) -> None:
    assert mount_points(tmp_path) == []
    (tmp_path / "proc/self").mkdir(parents=True)
    rows = [b"21 1 0:20 / / rw - ext4 /dev/vda rw", b"22 21 0:21 / /srv/of\\040ada\x0b\xff rw - nfs server:/a rw", b""]
    (tmp_path / "proc/self/mountinfo").write_bytes(b"\n".join(rows))
    assert mount_points(tmp_path) == [tmp_path, tmp_path / os.fsdecode(b"srv/of ada\x0b\xff")]


def test_only_unfinished_files_are_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}tree").mkdir()
    (tmp_path / f"{UNFINISHED}tree/file").write_text("x")
    (tmp_path / f"{UNFINISHED}file").write_text("x")
    (tmp_path / "finished").write_text("x")
    (tmp_path / "below").mkdir()
    (tmp_path / f"below/{UNFINISHED}file").write_text("x")
    assert remove_unfinished(tmp_path) == [f"{UNFINISHED}file", f"{UNFINISHED}tree"]
    assert sorted(os.listdir(tmp_path)) == ["below", "finished"]
    assert os.listdir(tmp_path / "below") == [f"{UNFINISHED}file"]
    assert remove_unfinished(tmp_path / "absent") == []


# One at a time. A lock belongs to an open file, so that one process can hold both sides.


def is_held(path: Path) -> bool:
    try:
        with exclusively(path, 0):
            return False
    except HeldElsewhere as refused:
        assert str(path) in str(refused)
        return True


def test_a_held_guard_is_exclusive(tmp_path: Path) -> None:
    path = tmp_path / "a/guard"
    with exclusively(path, 0):
        assert is_held(path)
        assert not is_held(tmp_path / "a/other")
    assert not is_held(path)


def test_a_guard_is_a_file_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a/guard"
    before = os.umask(0)
    try:
        with exclusively(path, 0):
            assert (mode(path), mode(path.parent)) == (0o600, 0o755)
    finally:
        os.umask(before)
    path.write_text("theirs")
    with exclusively(path, 0):
        assert path.read_text() == "theirs"


def test_a_failure_releases_the_guard(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), exclusively(tmp_path / "guard", 0):
        raise KeyboardInterrupt
    assert not is_held(tmp_path / "guard")


def test_checking_a_held_guard_leaves_no_file_open(tmp_path: Path) -> None:
    with exclusively(tmp_path / "guard", 0):
        before = os.listdir("/proc/self/fd")
        assert is_held(tmp_path / "guard")
        assert os.listdir("/proc/self/fd") == before


def test_a_guard_held_elsewhere_is_awaited_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with ExitStack() as other:
        other.enter_context(exclusively(tmp_path / "guard", 0))

        def look_again(seconds: float) -> None:
            clock[0] += seconds
            if clock[0] >= 8:
                other.close()

        monkeypatch.setattr(time, "sleep", look_again)
        with pytest.raises(HeldElsewhere), exclusively(tmp_path / "guard", 5):
            pass
        assert 5 <= clock[0] < 6
        with exclusively(tmp_path / "guard", 5):
            assert 8 <= clock[0] < 9


def test_a_program_started_meanwhile_also_holds_the_guard(tmp_path: Path) -> None:
    with exclusively(tmp_path / "guard", 0):
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    assert is_held(tmp_path / "guard")
    program.communicate()
    assert not is_held(tmp_path / "guard")
    program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with exclusively(tmp_path / "guard", 0):
        pass
    assert not is_held(tmp_path / "guard")
    program.communicate()


# What somebody put in the place of a file


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def a_circle(path: Path) -> None:
    path.symlink_to(path)


def full(path: Path) -> None:
    path.mkdir()
    (path / "work").write_text("somebody's")


HOLLOW: list[Callable[[Path], object]] = [Path.mkdir, os.mkfifo, a_socket, a_circle]


@pytest.mark.parametrize("make", [*HOLLOW, full, lambda path: path.write_bytes(b"\xff\x00")])
def test_a_file_that_is_not_text_is_damaged_and_does_not_block(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "file")
    for look in (read, read_facts):
        with pytest.raises(Damaged) as damage:
            look(tmp_path / "file")
        assert damage.value.path == tmp_path / "file"
        assert str(tmp_path / "file") in str(damage.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "[" * 100_000])
def test_facts_that_are_not_an_object_are_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(Damaged):
        read_facts(tmp_path / "file")


def test_missing_facts_are_none(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "file") is None
    assert read(tmp_path / "file/below") is None


def test_reading_leniently_gives_the_text_or_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xff")
    assert readable(tmp_path / "file") == "a\N{REPLACEMENT CHARACTER}"
    assert readable(tmp_path) is readable(tmp_path / "none") is None


@pytest.mark.parametrize("make", [*HOLLOW, lambda path: path.symlink_to("elsewhere")])
def test_a_write_or_link_replaces_empty_directories_and_special_files(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "file")
    assert write(tmp_path / "file", "content\n") is True
    make(tmp_path / "link")
    assert link(tmp_path / "link", "file") is True
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "content\n", "link": "content\n"}


def test_a_directory_with_files_is_never_replaced(tmp_path: Path) -> None:
    full(tmp_path / "file")
    for work in (lambda path: write(path, "x"), lambda path: link(path, "x"), discard):
        with pytest.raises(Damaged, match=str(tmp_path / "file")):
            work(tmp_path / "file")
    assert (tmp_path / "file/work").read_text() == "somebody's"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_to_the_same_content_becomes_a_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("content\n")
    (tmp_path / "file").symlink_to("elsewhere")
    assert write(tmp_path / "file", "content\n") is True
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another")
def test_a_write_restores_our_ownership(tmp_path: Path) -> None:
    write(tmp_path / "file", "content\n")
    make_directory(tmp_path / "directory")
    for name in ("file", "directory"):
        os.chown(tmp_path / name, 65534, 65534)
    assert write(tmp_path / "file", "content\n") is True
    assert make_directory(tmp_path / "directory") is True
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {0}


def test_a_file_in_place_of_a_directory_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "file", "content\n")
    with pytest.raises(Damaged, match=str(tmp_path / "file")):
        make_directory(tmp_path / "file")


@pytest.mark.parametrize("make", [*HOLLOW, full])
def test_a_guard_that_is_not_a_file_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "guard")
    with pytest.raises(Damaged, match=str(tmp_path / "guard")), exclusively(tmp_path / "guard", 0):
        pytest.fail("it was entered")


def test_a_full_disk_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left") as refused:
        write(tmp_path / "file", "content\n")
    assert refused.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == []
