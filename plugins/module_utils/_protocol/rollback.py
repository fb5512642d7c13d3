# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the release that a rollback goes to."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import write
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import refused
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import irreversible_since, recorded_live
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Release, Releases, noted_release


def find_rollback(layout: Layout, wanted: str = "", *, force: bool = False, dry: bool = False) -> Release:
    """Return the release to go back to: ``wanted``, or the one that was live before the live one.

    The link to the previous release says which one that was, or the ledger if the link has no good target; times and
    names are never used. An unfinished rollback continues to its own release, even if that already has the traffic:
    otherwise, "previous" would be the release that we are rolling back from.

    Args:
        force: also go back across a release command that can't be undone.
        dry: don't record that the rollback has begun.

    Raises:
        Refused: there is none, or ``wanted`` is live, bad, damaged or was never proved; or a release command that can't
            be undone has run since it was live.
    """
    releases = Releases(layout)
    live = releases.live()
    begun = releases.get(noted_release(layout.rollback))
    if begun and wanted in ("", begun.id) and begun.proved and not begun.bad:
        return begun
    if wanted:
        found, damage = releases.look(wanted)
        why = f"{damage[0].path}: {damage[0].why}" if damage else ""
        faults = {
            "it is the live release": wanted == live,
            "this host has no release with that name": found is None and wanted not in releases.names(),
            f"it is damaged ({why})": found is None,
            "it is marked bad": bool(found and found.bad),
            "it was never proved": bool(found and not found.proved),
        }
        for fault, holds in faults.items():
            if holds:
                what = f"flask_app_rollback_to is {wanted}: {fault}. {_choices(releases, live)}"
                raise refused("no-rollback", wanted, what)
    for name in (wanted,) if wanted else (releases.previous(), *reversed(recorded_live(layout))):
        found = releases.get(name)
        if found and found.proved and not found.bad and name != live:
            across = irreversible_since(layout, found.id)
            if across and not force:
                what = (
                    f"Release {found.id} was live before the release command of {across}, which can't be undone. The"
                    " old code may no longer work with the data."
                )
                fix = "If it still works, run with: -e flask_app_rollback_force=true"
                raise refused("irreversible-command", across, what, fix)
            if not dry:
                write(layout.rollback, found.id)
            return found
    what = f"{layout.releases} has no earlier good release. {_choices(releases, live)}"
    raise refused("no-rollback", layout.releases, what)


def _choices(releases: Releases, live: str) -> str:
    good = [each.id for each in releases.all() if each.proved and not each.bad and each.id != live]
    if good:
        return f"Releases to go back to: {', '.join(good)}."
    damages = filter(None, map(releases.fault, releases.names()))
    lost = "".join(f" {damage.path}: {damage.why}." for damage in damages)
    return f"There is no release to go back to.{lost and f' Damaged releases:{lost}'}"
