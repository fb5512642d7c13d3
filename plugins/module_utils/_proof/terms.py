# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release is proved by, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds

from .contract import Contract, Patience, Proof
from .inspection import Question, Seen
from .page import Page


class Terms(TypedDict):
    """What a release is proved by: the arguments that both proofs take."""

    contract: Contract
    patience: Patience
    page: Page
    bounds: Bounds
    question: Question


def terms(params: Mapping[str, Any]) -> Terms:
    """Make them of a module's parameters, see :data:`._options.PROOF`."""
    return Terms(
        contract=Contract(**params["contract"]),
        patience=Patience(**params["patience"]),
        page=Page(**params["page"]),
        bounds=Bounds(**params["bounds"]),
        question=Question(**params["question"]),
    )


@dataclass(frozen=True)
class Proved:
    """How a release was proved.

    Args:
        proof: of its pages; the answer is masked.
        path: of the page that was asked for.
        proved_by: of ``environment`` and ``debug`` who says so.
        seen: what the app says of itself; None where it wasn't asked.
    """

    proof: Proof
    path: str
    proved_by: Mapping[str, Sequence[str]]
    seen: Seen | None = None
