# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are masked in every form in which a program may print them; text without secrets is unchanged."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import random
import re
import shlex
import time
from collections.abc import Callable, Iterable
from functools import cache
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.forms import LONG, PART, SHORTEST
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import MASK, Secrets, mask, url_parts
from ansible_collections.greenlight.flask.plugins.module_utils._base.spellings import CORE
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import QUOTINGS, Hunter, forms

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
def test_the_password_of_a_url_is_masked_on_its_own(url: str, said: str) -> None:
    assert "hunter" not in mask(said, [url])
    assert MASK in mask(said, [url])
    assert mask(f"at {url}.", [url]) == f"at {MASK}."


def test_a_line_of_a_value_is_masked_without_surrounding_blanks() -> None:
    assert mask("said: first line\n", ["  first line \nsecond line"]) == f"said: {MASK}\n"


def test_every_part_of_a_url_except_scheme_and_host_may_be_secret() -> None:
    parts = url_parts("https://deploy:hunter2@pypi.example.org/t0ken/simple?key=v4lue")
    assert {"deploy", "hunter2", "deploy:hunter2", "/t0ken/simple", "t0ken", "v4lue"} <= set(parts)
    assert not {"https", "pypi.example.org", "//"} & set(parts)
    assert url_parts("http://[broken") == ["http://[broken"]


def test_each_line_of_a_value_is_masked_on_its_own() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    assert mask("line 2 is MIIEvQIBADANBg, line 3 kqhkiG9w0BAQEF", [key]) == f"line 2 is {MASK}, line 3 {MASK}"


@pytest.mark.parametrize("short", ["", "a", "true", "12345"])
def test_a_short_value_is_not_masked(short: str) -> None:
    text = "it is true that 12345 a's are not secret"
    assert mask(text, [short]) == text


def test_the_shortest_value_that_is_masked_has_six_characters() -> None:
    assert SHORTEST == 6
    assert mask("123456 12345", ["123456"]) == f"{MASK} 12345"


def test_a_secret_that_contains_another_is_masked_completely() -> None:
    assert mask("x hunter2-and-more y hunter2", ["hunter2", "hunter2-and-more"]) == f"x {MASK} y {MASK}"


def test_a_value_that_is_not_a_url_is_masked_like_any_other() -> None:
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


# --- everything that the hunt looks for is masked --------------------------------------------------------------------


def characters(count: int, seed: int, alphabet: str = "0123456789abcdef") -> str:
    return "".join(random.Random(seed).choices(alphabet, k=count))


def block(seed: int) -> str:
    return f"{characters(20, seed)} '\"$HOME`\\ %é&<😀>;{characters(7, -seed)}"


