# SPDX-License-Identifier: GPL-3.0-or-later
"""A hunt that finds nothing proves something only if it finds each planted form in each place."""

from __future__ import annotations

import base64
import html
import itertools
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support import leaks
from tests.support.leaks import CORE, LONGEST, QUOTINGS, SHORTEST, Hunter, Leak, changed_files, cores, forms, sampled

ODD = "p@ss 'w\"ord\\/é&<+% #$HOME`ü"
#: It has no core, so only its own forms can find it.
AWKWARD = f"{ODD} and 😀;"
LINES = f"{ODD} of one\n\tand of {ODD} two \nand of three"


def found(text: str | bytes, secret: str = AWKWARD) -> list[Leak]:
    content = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return Hunter({"the token": secret}).in_bytes("a log", b"before " + content + b" behind\n")


def missed(tmp_path: Path, texts: Mapping[str, str | bytes], secret: str = AWKWARD) -> list[str]:
    """Return the names of the texts in which the hunt finds nothing; each is a file, so that one search is enough."""
    paths = {name: tmp_path / str(number) for number, name in enumerate(texts)}
    for name, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        paths[name].write_bytes(b"before " + content + b" behind\n")
    places = {leak.place for leak in Hunter({"the token": secret}).in_files(paths.values())}
    return [name for name, path in paths.items() if str(path) not in places]


WRITTEN: dict[str, str | bytes] = {
    "raw": AWKWARD,
    "JSON": json.dumps({"token": AWKWARD}),
    "JSON in UTF-8": json.dumps({"token": AWKWARD}, ensure_ascii=False),
    "JSON in JSON": json.dumps({"document": json.dumps({"token": AWKWARD})}),
    "JSON in JSON, both in UTF-8": json.dumps(json.dumps([AWKWARD], ensure_ascii=False), ensure_ascii=False),
    "repr": repr(AWKWARD),
    "repr of bytes": repr(AWKWARD.encode()),
    "ascii": ascii([AWKWARD]),
    "YAML": yaml.dump({"token": AWKWARD}, default_style='"', width=1000),
    "YAML in UTF-8": yaml.dump({"token": AWKWARD}, default_style='"', width=1000, allow_unicode=True),
    "YAML in single quotes": "token: '" + AWKWARD.replace("'", "''") + "'",
    "shell": shlex.quote(AWKWARD),
    "shell, with backslashes": "'" + AWKWARD.replace("'", "'\\''") + "'",
    "URL": f"http://x/?q={quote(AWKWARD, safe='')}&r=1",
    "URL, path": f"http://x/{quote(AWKWARD)}/y",
    "URL, form": f"token={quote_plus(AWKWARD)}&x=y",
    "URL in lower case": re.sub("%..", lambda match: match[0].lower(), quote(AWKWARD, safe="")),
    "HTML": f"<p>{html.escape(AWKWARD)}</p>",
    "HTML, text": html.escape(AWKWARD, quote=False),
    "MarkupSafe": html.escape(AWKWARD).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "base64": base64.b64encode(AWKWARD.encode()),
    "base64 for URLs": base64.urlsafe_b64encode(AWKWARD.encode()),
    "hexadecimal": AWKWARD.encode().hex(),
    "an array of bytes": json.dumps({"MESSAGE": list(AWKWARD.encode())}, separators=(",", ":")),
    "an array of bytes with blanks": json.dumps(list(AWKWARD.encode())),
}  # fmt: skip


def test_a_secret_is_found_in_each_form(tmp_path: Path) -> None:
    assert missed(tmp_path, {**WRITTEN, **{name: quoting(AWKWARD) for name, quoting in QUOTINGS.items()}}) == []
    bash = subprocess.run(
        ["bash", "-c", 'LC_ALL=C.UTF-8; printf %q "$1"', "bash", ODD], capture_output=True, check=True
    )
    assert missed(tmp_path, {"bash's own": bash.stdout}, ODD) == []
    [leak, *_] = found(AWKWARD)
    assert (leak.place, leak.secret) == ("a log", "the token")


def test_bytes_are_escaped_as_each_program_escapes_them() -> None:
    for name, text in {
        "systemd": r"GREETING=caf\303\251 and\ttabs",
        "systemd, name of a unit": r"GREETING\x3dcaf\xc3\xa9\x20and\x09tabs",
        "Nginx": r"GREETING=caf\xC3\xA9 and\x09tabs",
    }.items():
        assert QUOTINGS[name]("GREETING=café and\ttabs") == text


def test_a_secret_within_base64_text_is_found(tmp_path: Path) -> None:
    texts = {}
    for before, behind in itertools.product(range(3), range(3)):
        inside = b"x" * before + AWKWARD.encode() + b"y" * behind
        texts[f"once {before} {behind}"] = base64.b64encode(inside)
        texts[f"twice {before} {behind}"] = base64.b64encode(b"z" + base64.b64encode(inside))
    assert missed(tmp_path, texts) == []


def test_each_single_line_of_a_secret_is_found(tmp_path: Path) -> None:
    for line in LINES.splitlines():
        stripped = line.strip()
        texts = (line, stripped, json.dumps(line), quote(line), base64.b64encode(stripped.encode()))
        assert missed(tmp_path, dict(zip("12345", texts, strict=True)), LINES) == []


