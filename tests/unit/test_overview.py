# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of a host's releases shows what became of each, and which is live."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import append
from ansible_collections.greenlight.flask.plugins.module_utils._release.overview import overview, table
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import BAD, PROVED, Releases

from tests.unit.fakes import create

FIRST, SECOND, THIRD, FOURTH = (f"20261121T09442{second}Z" for second in range(4))


def test_releases_are_listed_newest_first_with_their_outcome(tmp_path: Path) -> None:
    layout = Layout("shop", tmp_path)
    previous, bad, live, unproved = (create(layout, time) for time in (FIRST, SECOND, THIRD, FOURTH))
    for release in (previous, bad, live):
        Releases(layout).mark(release, PROVED, {})
    Releases(layout).mark(bad, BAD, {})
    link(layout.live_socket, str(layout.socket(live)))
    link(layout.previous, f"releases/{previous}")
    append(layout.ledger, {"event": "live", "release": live})
    append(layout.ledger, {"event": "retired", "release": previous})
    rows = overview(layout)
    assert [(row["release"], row["result"], row["now"]) for row in rows] == [
        (unproved, "unproved", ""),
        (live, "good", "live"),
        (bad, "bad", ""),
        (previous, "good", "previous"),
    ]
    assert [bool(row["when"]) for row in rows] == [False, True, False, False]
    assert {(row["revision"], row["environment"], row["by"]) for row in rows} == {("r1", "staging", "tester")}


def test_a_release_shows_when_it_last_went_live_or_was_refused(tmp_path: Path) -> None:
    layout = Layout("shop", tmp_path)
    releases = [create(layout, time) for time in (FIRST, SECOND, THIRD, FOURTH)]
    story = [
        ("live", 0), ("command failed", 1), ("command", 1), ("refused", 1), ("live", 2), ("retired", 0),
        ("taken back", 3), ("live", 0), ("retired", 2), ("command", 2), ("retired", 0),
    ]  # fmt: skip
    for minute, (event, number) in enumerate(story):
        append(layout.ledger, {"at": f"2026-11-21T09:{minute:02}:00Z", "event": event, "release": releases[number]})
    assert [row["when"][14:16] for row in reversed(overview(layout))] == ["07", "03", "04", "06"]


def test_a_host_without_releases_has_a_heading_only(tmp_path: Path) -> None:
    assert table(overview(Layout("shop", tmp_path))) == ["release  revision  when  by  result  now"]


def test_the_columns_of_the_table_are_aligned() -> None:
    row = {"release": "a", "revision": "0123456789abcdef", "when": "w", "by": "me", "result": "good", "now": ""}
    assert table([row, {**row, "release": "longer", "now": "live"}]) == [
        "release  revision      when  by  result  now",
        "a        0123456789ab  w     me  good",
        "longer   0123456789ab  w     me  good    live",
    ]
