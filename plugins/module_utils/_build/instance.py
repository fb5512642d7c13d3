# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Flask looks for an app's instance folder, so that an app can write there as it does at home.

Flask's app.instance_path is the folder ``instance`` beside the app's package, or ``var/<name>-instance`` in the venv
that the package is installed in. Both are root's, read-only and shared by releases; so each is a link to the one
directory that belongs to the app and outlives its releases. What a source or a package brings itself stays.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout

#: The names of the links: at the top of a source, and at the top of a venv. No link of these may lead by way of them.
INSTANCE = "instance"
VAR = "var"


def provide_instance_folders(layout: Layout, source: str, venv: str) -> None:
    """Make the links of a source and a venv, by their digests, unless something of that name is there."""
    for folder in (layout.sources / source / INSTANCE, layout.venvs / venv / VAR):
        if folder.parent.is_dir() and not os.path.lexists(folder):
            times = folder.parent.stat()
            folder.symlink_to(layout.state)
            # For a source from git, a directory's time says whether somebody changed it.
            os.utime(folder.parent, ns=(times.st_atime_ns, times.st_mtime_ns))


def is_provided(layout: Layout, path: Path) -> bool:
    """Say whether a path is the role's link at the top of a source."""
    is_there = path.parent.parent == layout.sources and path.name == INSTANCE
    return is_there and path.is_symlink() and path.readlink() == layout.state