def test_a_core_is_found_however_the_rest_is_escaped_or_cut(tmp_path: Path) -> None:
    one, other = secrets.token_hex(10), secrets.token_hex(10)
    secret = f"{one}'\"$\\ é\n{other}"
    assert cores(secret) == [one, other]
    for core in (one, other):
        texts = (
            f"<<{core}>>",
            base64.b64encode(f"key={core}'".encode()),
            base64.b64encode(base64.b64encode(f"k{core}'".encode())),
            core.encode().hex().upper(),
            ",".join(map(str, core.encode())),
        )
        assert missed(tmp_path, dict(zip("12345", texts, strict=True)), secret) == []


def test_a_piece_of_a_long_core_is_found() -> None:
    key = secrets.token_hex(32)
    assert found(key[:40], key)
    assert found(key[20:60], key)
    assert found(base64.encodebytes(f"{key} {key}".encode()), key)


def test_a_secret_of_any_length_is_found_by_its_beginning() -> None:
    secret = AWKWARD * 300
    assert max(map(len, forms(secret))) == LONGEST
    assert found(json.dumps(secret), secret)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=SHORTEST))
def test_any_secret_is_recognized_in_json_repr_and_url_form(secret: str) -> None:
    for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")):
        assert form.encode()[:LONGEST] in forms(secret)


def test_text_that_is_not_a_secret_is_not_reported() -> None:
    text = "\n".join([repr(sorted(os.environ)), json.dumps(ODD), AWKWARD[:-3], base64.b64encode(b"token").decode()])
    assert found(text) == []
    assert found("") == []


def test_no_form_is_short_enough_to_match_by_chance() -> None:
    assert min(map(len, forms(f"{AWKWARD}\nshort\n{secrets.token_hex()}"))) >= SHORTEST
    assert CORE >= SHORTEST
    with pytest.raises(ValueError, match="the pin is too short"):
        Hunter({"the pin": "1234"})
    with pytest.raises(ValueError, match="none of its patterns"):
        Hunter({"the token": AWKWARD}).read(b"a file\0something else\n")


def test_the_common_header_of_private_keys_is_not_searched() -> None:
    begin, end = (f"-----{word} PRIVATE " + "KEY-----\n" for word in ("BEGIN", "END"))
    key = f"{begin}{secrets.token_hex(32)}\n{end}"
    assert found(f"{begin}of another\n{end}", key) == []
    assert found(key, key)


def test_the_right_one_of_several_secrets_is_named() -> None:
    values = {name: f"{secrets.token_hex(10)} '{name}'" for name in ("one", "two", "three")}
    hunter = Hunter(values)
    assert {leak.secret for leak in hunter.in_bytes("", f"a\0b{values['two']}".encode())} == {"two"}
    assert hunter.without(["two"]).in_bytes("", values["two"].encode()) == []
    assert {leak.secret for leak in hunter.in_bytes("", json.dumps(values).encode())} == set(values)


def test_a_leak_is_reported_without_the_secret(tmp_path: Path) -> None:
    secret = secrets.token_hex(10)
    path = tmp_path / f"of-{secret}"
    path.write_text(f"{secret} and {secret}")
    leaked = Hunter({"the token": secret}).in_files([path])
    assert [leak.place for leak in leaked] == ["the name of a file", f"{tmp_path}/of-<secret>"]
    assert secret not in repr(leaked)
    assert "the token (raw) in" in repr(leaked)


def test_missing_or_binary_files_do_not_hide_a_leak(tmp_path: Path) -> None:
    secret = secrets.token_hex(10)
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"\0\xff\n" * 5)
    (tmp_path / "5").write_bytes(b"\0\xff" + secret.encode() + b"\xfe\0")
    listed = [tmp_path / "gone", *sorted(tmp_path.iterdir())]
    [leak] = Hunter({"the token": secret}).in_files(listed, step=2)
    assert leak.place == str(tmp_path / "5")


def test_world_readable_files_are_found(tmp_path: Path) -> None:
    began = time.time() - 1
    for name, mode in (("open", 0o644), ("closed", 0o600), ("group", 0o640)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    for name, mode in (("hidden", 0o700), ("entered", 0o711), ("left-out", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").write_text("")
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("closed")
    left_out = [tmp_path / "left-out"]
    seen = {str(path.relative_to(tmp_path)) for path in changed_files(tmp_path, began, left_out=left_out)}
    assert seen == {"open", "entered/inside"}
    everything = {str(path.relative_to(tmp_path)) for path in changed_files(tmp_path, began, hidden=True)}
    assert everything == {"open", "closed", "group", "hidden/inside", "entered/inside", "left-out/inside"}
    assert list(changed_files(tmp_path, time.time() + 60, hidden=True)) == []


def test_a_short_lived_command_line_is_seen(tmp_path: Path) -> None:
    secret, into = secrets.token_hex(10), tmp_path / "seen"
    with sampled([sys.executable, "-c", leaks.SAMPLER], into):
        subprocess.run(["sh", "-c", "sleep 0.2; :", secret], check=True)
    assert Hunter({"the token": secret}).in_files([into])
    assert into.stat().st_mode & 0o077 == 0


def test_a_sampler_that_ends_early_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not sampled all the time"), sampled(["false"], tmp_path / "seen"):
        pass


def test_the_server_search_is_a_valid_shell_script() -> None:
    script = leaks.server_script("guestbook")
    assert "APP" not in script
    assert "GREP" not in script
    assert '"_SYSTEMD_UNIT":"guestbook(@|-)' in script
    for shell in (["sh", "-n"], ["shellcheck", "--shell=sh", "--exclude=SC2086", "-"]):
        done = subprocess.run(shell, input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
