# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that an app runs as, and its group, as the host resolves them (nsswitch.conf(5))."""

from __future__ import annotations

import grp
import pwd

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require

from .layout import Layout

#: Entry in the record of an app -> its word in messages.
PARTS = {"passwd": "account", "group": "group"}


def number(part: str, name: str) -> int | None:
    """Return the number of the account (``passwd``) or ``group`` with this name, None if there is none."""
    try:
        return pwd.getpwnam(name).pw_uid if part == "passwd" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def present(name: str) -> list[str]:
    """Return, in words, which of account and group exist with this name."""
    return [f"the {word} {name}" for part, word in PARTS.items() if number(part, name) is not None]


def missing(name: str) -> list[str]:
    """Return, in words, which of account and group are missing for an app with this name."""
    return [f"the {word} {name}" for part, word in PARTS.items() if number(part, name) is None]


def make(layout: Layout) -> list[str]:
    """Make the app's account and group; return what was missing. The app's record must have both already."""
    name, lacking = layout.app, missing(layout.app)
    if number("group", name) is None:
        # An account keeps the number of its group if somebody removes the group.
        known = [user.pw_gid for user in pwd.getpwall() if user.pw_name == name]
        options = ["--system", *(f"--gid={gid}" for gid in known)]
        require(["/usr/sbin/groupadd", *options, name], f"/usr/sbin/groupadd {name}")
    if number("passwd", name) is None:
        options = ["--system", f"--gid={name}", f"--home-dir=/var/lib/{name}", "--no-create-home"]
        options += ["--shell=/usr/sbin/nologin", f"--comment=Flask app {name}"]
        require(["/usr/sbin/useradd", *options, name], f"/usr/sbin/useradd {name}")
    return lacking


def others_in_group(name: str) -> list[str]:
    """Return the other accounts whose primary group is that of ``name``: while they exist, it can't be removed."""
    gid = number("group", name)
    return sorted(user.pw_name for user in pwd.getpwall() if user.pw_gid == gid and user.pw_name != name)


def remove(part: str, name: str) -> None:
    """Remove the account (``passwd``) or the ``group``. userdel usually removes the account's group, too."""
    program = {"passwd": "/usr/sbin/userdel", "group": "/usr/sbin/groupdel"}[part]
    require([program, name], f"{program} {name}")
