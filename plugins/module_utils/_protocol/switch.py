# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch the traffic to a proved release."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import discard, link, write
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import refused
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, noted_release


def switch(layout: Layout, release: str) -> str:
    """Switch the traffic to ``release``; return the id of the release that had it before, or an empty text.

    Raises:
        Refused: it was never proved, or is bad.
    """
    releases = Releases(layout)
    found = releases.get(release)
    if found is None or found.bad or not found.proved:
        what = f"Release {release} was not proved, so it gets no traffic."
        raise refused("unproved-release", release, what, "Deploy again.")
    before = releases.live()
    if noted_release(layout.rollback) != release:
        discard(layout.rollback)
    systemd.enable(layout, layout.units_of(release, releases.processes_taking(release, requests=True)))
    if before and before != release:
        link(layout.previous, f"releases/{before}")
    if before != release:
        write(layout.trial, release)
    link(layout.live_socket, str(layout.socket(release)))  # this rename moves the traffic
    link(layout.live, f"releases/{release}")
    return before if before != release else ""
