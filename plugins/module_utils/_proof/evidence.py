# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a release was not proved, with secrets masked, and its mark as bad."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import (
    best_effort,
    record,
    recorded_live,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import BAD, Releases

from .contract import Proof
from .hints import hints


def evidence(layout: Layout, release: str, proof: Proof, secrets: Secrets, process: Process = WEB) -> dict[str, object]:
    """Return why a proof failed: the assertions, the HTTP answer and the end of a process's journal, all masked."""
    unit = layout.service_unit(release, process)
    journal = secrets.mask("\n".join(systemd.journal(unit, systemd.JOURNAL_LINES))).splitlines()
    answer = proof.answer
    # Mask before cutting: half a secret would not be found, but would still reveal half of it.
    failures = [replace(failure, got=secrets.mask(failure.got)) for failure in proof.failures]
    body = secrets.mask(answer.body) if answer else ""
    return {
        "failures": "; ".join(map(str, failures)),
        "answer": f"HTTP {answer.status} {body.strip()[:500]}" if answer else "none",
        "journal": "\n".join(journal[-systemd.SHOWN_LINES :]),
        "hints": hints([*journal, *systemd.memory_events(unit)], layout.app),
    }


def masked(answer: Answer, secrets: Secrets) -> Answer:
    """Return an answer with secrets masked: even a healthy app may repeat one."""
    return replace(answer, body=secrets.mask(answer.body))


def with_hints(headline: str, report: dict[str, object]) -> str:
    found = report["hints"]
    return "\n".join([headline, *found]) if isinstance(found, list) else headline


def mark_bad(layout: Layout, release: str, event: str, report: dict[str, object], **facts: object) -> list[str]:
    """Mark a release bad and record that in the ledger; return sentences to report.

    Don't mark a release that was live successfully before: its problem, such as a database that is down, may be
    temporary, and a rollback must be able to go back to it.
    """

    def write_down() -> None:
        if release not in recorded_live(layout):
            Releases(layout).mark(release, BAD, report)
        record(layout, event, release, failures=report["failures"], **facts)

    return best_effort(write_down)
