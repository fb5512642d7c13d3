# SPDX-License-Identifier: GPL-3.0-or-later
"""Report findings: in the refusal of a deploy, and by the doctor, with accepted ones marked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import (
    ERROR,
    WARNING,
    Finding,
    entries_for,
    numbered,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import printable

from .rules.doctor import UNUSED_ACCEPTANCE
from .rules.inventories import LOCKED_INVENTORY, UNREADABLE_INVENTORY

#: Findings about inventories that weren't compared.
_NOT_COMPARED = (LOCKED_INVENTORY.id, UNREADABLE_INVENTORY.id)


@dataclass(frozen=True)
class Reported(Finding):
    """A finding in the doctor's report.

    Args:
        accepted: whether ``flask_app_accepted_findings`` names it.
        hosts: where it was found, once the findings of several hosts are merged.
    """

    accepted: bool = False
    hosts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "accepted": self.accepted, "hosts": list(self.hosts)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        return super().of({**values, "hosts": tuple(values["hosts"])})

    def refusal(self) -> Self:
        """Return it as a reason not to deploy, with the entry that accepts it."""
        if "flask_app_accepted_findings" in self.fix:
            return self
        entry = json.dumps([f"{self.id}:{self.subject}"], ensure_ascii=False)
        return replace(self, fix=f"{self.fix} Or accept it with flask_app_accepted_findings: {entry}")

    def warning(self) -> str:
        """Return it as one line, with the entry that accepts it."""
        return printable(f"{self} ({self.id}:{self.subject})")

    def is_named_by(self, entry: str) -> bool:
        """Return whether an entry of flask_app_accepted_findings, ``id`` or ``id:subject``, names this finding."""
        return entry in entries_for(self.id, self.subject)


def reported(finding: Finding) -> Reported:
    """Return a finding for the doctor's report."""
    return Reported(**{each.name: getattr(finding, each.name) for each in fields(Finding)})


def marked(findings: Iterable[Finding], entries: Sequence[str], never: Iterable[str] = ()) -> list[Reported]:
    """Mark what ``entries`` accept.

    Args:
        findings: everything that was found.
        entries: the variable flask_app_accepted_findings.
        never: ids that can't be accepted, because the role itself refuses to continue.
    """
    refused = set(never)
    return [
        replace(finding, accepted=finding.id not in refused and any(map(finding.is_named_by, entries)))
        for finding in map(reported, findings)
    ]


def accept(
    findings: Iterable[Finding], entries: Sequence[str], never: Collection[str] = (), unseen: Collection[str] = ()
) -> list[Reported]:
    """Mark what ``entries`` accept, as :func:`marked` does, and report each entry that accepts nothing.

    Args:
        findings: see :func:`marked`.
        entries: see :func:`marked`.
        never: see :func:`marked`.
        unseen: ids that were not looked for, and may exist.
    """
    found = marked(findings, entries, never)
    unknown = any(finding.id in _NOT_COMPARED for finding in found)

    def is_possible(entry: str) -> bool:
        kind = entry.split(":", maxsplit=1)[0]
        return kind in unseen or (unknown and kind.startswith("shared-"))

    vain = [
        entry
        for entry in entries
        if not is_possible(entry) and not any(finding.accepted and finding.is_named_by(entry) for finding in found)
    ]
    return found + [
        Reported(
            UNUSED_ACCEPTANCE.id,
            WARNING,
            entry,
            f"flask_app_accepted_findings holds {entry}, "
            + ("which can't be accepted." if entry.split(":")[0] in never else "but nothing of that name was found."),
            UNUSED_ACCEPTANCE.fix,
        )
        for entry in vain
    ]


def together(of_hosts: Mapping[str, Iterable[Reported]]) -> list[Reported]:
    """Merge the findings of hosts: list a shared finding once with its hosts, errors first."""
    hosts: dict[Reported, list[str]] = {}
    for host, findings in of_hosts.items():
        for finding in findings:
            hosts.setdefault(finding, []).append(host)
    useful = [finding for finding in hosts if finding.accepted]
    merged = [
        replace(finding, hosts=tuple(names))
        for finding, names in hosts.items()
        # An entry that is unused on one host may be used on another.
        if finding.id != UNUSED_ACCEPTANCE.id or not any(other.is_named_by(finding.subject) for other in useful)
    ]
    return sorted(merged, key=lambda finding: (finding.accepted, finding.severity != ERROR))


def counts(findings: Iterable[Reported]) -> dict[str, int]:
    """Count ``errors`` and ``warnings`` that are not accepted, and those that are ``accepted``."""
    listed = list(findings)
    unaccepted = [finding.severity for finding in listed if not finding.accepted]
    return {
        "errors": unaccepted.count(ERROR),
        "warnings": unaccepted.count(WARNING),
        "accepted": len(listed) - len(unaccepted),
    }


def describe(findings: Sequence[Finding], app: str, host: str) -> str:
    """Render what stops a deploy as the numbered message that ends the play."""
    count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
    heading = f"{app} can't be deployed to {host}: {count}. Nothing was changed."
    return printable("\n".join([heading, *numbered(findings)]))


def rendered(
    findings: Sequence[Reported], app: str, environments: Sequence[str], hosts: Sequence[str], compared: Sequence[str]
) -> str:
    """Render merged findings for people: the counts, each finding with its fix, and the compared inventories."""
    number = counts(findings)
    parts = [
        f"{count} {kind.removesuffix('s') if count == 1 and kind != 'accepted' else kind}"
        for kind, count in number.items()
        if count
    ]
    lines = [f"{app}, {' and '.join(environments)}: {', '.join(parts) or 'nothing found'}. Nothing was changed."]
    for finding in findings:
        where = "" if set(finding.hosts) == set(hosts) else f" On {', '.join(finding.hosts)}."
        mark = f"accepted {finding.severity}" if finding.accepted else finding.severity
        lines += replace(finding, what=f"{finding.what}{where}").lines(mark)
    lines.append(_compared(findings, compared))
    return printable("\n".join(lines))


def _compared(findings: Iterable[Finding], names: Sequence[str]) -> str:
    if names:
        return f"secrets: compared with {', '.join(names)}"
    if any(finding.id in _NOT_COMPARED for finding in findings):
        return "secrets: no inventory of another environment could be compared"
    return "secrets: not compared, because there is no inventory of another environment next to this one"
