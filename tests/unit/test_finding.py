# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong, where, and what to type: how a finding travels, and how it is told."""

from __future__ import annotations

import json

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported, describe, reported

FINDING = Finding(
    "port-in-use", ERROR, "flask_app_http_port", "A is wrong.", "Correct A.", variables=("flask_app_tls",)
)
REPORTED = Reported("no-tls", WARNING, "flask_app_tls", "It is none.", "Set it.", accepted=True, hosts=("a", "b"))


@pytest.mark.parametrize("finding", [FINDING, REPORTED])
def test_a_finding_is_the_same_after_its_way_as_json(finding: Finding) -> None:
    assert type(finding).of(json.loads(json.dumps(finding.as_dict()))) == finding


def test_a_finding_says_what_where_and_what_to_type() -> None:
    shown = {"id": "no-tls", "severity": WARNING, "subject": "flask_app_tls", "what": "It is none.", "fix": "Set it."}
    assert REPORTED.as_dict() == {**shown, "accepted": True, "hosts": ["a", "b"]}
    assert Finding.of(shown).as_dict() == shown


def test_a_finding_is_about_its_subject_and_the_variables_it_rests_on() -> None:
    assert FINDING.concerns({"flask_app_http_port", "flask_app_name"})
    assert FINDING.concerns({"flask_app_tls"})
    assert reported(FINDING).concerns({"flask_app_tls"})
    assert not FINDING.concerns({"flask_app_https_port", "port-in-use"})


def test_findings_are_numbered_under_a_headline() -> None:
    told = describe([FINDING, Finding("b", ERROR, "B", "B is wrong.", "Correct B.")], "shop", "web1")
    assert told.splitlines() == [
        "shop can't be deployed to web1: 2 problems, nothing was changed.",
        "1. A is wrong. Correct A.",
        "2. B is wrong. Correct B.",
    ]
    assert describe([FINDING], "shop", "web1").startswith("shop can't be deployed to web1: 1 problem,")


def test_a_finding_without_a_fix_ends_with_its_text() -> None:
    assert describe([Finding("a", ERROR, "A", "A is wrong.")], "shop", "web1").splitlines()[1] == "1. A is wrong."
