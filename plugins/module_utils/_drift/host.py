# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the host's environment, what a run left unfinished, and the history."""

from __future__ import annotations

import os

from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import break_lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import damage as damage_of_lock
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import unreadable
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    lost_stamp,
    other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import (
    faults,
    is_rest_of_removal,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    noted_release,
)

from .look import NAMED, Look, Report


def stamp(look: Look, report: Report) -> str | None:
    """Return the environment that the host is stamped with, empty if the stamp can't be read.

    Return None if there is nothing to compare: the app must not be here, or was never deployed here.
    """
    layout, add = look.layout, report.add
    unusable = lost_stamp(layout, removal=not look.wanted.present)
    try:
        found = "" if unusable else stamped(layout)
    except Damaged as error:  # reported for the host
        found, unusable = "", error
    if look.wanted.present:
        if found is None:
            add("host", layout.environment_id, f"{layout.app} was never deployed to this host.", look.deploy)
        return found
    if found is not None:
        what = f"{layout.app} is on this host, but the inventory says flask_app_state: absent."
        fix = look.deploy
        if unusable and not is_rest_of_removal(layout):  # as a removal would report
            what, fix = f"{what} Its stamp can't be used: {unusable.why}.", unusable.fix
        add("host", layout.environment_id, what, fix)
    return None


def lock(look: Look, report: Report) -> None:
    damage = damage_of_lock(look.layout)
    if damage:
        report.add("lock", damage.path, f"{damage.path} can't be used: {damage.why}.", look.deploy)
        return
    at_work = break_lock(look.layout, dry=True)
    if at_work:
        what = f"Another run is working here and may have caused the findings below: {at_work}."
        fix = f"Verify again when it has ended. If it is dead: {look.play} playbooks/unlock.yml"
        report.add("lock", look.layout.lock, what, fix)


def environment(look: Look, report: Report, name: str) -> bool:
    """Say whether the host can be compared with this inventory."""
    for fault in faults(look.layout, name):
        report.add("host", fault.path, fault.finding.what, fault.fix or look.deploy)
    for missing in accounts.missing(look.layout.app):
        report.add("host", missing, f"{missing} is missing.", look.deploy)
    other = other_environment(look.layout, look.wanted.environment) if name else ""
    if other:
        path = look.layout.environment_id
        fix = f"If you mean to move this host to another environment, write {look.wanted.environment} into {path}."
        report.add("host", path, f"{other} The rest of the host was not compared.", fix)
    return bool(name) and not other


def unfinished(look: Look, report: Report) -> None:
    layout, add = look.layout, report.add
    if os.path.lexists(layout.trial):
        name = noted_release(layout.trial) or f"a release ({layout.trial} doesn't say which)"
        what = f"A run switched to {name} and ended before it checked the front door."
        add("unfinished", layout.trial, what, look.deploy)
    if os.path.lexists(layout.rollback):
        name = noted_release(layout.rollback)
        which = name or f"a release ({layout.rollback} doesn't say which)"
        what = f"A rollback to {which} was begun but not finished."
        fix = f"Finish it: {look.play} playbooks/rollback.yml" if name else look.deploy
        add("unfinished", layout.rollback, what, fix)
    if os.path.lexists(layout.candidate_socket):
        what = "A run ended while it was proving a candidate through Nginx."
        add("unfinished", layout.candidate_socket, what, look.deploy)


def history(look: Look, report: Report) -> None:
    """Check the ledger and the releases that a rollback could go to."""
    layout, add, releases = look.layout, report.add, look.releases
    live = releases.live()
    if live and not (layout.ledger.is_file() and layout.ledger.stat().st_size):
        what = f"{layout.ledger} is missing or empty: the history is lost."
        add("history", layout.ledger, what, look.deploy)
    lines = unreadable(layout.ledger)
    if lines:
        numbers = ", ".join(map(str, lines[:NAMED])) + (", and more" if lines[NAMED:] else "")
        what = f"{layout.ledger} has unreadable lines, which are skipped: {numbers}."
        first = ";".join(f"{number}d" for number in lines[:NAMED])
        add(
            "history",
            layout.ledger,
            what,
            f"Keep a copy if you need it, then on the host: sed -i '{first}' {layout.ledger}",
        )
    if os.path.lexists(layout.previous) and not releases.previous():
        what = f"{layout.previous} does not point to a release that can take the traffic."
        add("history", layout.previous, what, look.deploy)
    for name in releases.names():
        for damage in releases.faults(name) if name != live else []:
            what = f"Release {name} is damaged, so no rollback can go to it; {damage.path}: {damage.why}."
            add("history", damage.path, what, look.deploy)