def pem() -> str:
    """Return text like a key in PKCS #8, of 26 lines, which is not a key."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    lines = [characters(64, seed, alphabet) for seed in range(100, 126)]
    return "\n".join([f"-----BEGIN PRIVATE {'KEY'}-----", *lines, f"-----END PRIVATE {'KEY'}-----", ""])


SHORT = {
    "8 characters": "x'\"\\<&é$",
    "8 plain ones": "hunter2!",
    "awkward": f"a{AWKWARD.strip()}z",
    "hexadecimal": characters(40, 1),
    "lines": "first 'li\\ne' \n\tsecond \"line\"",
    "URL": f"redis://a:{characters(7, 2)}%27{characters(7, 3)}@db/app",
}
LONG_ONES = {"long": "".join(map(block, range(50))), "key": pem(), "long lines": "\n".join(map(block, range(10)))}
LONGEST = {
    "64 KiB": "".join(map(block, range(2000)))[: 64 * 1024],
    "64 KiB of digits": characters(64 * 1024, 4),
}
#: As long as is affordable in a test that runs a hundred times.
LONGER = {name.replace("64", "2"): text[: 2 * 1024] for name, text in LONGEST.items()}
#: Too short to have its parts masked, and too long for the hunt, which cuts its forms.
SECRETS = {**SHORT, **LONG_ONES, "127 characters": (block(5) * 3)[: LONG - 1]}


@cache
def hunter_of(secret: str) -> Hunter:
    return Hunter({"it": secret})


def left(text: str, secret: str) -> list[str]:
    """Return what the hunt finds in the masked text; it must find something in the unmasked one."""
    hunter = hunter_of(secret)
    content = text.encode(errors="surrogateescape")
    assert hunter.in_bytes("", content), "there is nothing to mask"
    return [leak.form for leak in hunter.in_bytes("", mask(text, [secret]).encode(errors="surrogateescape"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHORT, *LONG_ONES])
def test_no_form_the_leak_search_knows_survives(name: str) -> None:
    secret = {**SHORT, **LONG_ONES}[name]
    hunted = secret.partition("KEY-----\n")[2] or secret  # the first line of a key is not a secret
    written = {form.decode(errors="ignore"): kind for form, kind in forms(hunted).items()}
    assert len(written) > 10
    masked = mask("\n".join(f"before {form} behind" for form in written), [secret])
    assert Hunter({"it": hunted}).in_bytes("", masked.encode()) == []
    assert [kind for kind, line in zip(written.values(), masked.split("\n"), strict=True) if MASK not in line] == []


#: Separates the texts that are masked together.
BETWEEN = "\n# the next\n"


def masked_each(texts: Iterable[str], secret: str) -> list[str]:
    """Mask some texts; assert that the hunt then finds nothing in them."""
    masked = mask(BETWEEN.join(texts), [secret])
    assert hunter_of(secret + "x" * 12).in_bytes("", masked.encode()) == []
    return masked.split(BETWEEN)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_masked_in_every_quoting_style(name: str) -> None:
    secret = SECRETS[name]
    masked = masked_each([f"before '{quoting(secret)}' behind" for quoting in QUOTINGS.values()], secret)
    for quoting, text in zip(QUOTINGS, masked, strict=True):
        assert text.startswith("before '"), quoting
        assert text.endswith("' behind"), quoting
        if name in SHORT and quoting != "repr in single quotes":
            assert len(text) <= len("before '' behind") + len(MASK) * (1 + secret.count("\n")), quoting


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_within_base64_text_is_masked(name: str) -> None:
    secret = SECRETS[name]
    written = []
    for before in range(3):
        raw = b"x" * before + f"api:{secret}!".encode()
        written += [
            base64.b64encode(raw),
            base64.urlsafe_b64encode(raw),
            base64.b64encode(b"z" + base64.b64encode(raw)),
        ]
    for text in masked_each([f"Authorization: Basic {encoded.decode()}." for encoded in written], secret):
        assert text.startswith("Authorization: Basic ")
        assert text.endswith(".")
        assert len(text) < 70 or "PRIVATE" in secret


@pytest.mark.parametrize("name", SECRETS)
def test_escapes_are_recognized_in_upper_lower_and_mixed_case(name: str) -> None:
    secret = SECRETS[name]
    hexadecimal = secret.encode().hex()
    mixed = random.Random(0)
    writings = (
        re.sub("%..", lambda match: mixed.choice([match[0].lower(), match[0]]), quote(secret, safe="")),
        re.sub(r"(?<=\\u)....", lambda match: match[0].upper(), json.dumps(secret)[1:-1]),
        re.sub(r"(?<=\\x)..", lambda match: match[0].upper(), repr(secret.encode())[2:-1]),
        hexadecimal,
        hexadecimal.upper(),
        str(list(secret.encode())),
    )
    for text in masked_each([f"before {written} behind" for written in writings], secret):
        assert text.count(MASK) >= 1
        if name in SHORT:
            assert len(text) <= len("before [] behind") + len(MASK)


@pytest.mark.parametrize(
    "written",
    [
        r"a/b\u0026\u0027c\u003cd\u003e\u00e9\"e",
        r"""a/b\u0026'c\u003cd\u003eé\"e""",
        r"a\/b&'c<d>\u00e9\"e",
        "a%2Fb%26'c%3Cd%3E%C3%A9%22e",
        "a%2fb%26'c%3cd%3e%c3%a9%22e",
        "a/b&amp;&apos;c&lt;d&gt;é&quot;e",
    ],
    ids=["Flask's JSON in pages", "Go's JSON", "PHP's JSON", "JavaScript's URL", "the same in lower case", "XML"],
)
def test_quoting_styles_of_other_languages_are_recognized(written: str) -> None:
    assert mask(f"it is {written}.", ["a/b&'c<d>é\"e"]) == f"it is {MASK}."


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(json.dumps(['it\'s\\ "é" 😀'])),
        json.dumps(json.dumps(['it\'s\\ "é" 😀'], ensure_ascii=False)),
        json.dumps(json.dumps(['it\'s\\ "é" 😀'], ensure_ascii=False), ensure_ascii=False),
    ],
)
def test_nested_json_is_recognized_with_any_ascii_setting(written: str) -> None:
    assert mask(written, ['it\'s\\ "é" 😀']) == f'"[\\"{MASK}\\"]"'


