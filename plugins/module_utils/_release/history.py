# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of an app's releases, from its ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import holder
from ansible_collections.greenlight.flask.plugins.module_utils._base.file_system import refusal
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, read_facts
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import append, entries

from .store import PROVED, Releases


def record(layout: Layout, event: str, release: str, **facts: object) -> None:
    """Append an event to the ledger, with facts from the release's manifest and proof."""
    manifest = Releases(layout).manifest(release)
    known = {name: manifest.get(name) for name in ("revision", "environment", "by")}
    known["by"] = holder(layout) or known["by"]  # for a rollback: who went back, not who made the release
    if manifest.get("reversible") is False:
        known["reversible"] = False
    proof = proof_of(layout, release) if event == "live" else {}
    append(layout.ledger, {"event": event, "release": release, **known, **proof, **facts})


def proof_of(layout: Layout, release: str) -> dict[str, Any]:
    """Return what was recorded when a release was proved; empty if that can't be read."""
    found: dict[str, Any] = {}
    with suppress(Damaged):
        found = read_facts(layout.release(release) / PROVED) or {}
    sound: dict[str, Callable[[Any], bool]] = {
        "restarts": lambda value: isinstance(value, int),
        "path": lambda value: isinstance(value, str),
        "proved_by": lambda value: isinstance(value, dict) and all(isinstance(who, list) for who in value.values()),
    }
    return {name: value for name, value in found.items() if name not in sound or sound[name](value)}


def best_effort(write_down: Callable[[], None]) -> list[str]:
    """Record a failure; if the host can't, as with a full disk, return a sentence that reports it."""
    try:
        write_down()
    except Damaged as damage:
        return [f"This failure could not be recorded: {damage.findings[0]}"]
    except OSError as error:
        return [f"This failure could not be recorded: {refusal(error)}"]
    return []


def recorded_live(layout: Layout) -> list[str]:
    """Return the releases that went live according to the ledger, oldest first; a rollback adds its release again."""
    return [str(entry.get("release")) for entry in entries(layout.ledger) if entry.get("event") == "live"]


def formerly_live(layout: Layout) -> list[str]:
    """Return the releases that the ledger calls live although they no longer are, in its order."""
    last = {str(entry.get("release")): entry.get("event") for entry in entries(layout.ledger)}
    return [release for release, event in last.items() if event == "live" and release != Releases(layout).live()]


def irreversible_since(layout: Layout, release: str) -> str:
    """Return the newest release with an irreversible release command that ran after ``release`` was last live."""
    found = ""
    known = set()
    for entry in entries(layout.ledger):
        name = str(entry.get("release"))
        if name == release and entry.get("event") == "live":
            found = ""
        # The command ran once, before its release first went live; hosts that didn't run it only recorded the latter.
        elif entry.get("event") in ("command", "live") and name not in known:
            known.add(name)
            found = name if entry.get("reversible") is False else found
    if not found and release not in recorded_live(layout):  # the history is lost, but manifests mention the commands
        undone = (each.id for each in reversed(Releases(layout).all()) if each.proved and not each.reversible)
        found = next(undone, "")
    return "" if found == release else found
