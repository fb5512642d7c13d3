# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory wants, what was found on a host, and what all checks need."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, numbered
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._release import stamp
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases

#: Maximum number of files of a source or a venv to name; there may be thousands.
NAMED = 5


@dataclass(frozen=True)
class Wanted:
    """What the inventory says.

    Args:
        plan: the release without its code.
        site: what Nginx must serve.
        present: whether the app should be on the host.
    """

    plan: Plan
    site: Site | None = None
    present: bool = True

    @property
    def environment(self) -> str:
        """Return the name of the environment."""
        return self.plan.environment


@dataclass
class Report:
    """The result: the live release, the drift, and what could not be checked, and why."""

    release: str = ""
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def add(self, kind: str, subject: object, what: str, fix: str) -> None:
        """Add a finding.

        Args:
            kind: its id; the controller's table of them is ``DRIFT`` in ``plugin_utils/_checks/host.py``.
            subject: the file, unit or variables that it is about.
            what: a sentence that names the subject.
            fix: what to type.
        """
        self.findings.append(Finding(kind, ERROR, str(subject), what, fix))

    def add_variables(self, kind: str, names: Sequence[str], what: str, fix: str) -> None:
        """Add one finding for several variables, if there are any; their names follow the clause ``what``."""
        listed = ", ".join(names)
        if listed:
            self.add(kind, listed, f"{what}: {listed}.", fix)

    def lines(self, app: str, host: str) -> list[str]:
        """Render the report: a heading, the findings, and a line for each thing that was not checked."""
        count = len(self.findings)
        drift = f"{count} {'finding' if count == 1 else 'findings'}" if count else "no drift"
        live = f"release {self.release} is live" if self.release else "no release is live"
        return [
            f"{app} on {host}: {drift}, {live}.",
            *numbered(self.findings),
            *(f"Not fully checked: {each}." for each in self.unchecked),
        ]


class Look:
    """The context of all checks of a host, which only read.

    Args:
        layout: the app's paths.
        wanted: what the inventory says.
        inventory: the inventory as typed on the command line, for the fixes.
        edge: the app's site and certificate.
    """

    def __init__(
        self, layout: Layout, wanted: Wanted, inventory: str = "<inventory>", edge: Edge | None = None
    ) -> None:
        self.layout = layout
        self.wanted = wanted
        self.edge = edge or Edge(layout)
        self.releases = Releases(layout)
        self.play = f"ansible-playbook -i {inventory}"
        self.deploy = f"Deploy: {self.play} site.yml"

    def again(self, live: str, first: str = "", processes: Sequence[Process] = (WEB,)) -> str:
        """Return the fix that reloads systemd's units and restarts the processes."""
        services = " ".join(self.layout.service_unit(live, process) for process in processes)
        steps = [first, "systemctl daemon-reload", f"systemctl restart {services}"]
        waits = " (requests wait during the restart)" if any(process.takes_requests for process in processes) else ""
        return f"On the host: {' && '.join(step for step in steps if step)}{waits}"

    def key(self) -> bytes:
        """Return the key for digests that identify values without revealing them."""
        try:
            return stamp.key(self.layout)
        except GreenlightError:  # reported for the file; any key will do for a comparison
            return secrets.token_bytes(stamp.KEY_BYTES)


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def names_of(settings: set[str]) -> list[str]:
    """Return the names of settings; skip lines that aren't settings."""
    found = (re.match(r"([A-Za-z_]\w*)\s*=", line) for line in settings)
    return sorted({match.group(1) for match in found if match})
