# SPDX-License-Identifier: GPL-3.0-or-later
"""List the releases that a host keeps, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import entries

from .store import Releases

COLUMNS = ("release", "revision", "when", "by", "result", "now")
#: A revision is a digest or a commit: this many characters are enough to identify it.
REVISION_LENGTH = 12


def overview(layout: Layout) -> list[dict[str, str]]:
    """Return the kept releases, newest first.

    Each has ``release``, ``revision``, ``environment``, ``when`` it last went live or was refused (UTC, may be empty),
    ``by`` (who made it), ``result`` (good, bad, or unproved), ``now`` (live, previous, or empty).
    """
    releases = Releases(layout)
    now = {releases.previous(): "previous", releases.live(): "live"}
    when = {
        str(entry.get("release")): str(entry.get("at", ""))
        for entry in entries(layout.ledger)
        if entry.get("event") in ("live", "refused", "taken back")
    }
    return [
        {
            "release": release.id,
            **{name: str(release.manifest.get(name, "")) for name in ("revision", "environment", "by")},
            "when": when.get(release.id, ""),
            "result": "bad" if release.bad else "good" if release.proved else "unproved",
            "now": now.get(release.id, ""),
        }
        for release in reversed(releases.all())
    ]


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the rows as aligned lines with a heading."""
    cells = [[row[name][:REVISION_LENGTH] if name == "revision" else row[name] for name in COLUMNS] for row in rows]
    lines = [list(COLUMNS), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
