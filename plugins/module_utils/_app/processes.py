# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release runs: the kinds of processes, and the systemd units of each."""

from __future__ import annotations

from dataclasses import dataclass

#: The part of a process that is not a unit: settings of its service for one release.
DROP_IN = "drop_in"


@dataclass(frozen=True)
class Process:
    """A kind of process. Each release has units of its own for it.

    Args:
        name: as in a release's specification, such as ``web``.
        units: suffixes of its units, in the order in which they start: a socket before the service that it wakes.
        infix: what its units have between the app's name and the ``@`` before the release's id. It begins with a
            character that no name of an app has, such as ``_``, or another app's units would be taken for this one's.
        takes_requests: whether it serves what the switch moves, so that it runs while its release is proved. Any other
            takes work by itself: it starts when its release has passed at the front door, and is the first to stop.
    """

    name: str
    units: tuple[str, ...]
    infix: str = ""
    takes_requests: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """What a release has of it in files, in the order in which they are written."""
        return (DROP_IN, *reversed(self.units))


#: Serves requests: its socket is the release's, which the switch gives the traffic.
WEB = Process("web", ("socket", "service"), takes_requests=True)
#: All that a release may have.
PROCESSES = (WEB,)
