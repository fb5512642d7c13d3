# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a release on its own socket and prove that it keeps its contract."""

from __future__ import annotations

from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._options import RUN
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import PROOF, terms
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prove import prove_candidate

from . import Call

OPTIONS: dict[str, Any] = {
    **RUN,
    "release": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    **PROOF,
}


def run(call: Call) -> dict[str, object]:
    if call.dry:
        nothing = {"path": "", "proved_by": {}, "health": "", "app_says": {}}
        return {"changed": True, "seconds": 0.0, "first_answer_seconds": 0.0, **nothing}
    proved = prove_candidate(call.layout, call.options["release"], **terms(call.options), url=call.options["url"])
    return {
        "changed": True,
        "seconds": round(proved.proof.seconds, 2),
        "first_answer_seconds": round(proved.proof.first_answer_seconds, 2),
        "path": proved.path,
        "proved_by": proved.proved_by,
        "health": proved.proof.answer.body if proved.proof.answer else "",
        "app_says": proved.seen.as_result() if proved.seen else {},
    }
