# SPDX-License-Identifier: GPL-3.0-or-later
"""No form in which a program may print a secret survives; a text without secrets stays as it is."""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._masking import MASK, SHORTEST, mask, url_parts
from hypothesis import given
from hypothesis import strategies as st

AWKWARD = "p@ss 'w\"ord\\/é&<+😀\n"


@pytest.mark.parametrize(
    "form",
    [
        AWKWARD,
        shlex.quote(AWKWARD),
        quote(AWKWARD, safe=""),
        quote_plus(AWKWARD),
        base64.b64encode(AWKWARD.encode()).decode(),
        base64.urlsafe_b64encode(AWKWARD.encode()).decode(),
        json.dumps(AWKWARD),
        json.dumps(AWKWARD, ensure_ascii=False),
        repr(AWKWARD),
        html.escape(AWKWARD),
        html.escape(AWKWARD).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    ],
    ids=[
        "raw", "shell", "url", "form", "base64", "base64 for urls",
        "json", "json in utf-8", "repr", "html", "markupsafe",
    ],
)  # fmt: skip
def test_a_secret_is_masked_in_each_form(form: str) -> None:
    masked = mask(f"before {form} after", [AWKWARD])
    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert len(masked) <= len("before '' after") + len(MASK)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://app:hunter2-long@db/app", "password hunter2-long was refused"),
        ("postgresql://app:hunter%402-long@db/app", "password hunter@2-long was refused"),
        ("postgresql://app:hunter%402-long@db/app", "password hunter%402-long was refused"),
        ("redis://:hunter2-long@cache:6379/0", "AUTH hunter2-long"),
    ],
)
def test_the_password_inside_a_url_is_masked_alone(url: str, said: str) -> None:
    assert "hunter" not in mask(said, [url])
    assert MASK in mask(said, [url])
    assert mask(f"at {url}.", [url]) == f"at {MASK}."


def test_a_line_of_a_value_is_masked_without_the_blanks_at_its_ends() -> None:
    assert mask("said: first line\n", ["  first line \nsecond line"]) == f"said: {MASK}\n"


def test_of_a_url_all_but_scheme_and_host_may_be_secret() -> None:
    parts = url_parts("https://deploy:hunter2@pypi.example.org/t0ken/simple?key=v4lue")
    assert {"deploy", "hunter2", "deploy:hunter2", "/t0ken/simple", "t0ken", "v4lue"} <= set(parts)
    assert not {"https", "pypi.example.org", "//"} & set(parts)
    assert url_parts("http://[broken") == ["http://[broken"]


def test_the_lines_of_a_value_are_masked_alone() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    assert mask("line 2 is MIIEvQIBADANBg, line 3 kqhkiG9w0BAQEF", [key]) == f"line 2 is {MASK}, line 3 {MASK}"


@pytest.mark.parametrize("short", ["", "a", "true", "12345"])
def test_a_short_value_is_left(short: str) -> None:
    text = "it is true that 12345 a's are no secret"
    assert mask(text, [short]) == text


def test_the_shortest_value_that_is_masked_has_six_characters() -> None:
    assert SHORTEST == 6
    assert mask("123456 12345", ["123456"]) == f"{MASK} 12345"


def test_a_secret_that_holds_another_one_is_masked_whole() -> None:
    assert mask("x hunter2-and-more y hunter2", ["hunter2", "hunter2-and-more"]) == f"x {MASK} y {MASK}"


def test_a_value_that_is_no_url_is_masked_like_any_other() -> None:
    assert mask("x http://[broken y", ["http://[broken"]) == f"x {MASK} y"


def test_a_text_without_secrets_stays_as_it_is() -> None:
    text = "Traceback: nothing here\n\ttabs 'and' \"quotes\""
    assert mask(text, ["hunter2-long", "postgresql://app:hunter2@db"]) == text


secrets = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=SHORTEST, max_size=30)


FORMS: list[Callable[[str], str]] = [str, json.dumps, repr, shlex.quote, quote_plus, html.escape]


@given(st.lists(secrets, min_size=1, max_size=4), st.text(max_size=10), st.sampled_from(FORMS))
def test_no_secret_survives(values: list[str], around: str, form: Callable[[str], str]) -> None:
    written = [form(value) for value in values]
    masked = mask(around + "".join(written) + around, values)
    for value in values:
        assert value not in masked
    for text in written:
        assert text not in masked
