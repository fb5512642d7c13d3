# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a release was not proved, with the secrets masked, and the mark that it gets for that."""

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
    """Why a proof failed, secrets masked: the assertions, the HTTP answer, what the journal of a process ends with."""
    unit = layout.service_unit(release, process)
    journal = secrets.mask("\n".join(systemd.journal(unit, systemd.JOURNAL_LINES))).splitlines()
    answer = proof.answer
    # Masked before it is cut: half a secret is no longer found, and still tells half of it.
    failures = [replace(failure, got=secrets.mask(failure.got)) for failure in proof.failures]
    body = secrets.mask(answer.body) if answer else ""
    return {
        "failures": "; ".join(map(str, failures)),
        "answer": f"HTTP {answer.status} {body.strip()[:500]}" if answer else "none",
        "journal": "\n".join(journal[-systemd.SHOWN_LINES :]),
        "hints": hints([*journal, *systemd.memory_events(unit)], layout.app),
    }


def masked(answer: Answer, secrets: Secrets) -> Answer:
    """An answer as it may be shown: an app may repeat a secret even where it is well."""
    return replace(answer, body=secrets.mask(answer.body))


def with_hints(headline: str, report: dict[str, object]) -> str:
    found = report["hints"]
    return "\n".join([headline, *found]) if isinstance(found, list) else headline


def mark_bad(layout: Layout, release: str, event: str, report: dict[str, object], **facts: object) -> list[str]:
    """Mark a release bad and tell the ledger; return what there is to say of that.

    One that was live before, with success, is not marked: what is wrong now, such as a database that is down, may be
    right again tomorrow, and it must be there to go back to.
    """

    def write_down() -> None:
        if release not in recorded_live(layout):
            Releases(layout).mark(release, BAD, report)
        record(layout, event, release, failures=report["failures"], **facts)

    return best_effort(write_down)
