# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of processes that a release runs, and the systemd units of each."""

from __future__ import annotations

from dataclasses import dataclass

#: The part of a process that isn't a unit: the settings of its service for one release.
DROP_IN = "drop_in"


@dataclass(frozen=True)
class Process:
    """A kind of process. Each release has separate units for it.

    Args:
        name: as in a release's specification, such as ``web``.
        units: suffixes of its units, in the order of their start: a socket before the service that it activates.
        infix: text between the app's name and the ``@`` before the release's id in the names of its units. It begins
            with a character that app names can't have, such as ``_``, so that apps never share a unit name.
        takes_requests: whether it serves the traffic that the switch moves, so that it runs while its release is
            proved. Any other process fetches its work itself: it starts after its release has passed at the front
            door, and is the first to stop.
    """

    name: str
    units: tuple[str, ...]
    infix: str = ""
    takes_requests: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Its files in a release, in the order in which they are written."""
        return (DROP_IN, *reversed(self.units))


#: Serves requests: the switch moves the traffic to its socket.
WEB = Process("web", ("socket", "service"), takes_requests=True)
#: All processes that a release may have.
PROCESSES = (WEB,)
