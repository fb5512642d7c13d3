# SPDX-License-Identifier: GPL-3.0-or-later
"""Values survive an EnvironmentFile unchanged; values that can't are refused by name, never shown."""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    environment_text,
    environment_texts,
    keyed_digest,
    parse,
    render,
)
from hypothesis import example, given
from hypothesis import strategies as st

#: The last two code points of each plane are not characters; with U+FDD0 to U+FDEF these are all of Unicode's.
NONCHARACTERS = [chr(plane * 0x10000 + low) for plane in range(17) for low in (0xFFFE, 0xFFFF)]
NONCHARACTERS += [chr(point) for point in range(0xFDD0, 0xFDF0)]

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters=["\0", *NONCHARACTERS]))


@given(st.dictionaries(names, texts, max_size=5))
@example({"A": "it's", "B": "'", "C": "''"})
@example({"A": "ends in a backslash\\", "B": '"', "C": "\\'"})
@example({"A": "a\nB=b", "B": " both ends \t", "C": "\r\n"})
@example({"A": "#no comment", "B": "; nor this", "C": "%i $HOME `id` $(id)"})
@example({"A": "\x01\x1b\x7f\x85", "B": "\ufeffé😀\u2028", "C": ""})
def test_every_value_survives_a_round_trip(values: dict[str, str]) -> None:
    assert parse(render(values)) == values


@given(texts)
def test_a_value_is_a_single_shell_word_with_closed_quotes(value: str) -> None:
    assert shlex.split(render({"A": value}), posix=True) == [f"A={value}"]


@pytest.mark.parametrize("value", ["it's", "plain", "two words", "'"])
def test_a_value_is_written_in_single_quotes(value: str) -> None:
    quoted = value.replace("'", "'\"'\"'")
    assert render({"A": value}) == f"A='{quoted}'\n"


def test_the_file_has_one_assignment_per_line_sorted_by_name() -> None:
    assert render({"B": "2", "A": "1", "C": 3}) == "A='1'\nB='2'\nC='3'\n"


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (0, "0"), (8080, "8080"), (-1, "-1"), (0.5, "0.5"), ("", "")])
def test_strings_and_numbers_have_one_text_form(value: object, text: str) -> None:
    assert environment_text("A", value) == text
    assert environment_texts({"A": value}) == {"A": text}


@pytest.mark.parametrize(
    "value", [True, False, None, ["a"], {"a": 1}, b"bytes"], ids=["true", "false", "null", "list", "mapping", "bytes"]
)
def test_values_without_a_single_text_form_are_refused(value: object) -> None:
    kind = "has no value" if value is None else f"is a {type(value).__name__}"
    with pytest.raises(EnvironmentValueError, match=rf"^A {kind}\b.* in quotes"):
        environment_text("A", value)


@pytest.mark.parametrize(
    "character",
    ["\0", "\ud800", "\udfff", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_a_character_that_systemd_refuses_is_refused(character: str) -> None:
    with pytest.raises(EnvironmentValueError, match=rf"^A contains the character U\+{ord(character):04X}\b"):
        environment_text("A", f"hunter{character}2")


@pytest.mark.parametrize(
    "character", ["\ufdcf", "\ufdf0", "\ufffd", "\ue000", "\ud7ff", "\U00010000", "\U0010fffd", "\x01", "\ufeff"],
    ids=lambda character: f"U+{ord(character):04X}",
)  # fmt: skip
def test_the_neighbours_of_refused_characters_are_accepted(character: str) -> None:
    assert environment_text("A", character) == character


def test_every_noncharacter_of_unicode_is_refused() -> None:
    for character in NONCHARACTERS:
        with pytest.raises(EnvironmentValueError):
            environment_text("A", character)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "export A", "A\n", "Ä", "A.B", 5], ids=repr)
def test_a_name_that_systemd_would_ignore_is_refused(name: str) -> None:
    with pytest.raises(EnvironmentValueError, match="is not a valid name for an environment variable"):
        environment_text(name, "x")


@pytest.mark.parametrize("name", ["A", "_", "a1", "FLASK_CONFIG", "_0"])
def test_a_valid_variable_name_is_accepted(name: str) -> None:
    assert environment_text(name, "x") == "x"


@pytest.mark.parametrize(
    ("name", "unit", "longest"), [("K0", "x", 131_068), ("A", "é", 65_534), ("LONGER", "x", 131_064)]
)
def test_the_size_limit_of_the_kernel_is_enforced_exactly(name: str, unit: str, longest: int) -> None:
    value = unit * longest
    assert environment_text(name, value) == value
    with pytest.raises(EnvironmentValueError, match=rf"^{name} is 13107[23] bytes long .* at most 131071"):
        environment_text(name, value + unit)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "hunter2-secret\0"),
        ("A", "hunter2-secret\ufffe"),
        ("A", ["hunter2-secret"]),
        ("A", {"hunter2-secret": "hunter2-secret"}),
        ("A", "hunter2-secret" * 10_000),
        ("bad-name", "hunter2-secret"),
    ],
)
def test_a_refusal_never_contains_the_value(name: str, value: object) -> None:
    with pytest.raises(EnvironmentValueError) as refused:
        render({name: value})
    assert "hunter2" not in str(refused.value)
    assert name in str(refused.value)


def test_a_keyed_digest_is_sixty_four_hexadecimal_digits() -> None:
    digest = keyed_digest(b"k" * 32, {"A": "1"})
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


def test_a_keyed_digest_does_not_depend_on_the_order() -> None:
    assert keyed_digest(b"k", {"A": "1", "B": "2"}) == keyed_digest(b"k", {"B": "2", "A": "1"})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        (b"other", {"A": "1", "B": "2"}),
        (b"k", {"A": "1", "B": "3"}),
        (b"k", {"A": "1", "C": "2"}),
        (b"k", {"A": "1"}),
        (b"k", {"A": "2", "B": "1"}),
        (b"k", {"A": "1", "B": "2", "C": ""}),
        (b"k", {'A":"1","B': "2"}),
    ],
)
def test_a_keyed_digest_depends_on_key_name_and_value(key: bytes, values: dict[str, str]) -> None:
    assert keyed_digest(key, values) != keyed_digest(b"k", {"A": "1", "B": "2"})


def test_variables_that_are_too_large_in_total_are_refused() -> None:
    values = {f"V{number}": "x" * 100_000 for number in range(19)}
    assert len(render(values)) > 1_900_000
    with pytest.raises(EnvironmentValueError, match=r"21 variables have 21\d+ bytes in total"):
        render({**values, "MORE": "x" * 100_000, "MOST": "x" * 100_000})
