# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that an app runs as, and its group, as the host's programs know them (nsswitch.conf(5))."""

from __future__ import annotations

import grp
import pwd

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require

from .layout import Layout

#: What the record of an app calls account and group -> what people call them.
PARTS = {"passwd": "account", "group": "group"}


def number(part: str, name: str) -> int | None:
    """Return the number of the account (``passwd``) or ``group`` of this name, None where there is none."""
    try:
        return pwd.getpwnam(name).pw_uid if part == "passwd" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def present(name: str) -> list[str]:
    """Return which of account and group have this name, in words."""
    return [f"the {word} {name}" for part, word in PARTS.items() if number(part, name) is not None]


def missing(name: str) -> list[str]:
    """Return which of account and group an app of this name still needs, in words."""
    return [f"the {word} {name}" for part, word in PARTS.items() if number(part, name) is None]


def make(layout: Layout) -> list[str]:
    """Make the app's account and group; return what was missing. The record of the app must have both already."""
    name, lacking = layout.app, missing(layout.app)
    if number("group", name) is None:
        # An account whose group somebody has removed still has its number.
        known = [user.pw_gid for user in pwd.getpwall() if user.pw_name == name]
        options = ["--system", *(f"--gid={gid}" for gid in known)]
        require(["/usr/sbin/groupadd", *options, name], f"/usr/sbin/groupadd {name}")
    if number("passwd", name) is None:
        options = ["--system", f"--gid={name}", f"--home-dir=/var/lib/{name}", "--no-create-home"]
        options += ["--shell=/usr/sbin/nologin", f"--comment=Flask app {name}"]
        require(["/usr/sbin/useradd", *options, name], f"/usr/sbin/useradd {name}")
    return lacking


def others_in_group(name: str) -> list[str]:
    """Return the accounts whose own group is that of ``name``: as long as they are there, it can't be removed."""
    gid = number("group", name)
    return sorted(user.pw_name for user in pwd.getpwall() if user.pw_gid == gid and user.pw_name != name)


def remove(part: str, name: str) -> None:
    """Remove the account (``passwd``) or the ``group``; with the account, its group mostly goes too."""
    program = {"passwd": "/usr/sbin/userdel", "group": "/usr/sbin/groupdel"}[part]
    require([program, name], f"{program} {name}")
