# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as systemd credentials: one file each, which only the service sees; <NAME>_FILE has its path.

systemd.exec(5), LoadCredential=: systemd copies the files into memory that only the service can read, and %d is that
directory (systemd.unit(5)). So no secret is in the process's environment, which its children inherit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import make_directory, readable, write

from .layout import Layout
from .processes import Process

#: Suffix that turns a secret's name into that of the variable with the path of its file.
SUFFIX = "_FILE"
#: For all credentials together (systemd.exec(5), LoadCredential=).
MAXIMUM_BYTES = 2**20


def held(layout: Layout, release: str) -> dict[str, str]:
    """Return the credentials of a release, by name."""
    return _texts(layout.credentials(release))


def named(layout: Layout, release: str) -> set[str]:
    """Return the names of the credentials in a release's drop-ins."""
    texts = (readable(layout.credentials_drop_in(release, process)) or "" for process in layout.processes)
    return {name for text in texts for name in re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE)}


def loaded(layout: Layout, unit: str) -> dict[str, str]:
    """Return the credentials that systemd has passed to a unit's process, by name."""
    return _texts(layout.root / place(unit).lstrip("/"))


def hold(layout: Layout, release: str, values: Mapping[str, str], processes: Sequence[Process]) -> None:
    """Write the credentials of a release, and the drop-ins that pass them to its processes."""
    if not values:
        return
    size = sum(len(value.encode()) for value in values.values())
    if size > MAXIMUM_BYTES:
        raise GreenlightError(f"The credentials have {size} bytes in total; systemd accepts at most {MAXIMUM_BYTES}.")
    make_directory(layout.credentials(release), 0o700)
    for name, value in values.items():
        write(layout.credentials(release) / name, value, 0o600)
    for process in processes:
        make_directory(layout.credentials_drop_in(release, process).parent)
        write(layout.credentials_drop_in(release, process), drop_in(layout.app, values))


def drop_in(app: str, names: Iterable[str]) -> str:
    """Return the text of the drop-in for the credentials with these names."""
    lines = [
        line
        for name in sorted(names)
        for line in (
            f"LoadCredential={name}:/etc/{app}/releases/%i.credentials/{name}",
            f"Environment={name}{SUFFIX}=%d/{name}",
        )
    ]
    return "\n".join(["# Owner: role greenlight.flask.flask_app", "", "[Service]", *lines, ""])


def _texts(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.glob("[!.]*")) if path.is_file() and not path.is_symlink())
    return {path.name: path.read_bytes().decode(errors="replace") for path in files}


def place(unit: str) -> str:
    """Return where systemd puts the credentials of a system unit; the value of %d."""
    return f"/run/credentials/{unit}"
