# SPDX-License-Identifier: GPL-3.0-or-later
"""No text of an app, a program or a file can control a terminal."""

from __future__ import annotations

import re

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import all_printable, printable
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.report import Reported, describe, rendered
from hypothesis import given
from hypothesis import strategies as st

#: Controls of ASCII and of ISO 6429, and characters that change the direction of a line (UAX 9).
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
RED = "\x1b[31mall is well\x1b[0m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ('plain, "quoted" and \\x1b', 'plain, "quoted" and \\x1b'),
        ("Grüße \u4e16\u754c \U0001f600", "Grüße \u4e16\u754c \U0001f600"),
        (
            "a family \U0001f468\u200d\U0001f469, \u0645\u06cc\u200c",
            "a family \U0001f468\u200d\U0001f469, \u0645\u06cc\u200c",
        ),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("of Windows\r\nand\r\r\nothers", "of Windows\nand\nothers"),
        ("100 %\rdone", "100 %\\rdone"),
        ("\x1b]8;;http://x\x07link\x1b[2J", "\\x1b]8;;http://x\\x07link\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("admin\u202etxt.exe", "admin\\u202etxt.exe"),
        ("\u2066\u2069\u200f\u2028", "\\u2066\\u2069\\u200f\\u2028"),
        ("\udc9b", "\\udc9b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(alphabet=st.characters()))
def test_escaping_is_complete_and_idempotent(text: str) -> None:
    shown = printable(text)
    assert not OBEYED.search(shown)
    assert printable(shown) == shown
    shown.encode()


@given(st.text(alphabet=st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_each_text_of_a_result_is_made_printable() -> None:
    result = {"journal": [RED, 1, None, True], "answer": {RED: (RED,)}, "seconds": 1.5}
    safe = printable(RED)
    assert all_printable(result) == {"journal": [safe, 1, None, True], "answer": {safe: [safe]}, "seconds": 1.5}


def test_findings_on_the_controller_are_made_printable() -> None:
    finding = Reported("a", WARNING, RED, RED, "Remove it.")
    for text in (
        describe([finding], "shop", "web1"),
        finding.warning(),
        rendered([finding], "shop", ["staging"], ["web1"], []),
    ):
        assert not OBEYED.search(text)
        assert printable(RED) in text
