# SPDX-License-Identifier: GPL-3.0-or-later
"""The stamp that says which environment a host belongs to, and the key of its digests."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import names
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout, is_environment_name
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, read, read_facts, readable
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import refused

from .store import MANIFEST, Releases

KEY_BYTES = 32


def stamped(layout: Layout) -> str | None:
    """Return the environment that this host is stamped with for the app, None if it was never deployed here.

    Raises:
        Damaged: the stamp can't be read.
    """
    path = layout.environment_id
    try:
        text = read(path)
    except Damaged as damage:
        raise Damaged(path, damage.why, f"Move it away. {_restamp_command(layout)}") from None
    if text is None:
        return None
    name = text.strip()
    if not is_environment_name(name):
        raise Damaged(path, "it does not contain the name of an environment", _restamp_command(layout))
    return name


def is_stamp_missing(layout: Layout) -> bool:
    """Say whether a host has no stamp, but traces of a deploy of the app, which stamps first."""
    traces = (layout.made, layout.digest_key)
    return not os.path.lexists(layout.environment_id) and (any(map(Path.exists, traces)) or bool(_made_for(layout)))


def lost_stamp(layout: Layout, *, removal: bool = False) -> Damaged | None:
    """Return the damage of a host that has lost its stamp, with the fix; None if it hasn't.

    Args:
        removal: whether the app is to be removed, which needs the record, too.
    """
    if not is_stamp_missing(layout):
        return None
    fix = _restamp_command(layout)
    if removal and not names.is_recorded(layout):
        fix += " Then deploy the app once more to restore the record of what the role made here, and remove it then."
    return Damaged(layout.environment_id, f"it is missing, but {layout.app} was deployed to this host", fix)


def other_environment(layout: Layout, environment: str) -> str:
    """Return a sentence if this host is stamped with another environment than ``environment``, or an empty text.

    Raises:
        Damaged: its stamp can't be read.
    """
    stamp = stamped(layout)
    if stamp in (None, environment):
        return ""
    return (
        f"This host is stamped {stamp} for {layout.app}, but flask_app_environment is {environment}: wrong inventory,"
        " or wrong host in it?"
    )


def refuse_other_environment(layout: Layout, environment: str) -> None:
    """Reject a host of another or an unknown environment.

    Raises:
        Refused: it is one.
    """
    other = other_environment(layout, environment)
    if other:
        fix = f"Use the inventory of {stamped(layout)}, or correct the stamp."
        raise refused("wrong-environment", layout.environment_id, f"{other} Nothing was changed.", fix)
    lost = lost_stamp(layout)
    if lost:
        raise lost


def key(layout: Layout) -> bytes:
    """Return the host's key for keyed digests.

    Raises:
        Damaged: there is none.
    """
    text = (readable(layout.digest_key) or "").strip()
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != KEY_BYTES:
        raise Damaged(layout.digest_key, "it does not contain a key", "Deploy with site.yml, which makes a new key.")
    return found


def _restamp_command(layout: Layout) -> str:
    name = shlex.quote(_made_for(layout)) if _made_for(layout) else "<environment>"
    command = f"echo {name} > {layout.environment_id}"
    if not layout.etc.is_dir():
        aside = f"mv {layout.etc} {layout.etc}.aside && " if os.path.lexists(layout.etc) else ""
        command = f"{aside}mkdir -p -m 755 {layout.etc} && {command}"
    return f"If this host is {name}, run on it: {command}"


def _made_for(layout: Layout) -> str:
    """Return the environment of the live release, or else of the newest readable one; empty if there is none."""
    releases = Releases(layout)
    for name in (releases.live(), *reversed(releases.names())):
        with suppress(Damaged):
            made_for = str((read_facts(layout.release(name) / MANIFEST) or {}).get("environment", ""))
            if is_environment_name(made_for):
                return made_for
    return ""
