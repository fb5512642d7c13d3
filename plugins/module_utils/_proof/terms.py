# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release is proved by, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast, get_type_hints

from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import whole

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


_KINDS = get_type_hints(Terms)
#: The options of a step that takes them.
PROOF = {name: whole(kind) for name, kind in _KINDS.items()}


def terms(options: Mapping[str, Any]) -> Terms:
    """Make them of a step's options, see :data:`PROOF`."""
    return cast("Terms", {name: kind(**options[name]) for name, kind in _KINDS.items()})


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
