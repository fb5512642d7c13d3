# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release serves, and which other releases run."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import leads

from .history import proof_of
from .state import is_socket
from .store import Releases


def serves(layout: Layout, release: str) -> bool:
    """Say whether ``release`` is live in every respect: proved, linked, running, reachable, and started at boot.

    An unreadable proof doesn't count: it is unknown which page and which workers proved the release.
    """
    releases = Releases(layout)
    units, found = releases.units(release), releases.get(release)
    return (
        bool(found and proof_of(layout, release))
        and leads(layout.live_socket, str(layout.socket(release)))
        and leads(layout.live, f"releases/{release}")
        and is_socket(layout.socket(release))
        and all(systemd.state(unit).is_active for unit in units)
        and all(systemd.starts_at_boot(layout, unit) for unit in units)
    )


def superfluous(layout: Layout) -> list[str]:
    """Return the releases other than the live one that run or would be started by a reboot."""
    return sorted((systemd.loaded(layout) | systemd.enabled(layout)) - {Releases(layout).live()})
