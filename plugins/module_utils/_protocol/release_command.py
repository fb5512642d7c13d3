# SPDX-License-Identifier: GPL-3.0-or-later
"""The release command, such as a database migration: runs on one host of the group before a release gets traffic."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.sandbox import run_in_release
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, read_facts
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import entries
from ansible_collections.greenlight.flask.plugins.module_utils._proof.hints import hints
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import best_effort, record
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    COMMAND,
    COMMANDED,
    Releases,
    damaged_release,
)


@dataclass(frozen=True)
class Done:
    """The result: whether it ran now or had succeeded before, its seconds, and its masked output."""

    ran: bool
    seconds: float
    output: str


def run_release_command(layout: Layout, release: str, seconds: float) -> Done:
    """Run the release's command for at most ``seconds``, unless it has already succeeded for this release.

    Raises:
        Refused: it failed; the release gets no traffic. The text has its last output, masked.
    """
    releases = Releases(layout)
    found, damage = releases.look(release)
    if not found:
        raise damaged_release(release, damage[0])
    home = layout.release(release)
    if (home / COMMANDED).exists():
        _record_success(layout, release)
        return Done(ran=False, seconds=0, output="")
    began = time.monotonic()
    systemd.reload_units()
    unit = f"{layout.app}-release-command-{release}.service"
    # Pass the file, not its text, because systemd would expand specifiers in it.
    ended = run_in_release(layout, release, unit, ["/bin/sh", "-e", home / COMMAND], seconds)
    took = round(time.monotonic() - began, 2)
    output = found.secrets.mask("\n".join(ended.journal))
    if not ended.well:
        said = best_effort(lambda: record(layout, "command failed", release, seconds=took, failures=ended.how))
        live = releases.live()
        traffic = f"Traffic stays with {live}." if live else "There is no live release: the site answers 503."
        what = "\n".join(
            [f"The release command of {release} failed ({ended.how}):", output, *hints(output.splitlines(), layout.app)]
        )
        fix = f"Correct the command or the app, and deploy again. Full output: journalctl -u {unit}"
        raise refused("release-command-failed", release, what, fix, closing=[traffic, *said])
    releases.mark(release, COMMANDED, {"seconds": took})
    _record_success(layout, release)
    return Done(ran=True, seconds=took, output=output)


def _record_success(layout: Layout, release: str) -> None:
    """Record a successful command in the ledger if it is missing there: the run that ran it may have been killed."""
    commands = [entry for entry in entries(layout.ledger) if entry.get("event") == "command"]
    if release not in [entry.get("release") for entry in commands]:
        fact = {}
        with suppress(Damaged):
            fact = read_facts(layout.release(release) / COMMANDED) or {}
        record(layout, "command", release, **fact)
