# SPDX-License-Identifier: GPL-3.0-or-later
"""The terms by which a release is proved, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast, get_type_hints

from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import made, whole

from .contract import Contract, Patience, Proof
from .inspection import Question, Seen
from .page import Page


class Terms(TypedDict):
    """The arguments that both proofs take."""

    contract: Contract
    patience: Patience
    page: Page
    bounds: Bounds
    question: Question


_KINDS = get_type_hints(Terms)
#: The options of a step that takes them.
PROOF = {name: whole(kind) for name, kind in _KINDS.items()}


def terms(options: Mapping[str, Any]) -> Terms:
    """Make the terms from a step's options, see :data:`PROOF`."""
    return cast("Terms", {name: made(kind, options[name]) for name, kind in _KINDS.items()})


@dataclass(frozen=True)
class Proved:
    """How a release was proved.

    Args:
        proof: of its pages; the answer is masked.
        path: of the requested page.
        proved_by: who proves ``environment`` and who proves ``debug``.
        seen: what the app reports about itself; None if it wasn't inspected.
    """

    proof: Proof
    path: str
    proved_by: Mapping[str, Sequence[str]]
    seen: Seen | None = None

    def sentence(self, contract: Contract, page: Page) -> str:
        """Say that the release is live, and who proved it.

        Args:
            contract: what was proved.
            page: the page that should be requested.
        """
        by = {name: f" ({' and '.join(who)})" if who else "" for name, who in self.proved_by.items()}
        other = f"; it has no page at {page.path}, so {self.path} was requested" if self.path != page.path else ""
        return (
            f"release {contract.release} is live, revision {contract.revision}, environment {contract.environment}"
            f"{by.get('environment', '')}, DEBUG {'on' if contract.debug else 'off'}{by.get('debug', '')}{other}"
        )
