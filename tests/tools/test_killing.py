# SPDX-License-Identifier: GPL-3.0-or-later
"""Work killed by :mod:`tests.unit.killing` leaves the disk as SIGKILL would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.killing import killed


def test_work_is_killed_before_each_change_and_finally_completes(tmp_path: Path) -> None:
    def work() -> None:
        for name in "abc":
            (tmp_path / name).mkdir(exist_ok=True)

    left = []
    for change in range(1, 5):
        left.append((killed(change, work), sorted(os.listdir(tmp_path))))
        for name in os.listdir(tmp_path):
            (tmp_path / name).rmdir()
    assert left == [(True, []), (True, ["a"]), (True, ["a", "b"]), (False, ["a", "b", "c"])]


def test_buffered_output_is_lost(tmp_path: Path) -> None:
    def work() -> None:
        with (tmp_path / "file").open("w") as stream:
            stream.write("flushed")
            stream.flush()
            stream.write("and not")
            (tmp_path / "directory").mkdir()

    with (tmp_path / "another's").open("w") as stream:
        stream.write("kept")
        assert killed(2, work)
    assert (tmp_path / "file").read_text() == "flushed"
    assert (tmp_path / "another's").read_text() == "kept"


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("changed"),
        lambda path: os.utime(path, (0, 0)),
        lambda path: subprocess.run(["rm", path], check=True),
    ],
    ids=["remove", "write", "utime", "program"],
)
def test_no_cleanup_runs_after_a_kill(tmp_path: Path, act: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    before = path.stat().st_mtime

    def work() -> None:
        try:
            (tmp_path / "directory").mkdir()
        except BaseException:
            act(path)

    assert killed(1, work)
    assert (path.read_text(), path.stat().st_mtime) == ("kept", before)
    act(path)


def test_work_that_fails_by_itself_is_not_a_kill() -> None:
    with pytest.raises(ZeroDivisionError):
        killed(1, lambda: 1 / 0)
