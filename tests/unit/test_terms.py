# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a deploy says what is live, who proved it, and which page was requested."""

from __future__ import annotations

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract, Proof
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import Page
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import Proved

CONTRACT = Contract("staging", False, "r1", "20261121T094420Z-1a2b3c4d")
PAGE = Page("shop.example.org", "/health")
PROOF = Proof(True, [], None, 3, 0.1, 0.2)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("witnesses", [[], ["the health page"], ["the health page", "2 workers"]])
def test_the_report_names_release_environment_debug_and_witnesses(debug: bool, witnesses: list[str]) -> None:
    contract = Contract("staging", debug, "r1", CONTRACT.release)
    proved = Proved(PROOF, "/health", {"environment": witnesses, "debug": witnesses})
    words = proved.sentence(contract, PAGE)
    for part in (CONTRACT.release, "r1", "staging", "on" if debug else "off", *witnesses):
        assert part in words
    assert ("(" in words) == bool(witnesses)


@pytest.mark.parametrize("path", ["/health", "/"])
def test_the_report_says_if_another_page_was_requested(path: str) -> None:
    words = Proved(PROOF, path, {"environment": ["2 workers"], "debug": ["2 workers"]}).sentence(CONTRACT, PAGE)
    assert ("/" in words.split()) == ("/health," in words.split()) == (path == "/")
