# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate the signing key: make the live release again with other keys, and remove releases with old ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import discard, remove_unfinished
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import refused
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import key
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    Release,
    Releases,
    as_made,
    damaged_release,
    listed,
)


@dataclass(frozen=True)
class Keys:
    """The signing key and those that are still accepted.

    Args:
        variable: name of the process's variable with the signing key.
        key: its value.
        fallbacks: the other keys, which the process gets as a JSON list; if there are none, that variable is absent.
    """

    variable: str
    key: str = field(repr=False)
    fallbacks: Sequence[str] = field(default=(), repr=False)

    @property
    def fallbacks_variable(self) -> str:
        """Flask's name for the list (SECRET_KEY_FALLBACKS, since 3.1)."""
        return f"{self.variable}_FALLBACKS"

    def variables(self) -> dict[str, str]:
        """Return the variables with the keys, as the process gets them."""
        found = {self.variable: self.key}
        if self.fallbacks:
            found[self.fallbacks_variable] = json.dumps(list(self.fallbacks))
        return found


def is_live(layout: Layout, keys: Keys, live: Release | None = None) -> bool:
    """Say whether the live release, which may have been read already, has exactly these keys.

    Raises:
        Refused: there is no live release, or it has no key with this name.
    """
    values = (live or _live(layout)).variables
    if keys.variable not in values:
        what = f"The live release of {layout.app} has no {keys.variable}."
        fix = "Set flask_app_secret_key_variable to the name of its key."
        raise refused("no-signing-key", keys.variable, what, fix)
    names = (keys.variable, keys.fallbacks_variable)
    return {name: values[name] for name in names if name in values} == keys.variables()


def rotated(layout: Layout, time: str, keys: Keys, by: str, live: Release | None = None) -> Release:
    """Return a release that differs from the live one only in its keys; make it unless it exists.

    Args:
        time: UTC time of the run as ``20261121T094420Z``.
        by: who rotates.
        live: the live release, where it has been read already.
    """
    releases = Releases(layout)
    live = live or _live(layout)
    made = as_made(layout, live)
    old = {made.release_variable, keys.variable, keys.fallbacks_variable}
    variables = {name: value for name, value in made.variables.items() if name not in old}
    specification = replace(
        made,
        time=time,
        variables={**variables, **keys.variables()},
        secret_names=[*(live.secret_names - old), *keys.variables()],
        # Passed in the same way as before.
        credentials=[*(set(made.credentials) - old), *(keys.variables() if keys.variable in made.credentials else ())],
        reversible=True,  # its command has run for the live release and doesn't run again
    )
    found = releases.find(specification.digest(key(layout)))
    return found or releases.create(specification, key(layout), by)


def outdated(layout: Layout) -> list[str]:
    """Return the releases, oldest first, that have a secret which the live release doesn't have.

    Include releases whose removal was begun: their secrets still exist.
    """
    releases = Releases(layout)
    live = _live(layout)
    known = set(live.secret_values)
    names = {path.stem for path in layout.environment_files.glob("*.env")} - {live.id}
    found = {name: releases.get(name) for name in names}
    return sorted(
        name for name, each in found.items() if each is None or not known.issuperset(_single(each.secret_values))
    )


def destroy(layout: Layout) -> list[str]:
    """Remove the releases that :func:`outdated` returns; return them.

    Raises:
        Refused: one of them runs.
    """
    to_remove = outdated(layout)
    busy = sorted(set(to_remove) & set(superfluous(layout)))
    if busy:
        what = f"These releases still run in addition to the live one: {', '.join(busy)}."
        raise refused("release-runs", busy[0], what, "Stop them first by deploying with site.yml.")
    releases = Releases(layout)
    for release in to_remove:
        releases.destroy(release)
    for directory in (layout.releases, layout.environment_files):
        remove_unfinished(directory)
    if not releases.previous():
        discard(layout.previous)
    return to_remove


def _single(values: Sequence[str]) -> list[str]:
    """Leave out lists of secrets: each of their secrets is also a separate value."""
    return [value for value in values if not listed(value)]


def _live(layout: Layout) -> Release:
    releases = Releases(layout)
    live = releases.live()
    found, damage = releases.look(live) if live else (None, [])
    if damage:
        raise damaged_release(live, damage[0])
    if not found:
        what = f"{layout.app} has no live release on this host."
        raise refused("no-live-release", layout.app, what, "Deploy it first with site.yml.")
    return found
