# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation of the key that signs: the live release once more with other keys, and the end of releases with old ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    """The key that signs and those that still verify.

    Args:
        variable: name of the process's variable with the key that signs.
        key: its value.
        fallbacks: the others, which the process gets as a JSON list; without any the variable is absent.
    """

    variable: str
    key: str
    fallbacks: Sequence[str] = ()

    @property
    def fallbacks_variable(self) -> str:
        """The name that Flask gives to the list (SECRET_KEY_FALLBACKS, since 3.1)."""
        return f"{self.variable}_FALLBACKS"

    def variables(self) -> dict[str, str]:
        """Return them as the process gets them."""
        found = {self.variable: self.key}
        if self.fallbacks:
            found[self.fallbacks_variable] = json.dumps(list(self.fallbacks))
        return found


def is_live(layout: Layout, keys: Keys) -> bool:
    """Say whether the live release has exactly these keys.

    Raises:
        Refused: there is no live release, or it has no key of this name.
    """
    values = _live_environment(layout)
    if keys.variable not in values:
        what = f"The live release of {layout.app} has no {keys.variable}."
        fix = "Name its key in flask_app_secret_key_variable."
        raise refused("no-signing-key", keys.variable, what, fix)
    names = (keys.variable, keys.fallbacks_variable)
    return {name: values[name] for name in names if name in values} == keys.variables()


def rotated(layout: Layout, time: str, keys: Keys, by: str) -> Release:
    """Return a release that is the live one with these keys, made unless it is there: nothing else is different.

    Args:
        time: UTC time of the run as ``20261121T094420Z``.
        by: who rotates.
    """
    releases = Releases(layout)
    live = _live(layout)
    made = as_made(layout, live)
    old = {made.release_variable, keys.variable, keys.fallbacks_variable}
    variables = {name: value for name, value in made.variables.items() if name not in old}
    specification = replace(
        made,
        time=time,
        variables={**variables, **keys.variables()},
        secret_names=[*(live.secret_names - old), *keys.variables()],
        # Handed over as they are now.
        credentials=[*(set(made.credentials) - old), *(keys.variables() if keys.variable in made.credentials else ())],
        reversible=True,  # its command has run for the live release and is not run again
    )
    found = releases.find(specification.digest(key(layout)))
    return found or releases.create(specification, key(layout), by)


def outdated(layout: Layout) -> list[str]:
    """Return the releases, oldest first, that hold a secret which the live release doesn't hold.

    What is left of a release whose removal was begun counts too, for its secrets are there still.
    """
    releases = Releases(layout)
    live = _live(layout)
    known = set(releases.secret_values(live.id))
    names = {path.stem for path in layout.environment_files.glob("*.env")}
    return sorted(
        name
        for name in names - {live.id}
        if releases.get(name) is None or any(value not in known for value in _single(releases.secret_values(name)))
    )


def destroy(layout: Layout) -> list[str]:
    """Remove the releases that :func:`outdated` names; return them.

    Raises:
        Refused: one of them runs.
    """
    to_remove = outdated(layout)
    busy = sorted(set(to_remove) & set(superfluous(layout)))
    if busy:
        what = f"{', '.join(busy)} still runs beside the live release."
        raise refused("release-runs", busy[0], what, "Run site.yml first, which stops it.")
    releases = Releases(layout)
    for release in to_remove:
        releases.destroy(release)
    for directory in (layout.releases, layout.environment_files):
        remove_unfinished(directory)
    if not releases.previous():
        discard(layout.previous)
    return to_remove


def _single(values: Sequence[str]) -> list[str]:
    """Leave out what is a list of secrets, each of which is there by itself."""
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


def _live_environment(layout: Layout) -> Mapping[str, str]:
    return Releases(layout).variables(_live(layout).id)
