# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the app's instance folder where Flask looks for it, so that an app can write there as it does locally.

Flask's app.instance_path is the folder ``instance`` next to the app's package, or ``var/<name>-instance`` in the venv
that the package is installed in. Both belong to root, are read-only and shared by releases. So each is a link to the
directory that belongs to the app and outlives its releases. A folder that a source or a package brings stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout

#: The names of the links: at the top of a source, and at the top of a venv. No other link in these may pass through.
INSTANCE = "instance"
VAR = "var"


def provide_instance_folders(layout: Layout, source: str, venv: str) -> None:
    """Make the links in a source and a venv, given by their digests, unless that name is taken."""
    for folder in (layout.sources / source / INSTANCE, layout.venvs / venv / VAR):
        if folder.parent.is_dir() and not os.path.lexists(folder):
            times = folder.parent.stat()
            folder.symlink_to(layout.state)
            # For a source from git, a directory's time shows whether somebody changed it.
            os.utime(folder.parent, ns=(times.st_atime_ns, times.st_mtime_ns))


def is_provided(layout: Layout, path: Path) -> bool:
    """Say whether a path is the role's link at the top of a source."""
    is_there = path.parent.parent == layout.sources and path.name == INSTANCE
    return is_there and path.is_symlink() and path.readlink() == layout.state
