# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong, where, and what to type: how a finding is passed on and printed."""

from __future__ import annotations

import json

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import (
    ERROR,
    WARNING,
    Finding,
    Refused,
    refused,
)
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported, describe, reported

FINDING = Finding(
    "port-in-use", ERROR, "flask_app_http_port", "A is wrong.", "Correct A.", variables=("flask_app_tls",)
)
SEVERAL_LINES = Finding("b", ERROR, "B", "B is wrong:\nit is B.")
REPORTED = Reported("no-tls", WARNING, "flask_app_tls", "It is none.", "Set it.", accepted=True, hosts=("a", "b"))


@pytest.mark.parametrize("finding", [FINDING, REPORTED])
def test_a_finding_survives_a_json_round_trip(finding: Finding) -> None:
    assert type(finding).of(json.loads(json.dumps(finding.as_dict()))) == finding


def test_a_finding_says_what_where_and_how_to_fix_it() -> None:
    shown = {"id": "no-tls", "severity": WARNING, "subject": "flask_app_tls", "what": "It is none.", "fix": "Set it."}
    assert REPORTED.as_dict() == {**shown, "accepted": True, "hosts": ["a", "b"]}
    assert Finding.of(shown).as_dict() == shown


def test_a_finding_concerns_its_subject_and_its_variables() -> None:
    assert FINDING.concerns({"flask_app_http_port", "flask_app_name"})
    assert FINDING.concerns({"flask_app_tls"})
    assert reported(FINDING).concerns({"flask_app_tls"})
    assert not FINDING.concerns({"flask_app_https_port", "port-in-use"})


def test_findings_are_numbered_under_a_headline() -> None:
    heading, *told = describe([FINDING, SEVERAL_LINES], "shop", "web1").splitlines()
    assert [fact for fact in ("shop", "web1", "2 problems") if fact not in heading] == []
    assert told == [
        "1. port-in-use:flask_app_http_port",
        "  A is wrong.",
        "  Fix: Correct A.",
        "2. b:B",
        "  B is wrong:",
        "  it is B.",
    ]
    assert "1 problem." in describe([FINDING], "shop", "web1").splitlines()[0]


def test_a_finding_without_a_fix_ends_with_its_text() -> None:
    assert str(SEVERAL_LINES) == SEVERAL_LINES.what
    assert str(FINDING) == f"{FINDING.what} Fix: {FINDING.fix}"


# A refused step


@pytest.mark.parametrize("heading", ["", "shop can't be removed."])
def test_a_refused_step_says_what_it_found_under_its_heading_and_what_became_of_it(heading: str) -> None:
    error = Refused(FINDING, SEVERAL_LINES, heading=heading, closing=["Nothing was removed."], details={"a": 1})
    listed = [*FINDING.lines("1."), *SEVERAL_LINES.lines("2.")]
    alone = ["error port-in-use:flask_app_http_port", *FINDING.lines()[1:], "error b:B", *SEVERAL_LINES.lines()[1:]]
    assert str(error).splitlines() == [*([heading, *listed] if heading else alone), "Nothing was removed."]
    closed = error.closed_by("The site is served still.")
    assert str(closed) == f"{error}\nThe site is served still."
    assert (closed.findings, closed.details) == (error.findings, {"a": 1})


def test_the_one_thing_that_ends_a_step_is_an_error() -> None:
    (finding,) = refused("locked", 7, "It is locked.").findings
    assert finding == Finding("locked", ERROR, "7", "It is locked.")