def test_quotes_escaped_by_python_only_when_needed_are_recognized() -> None:
    assert mask(repr("it's é\n 12".encode()), ["it's é\n 12"]) == f'b"{MASK}"'
    assert mask(ascii("it's é\n 12"), ["it's é\n 12"]) == f'"{MASK}"'


def test_an_escape_that_begins_before_a_secret_does_not_hide_it() -> None:
    assert mask("100%4AB-secret %41", ["4AB-secret"]) == f"100%{MASK} %41"


# --- parts of long secrets -------------------------------------------------------------------------------------------

LINE_MAX = 48 * 1024
PIECES: dict[str, Callable[[str], str]] = {
    "as journald breaks a line": lambda text: f"it is: {text[: len(text) // 4 * 3]}\n{text[len(text) // 4 * 3 :]}",
    "its end on a line of its own": lambda text: f"it is: {text[:-9]}\n{text[-9:]}",
    "its start on a line of its own": lambda text: f"it is: {text[:9]}\n{text[9:]}",
    "wrapped": lambda text: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    "wrapped narrowly, and indented": lambda text: "\n  ".join(text[at : at + 20] for at in range(0, len(text), 20)),
    "without its end": lambda text: f"it is: {text[: len(text) // 3]}...",
    "without its start": lambda text: f"it is: ...{text[len(text) // 3 :]}",
    "some of it": lambda text: f"it is: ...{text[600:700]}...",
}


@pytest.mark.slow
@pytest.mark.parametrize("cut", PIECES)
@pytest.mark.parametrize("written", [str, json.dumps, repr, quote])
@pytest.mark.parametrize("secret", LONGER.values(), ids=LONGER)
def test_a_long_secret_in_pieces_is_masked(secret: str, written: Callable[[str], str], cut: str) -> None:
    masked = mask(PIECES[cut](written(secret)), [secret])
    scraps = [scrap.strip("it s:.\n'\"") for scrap in masked.split(MASK)]
    assert [scrap for scrap in scraps if len(scrap) > 3 or re.search("[0-9a-f]{2}", scrap)] == []
    assert len(masked) < 100 or "wrapped" in cut


def test_a_blank_lost_at_a_line_break_does_not_hide_a_secret() -> None:
    middle = "".join(map(block, range(9)))
    for first, last in (("4'é-9c", middle), (middle, "4'é-9c")):
        masked = mask(f"it is {first}\n{last} <", [f"{first} {last}"])
        assert masked.replace(MASK, "").split() == ["it", "is", "<"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [24, 40, 64, 76, 100])
@pytest.mark.parametrize("written", [str, json.dumps, lambda key: base64.b64encode(key.encode()).decode()])
def test_a_key_in_lines_of_any_length_is_masked(width: int, written: Callable[[str], str]) -> None:
    key = written(pem())
    text = "\n".join(key[at : at + width] for at in range(0, len(key), width))
    assert left(text, pem()) == []
    body = "".join(pem().splitlines()[1:-1])
    masked = mask(text, [pem()]).replace("\n", "")
    assert not [at for at in range(len(body) - 8) if body[at : at + 9] in masked]


