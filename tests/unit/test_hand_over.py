# SPDX-License-Identifier: GPL-3.0-or-later
"""What a less trusted account made becomes ours completely or not at all, and nothing outside of it is touched."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build.hand_over import DEEPEST, hand_over, move_files

SOMEBODY = 61234
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another account")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/run").write_text("#!/bin/sh\n")
    (tree / "bin/run").chmod(0o777)
    (tree / "data").write_text("x")
    return tree


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.write_text("of others")
    path.chmod(0o600)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0o644, 0o644), (0o600, 0o644), (0o666, 0o644), (0o777, 0o755), (0o4711, 0o755), (0o2664, 0o644), (0, 0o644)],
)
def test_everyone_can_read_a_file_but_only_we_can_write_it(tree: Path, given: int, expected: int) -> None:
    (tree / "data").chmod(given)
    hand_over(tree)
    assert mode(tree / "data") == expected


@pytest.mark.parametrize("given", [0o777, 0o700, 0o2775, 0o1777])
def test_everyone_can_enter_a_directory_but_only_we_can_change_it(tree: Path, given: int) -> None:
    (tree / "bin").chmod(given)
    tree.chmod(given)
    hand_over(tree)
    assert {mode(tree), mode(tree / "bin"), mode(tree / "bin/run")} == {0o755}


@AS_ROOT
def test_the_whole_tree_becomes_ours_including_links(tree: Path) -> None:
    (tree / "lib64").symlink_to("bin")
    for path in (tree, *tree.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    hand_over(tree)
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in (tree, *tree.rglob("*"))} == {(0, 0)}


@pytest.mark.parametrize(
    "target", ["../outside", "{top}/outside", "bin/../../outside", "over", "/", "..", "/nonexistent"]
)
def test_a_link_out_of_the_tree_is_refused_and_its_target_unchanged(tree: Path, outside: Path, target: str) -> None:
    (tree / "over").symlink_to("..")
    (tree / "zz").symlink_to(target.format(top=tree.parent) if target != "over" else "over/outside")
    with pytest.raises(GreenlightError, match=r"over|zz"):
        hand_over(tree)
    assert mode(outside) == 0o600
    assert mode(tree / "bin/run") == 0o777, "nothing was changed"


@pytest.mark.parametrize("target", ["bin", "bin/run", "bin/../data", "nowhere", "self"])
def test_a_link_within_the_tree_is_kept(tree: Path, target: str) -> None:
    (tree / "self").symlink_to(target)
    hand_over(tree)
    assert str((tree / "self").readlink()) == target


@pytest.mark.parametrize("target", ["../var", "../var/x", "../var/../bin/run", "../var/x/../../bin/python", "by/x"])
def test_a_link_through_a_path_that_will_leave_the_tree_is_refused(tree: Path, outside: Path, target: str) -> None:
    (tree / "bin/python").symlink_to(outside)
    (tree / "bin/by").symlink_to("../var/by")
    (tree / "bin/xx").symlink_to(target)
    with pytest.raises(GreenlightError, match=r"bin/(xx|by)"):
        hand_over(tree, str(outside), leads_out=["var"])
    assert mode(tree / "bin/run") == 0o777, "nothing was changed"


def test_a_link_through_an_existing_directory_is_kept(tree: Path) -> None:
    (tree / "var").mkdir()
    for target in ("../var/x", "../bin/var/x"):
        (tree / "bin/xx").unlink(missing_ok=True)
        (tree / "bin/xx").symlink_to(target)
        hand_over(tree, leads_out=["var"])


def test_a_link_to_the_interpreter_is_allowed(tree: Path, outside: Path) -> None:
    (tree / "bin/python").symlink_to(outside)
    (tree / "bin/python3").symlink_to("python")
    hand_over(tree, str(outside))
    assert mode(outside) == 0o600


def test_a_hard_link_to_a_file_outside_is_refused(tree: Path, outside: Path) -> None:
    (tree / "mine").hardlink_to(outside)
    with pytest.raises(GreenlightError, match="mine"):
        hand_over(tree)
    assert mode(outside) == 0o600


def test_hard_links_within_the_tree_are_kept(tree: Path) -> None:
    (tree / "bin/again").hardlink_to(tree / "data")
    (tree / "data").chmod(0o666)
    hand_over(tree)
    assert mode(tree / "data") == 0o644


def test_a_hard_link_within_does_not_hide_one_outside(tree: Path, outside: Path) -> None:
    (tree / "a").hardlink_to(outside)
    (tree / "b").hardlink_to(outside)
    with pytest.raises(GreenlightError):
        hand_over(tree)
    assert mode(outside) == 0o600


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_special_files_are_refused(tree: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "pipe":
        os.mkfifo(tree / "odd")
    else:
        monkeypatch.chdir(tree)
        socket.socket(socket.AF_UNIX).bind("odd")
    with pytest.raises(GreenlightError, match="odd"):
        hand_over(tree)


def test_a_tree_that_is_too_deep_is_refused(tree: Path) -> None:
    path = tree
    for _ in range(DEEPEST + 2):
        path = path / "d"
        path.mkdir()
    with pytest.raises(GreenlightError, match=f"more than {DEEPEST} directories"):
        hand_over(tree)


def test_a_name_that_is_not_valid_text_is_shown_in_printable_form(tree: Path) -> None:
    os.symlink("/", os.fsencode(tree) + b"/\xff\x1b[31m\n")
    with pytest.raises(GreenlightError) as refused:
        hand_over(tree)
    assert str(refused.value).isprintable()


# Bytecode made elsewhere


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/shop").mkdir(parents=True)
    return tmp_path / "source"


@pytest.fixture
def bytecode(tmp_path: Path) -> Path:
    (tmp_path / "bytecode/shop").mkdir(parents=True)
    for name in ("wsgi.pyc", "shop/views.pyc", "shop/other.txt"):
        (tmp_path / "bytecode" / name).write_text(name)
    return tmp_path / "bytecode"


def test_bytecode_is_written_next_to_its_module(source: Path, bytecode: Path) -> None:
    (source / "shop/__pycache__").mkdir()
    (source / "shop/__pycache__/views.pyc").write_text("of an older time")
    move_files(bytecode, source, ".pyc")
    found = {str(path.relative_to(source)): path.read_text() for path in source.rglob("*") if path.is_file()}
    assert found == {"__pycache__/wsgi.pyc": "wsgi.pyc", "shop/__pycache__/views.pyc": "shop/views.pyc"}


@pytest.mark.parametrize("place", ["__pycache__", "shop", "shop/__pycache__", "__pycache__/wsgi.pyc"])
def test_bytecode_is_not_written_through_a_link(source: Path, bytecode: Path, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = source / place
    if place == "shop":
        link.rmdir()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere / "file" if place.endswith(".pyc") else elsewhere)
    move_files(bytecode, source, ".pyc")
    assert list(elsewhere.iterdir()) == []
