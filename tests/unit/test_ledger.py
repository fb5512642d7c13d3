# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger keeps every entry, whatever its content and however the previous run ended."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import append, entries, unreadable
from hypothesis import given, settings
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_entries_are_kept_in_order_with_their_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, {"release": "a"})
    append(path, {"release": "b", "health": {"env": "staging"}})
    first, second = entries(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(first.pop("at")))
    assert second.pop("at")
    assert (first, second) == ({"release": "a"}, {"release": "b", "health": {"env": "staging"}})
    assert path.read_text().count("\n") == 2


def test_a_missing_ledger_has_no_entries(tmp_path: Path) -> None:
    assert entries(tmp_path / "ledger.jsonl") == []


def test_no_line_contains_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    health = "\x1b[2J\x7f\x9b2J\u202eé\n"
    append(path, {"health": health})
    assert entries(path)[0]["health"] == health
    assert not re.search("[\x1b\x7f\x9b\u202e]", path.read_text())
    assert "é" in path.read_text()


@settings(max_examples=20)
@given(json_values)
def test_any_json_survives_a_round_trip(tmp_path: Path, value: object) -> None:
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    append(path, {"value": value})
    append(path, {"value": "next"})
    assert [entry["value"] for entry in entries(path)] == [value, "next"]


@pytest.mark.parametrize("cut", [b"x", b'{"at": "2026', b'{"at": "2026", "name": "J\xc3', b"{", b"\x00\x00\x00"])
def test_a_torn_line_is_skipped_and_the_next_entry_is_complete(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, {"release": "a"})
    with path.open("ab") as ledger:
        ledger.write(cut)
    assert [entry["release"] for entry in entries(path)] == ["a"]
    append(path, {"release": "b"})
    append(path, {"release": "c"})
    assert [entry["release"] for entry in entries(path)] == ["a", "b", "c"]


def test_the_ledger_is_append_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, {"release": "a"})
    before = path.read_bytes()
    append(path, {"release": "b"})
    assert path.read_bytes().startswith(before)


def test_the_ledger_is_readable_text_and_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(path.read_text(encoding="utf-8")))
    append(path, {"by": "Jürgen"})
    assert len(flushed) == 1
    assert '"by": "Jürgen"}\n' in flushed[0]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_ledger_that_begins_with_a_torn_line_still_works(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"{")
    append(path, {"release": "a"})
    assert [entry["release"] for entry in entries(path)] == ["a"]


def test_unreadable_lines_are_kept_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, {"release": "a"})
    with path.open("ab") as ledger:
        ledger.write(b'null\n[]\n3\n\n{"at"\n\xff\x00\n')
    append(path, {"release": "b"})
    assert [entry["release"] for entry in entries(path)] == ["a", "b"]
    assert unreadable(path) == [2, 3, 4, 6, 7]
    assert b"\xff\x00\n" in path.read_bytes()


def test_a_nearly_full_disk_gets_a_complete_line_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) writes what fits and returns its length; only the next call fails."""
    path, real = tmp_path / "ledger.jsonl", os.write
    monkeypatch.setattr(os, "write", lambda handle, content: real(handle, content[:7]))
    append(path, {"release": "a"})
    assert [entry["release"] for entry in entries(path)] == ["a"]

    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as refused:
        append(path, {"release": "b"})
    assert refused.value.filename == str(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_nothing_is_appended_to_a_ledger_that_is_not_a_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "ledger.jsonl"
    make(path)
    assert entries(path) == []
    with pytest.raises(Damaged, match=str(path)):
        append(path, {"release": "a"})
    assert os.listdir(tmp_path) == ["ledger.jsonl"]