def test_a_short_line_of_a_long_secret_is_masked_on_its_own() -> None:
    secret = f"{block(1) * 4}\n  ab'\\é-cd\n{block(2) * 4}"
    for line in ("ab'\\é-cd", json.dumps("ab'\\é-cd")[1:-1], base64.b64encode("ab'\\é-cd".encode()).decode()):
        assert mask(f"line 2 is {line}.", [secret]) == f"line 2 is {MASK}."


def test_parts_of_a_secret_are_masked_above_a_minimum_length() -> None:
    secret = "/".join(characters(7, seed) for seed in range(16))
    assert len(secret) == LONG - 1
    assert mask(f"it is {secret[8:64]}", [secret]) == f"it is {secret[8:64]}"
    secret += "!"
    for start in range(LONG - PART + 1):
        assert mask(f"it is <{secret[start : start + PART]}>", [secret]) == f"it is <{MASK}>"
    assert mask(f"it is <{secret[8 : 8 + PART - 1]}>", [secret]) == f"it is <{secret[8 : 8 + PART - 1]}>"


def test_an_alphanumeric_part_of_a_shorter_secret_is_masked() -> None:
    secret = characters(40, 6)
    for start in range(len(secret) - CORE + 1):
        assert mask(f"it is <{secret[start : start + CORE]}>", [secret]) == f"it is <{MASK}>"
    assert mask(f"it is <{secret[: CORE - 1]}>", [secret]) == f"it is <{secret[: CORE - 1]}>"


RULES = f"{'-' * 400}\n{'=' * 70}\n{'-=' * 40}\n{'-=+ ' * 30}\n{'0' * 100}\n{' ' * 100}x\n"
ORDINARY = [
    "the worker could not connect to the database",
    f"-----BEGIN PRIVATE {'KEY'}-----",
    f"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----END PRIVATE {'KEY'}-----",
    *RULES.splitlines(),
    "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]",
]


def test_ordinary_text_is_kept_even_if_a_long_secret_contains_it() -> None:
    text = BETWEEN.join(ORDINARY)
    words = "\n".join(f"{characters(9, seed)} the database of the worker did not answer" for seed in range(50))
    assert mask(text, [f"{words} {RULES}".replace("\n", " "), *LONG_ONES.values(), *LONGEST.values()]) == text


def test_a_line_of_dashes_within_a_masked_part_is_masked() -> None:
    secret = "".join(f"{characters(30, seed)}{'-' * 300}" for seed in range(40))
    assert mask(f"it is {secret[:5000]} <", [secret]) == f"it is {MASK} <"


SLOW = {
    **LONGEST,
    "the same again and again": "abcdefgh'" * 7281,
    "one character": "a" * 64 * 1024,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_longest_secret_is_masked_quickly(name: str) -> None:
    secret = SLOW[name]
    text = f"it is {secret[:LINE_MAX]}\n{secret[LINE_MAX:]} " + "an ordinary line %C3 with \\u00E9\n" * 1000
    began = time.process_time()
    mask(text, [secret])
    assert time.process_time() - began < 1.5  # on a slow machine; a quadratic search takes ten seconds and more


def test_searching_a_text_in_chunks_leaves_no_gaps() -> None:
    secret = f"'{characters(30, 7)}'"
    text = f"{secret}some words;" * 8000
    assert len(text) > 256 * 1024
    assert mask(text, [secret]) == f"{MASK}some words;" * 8000


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{0!r:>40}".format, lambda value: str([value]), ascii])
def test_secrets_do_not_show_their_values(show: Callable[[object], str]) -> None:
    assert "hunter2" not in show(Secrets(["hunter2-and-more"]))
    assert Secrets(["hunter2-and-more"]).mask("it is hunter2-and-more") == f"it is {MASK}"


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, json.dumps])
def test_secrets_cannot_be_serialized(write: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        write(Secrets(["hunter2-and-more"]))
