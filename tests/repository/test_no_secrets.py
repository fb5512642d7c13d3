# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository holds no secret, whatever a commit includes."""

from __future__ import annotations

import re

import pytest

from tests.repository import repository

#: Names of files that hold secrets.
SECRET_NAME = re.compile(
    r"(^|/)(vault\.ya?ml|\.vault/.*|\.demo/.*|\.env|id_(rsa|dsa|ecdsa|ed25519)|.+\.(pem|key|p12|pfx))$"
)
#: Patterns of secrets; none can match a file here by chance.
SECRET_TEXT = {
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}"),
    "Vault file": re.compile(r"^\s*\$ANSIBLE_VAULT;[0-9.]+;AES256.*\n\s*[0-9a-f]{32}", re.MULTILINE),
    "access token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|glpat-[\w-]{20}|AKIA[0-9A-Z]{16}|xox[abp]-[\w-]{10})"),
    "password in an address": re.compile(r"\b[a-z][a-z0-9+]*://[^\s:/@'\"{}<>]+:[^\s:/@'\"{}<>$]{6,}@[\w.-]+"),
    "value of a secret": re.compile(r"\b(SECRET_KEY|PASSWORD)['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9+/_-]{32,}"),
}
#: Parts of texts that only look like secrets, so that tests can have such texts.
SHAM = re.compile(r"hunter(@|%40)?2|pass-w0rd|0123456789abcdef|(?i:example)")


def texts() -> dict[str, str]:
    """Return the tracked text files; locks are left out, since their hashes look like anything."""
    found = {}
    for name in repository.tracked():
        path = repository.ROOT / name
        if path.is_symlink() or re.search(r"(^|/)(requirements|requirements/\w+|uv)\.txt$", name):
            continue
        found[name] = path.read_bytes().decode("utf-8", errors="replace")
    return found


def kinds_of_secret(text: str) -> list[str]:
    return [
        kind
        for kind, pattern in SECRET_TEXT.items()
        if any(not SHAM.search(match.group()) for match in pattern.finditer(text))
    ]


def test_no_file_is_named_like_a_secret() -> None:
    assert [name for name in repository.tracked() if SECRET_NAME.search(name)] == []


def test_no_file_contains_text_like_a_secret() -> None:
    found = {name: kinds_of_secret(text) for name, text in texts().items()}
    assert {name: kinds for name, kinds in found.items() if kinds} == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("private key", "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAA\n"),
        ("Vault file", "$ANSIBLE_" + "VAULT;1.2;AES256;staging\n" + "6162" * 20),
        ("access token", "token: ghp_" + "a1B2" * 9),
        ("password in an address", "postgresql://guestbook:" + "kX93vvq1@db.internal/guestbook"),
        ("value of a secret", "SECRET_KEY: " + "0a1b2c3d" * 8),
    ],
)
def test_each_pattern_matches_its_secret(kind: str, text: str) -> None:
    assert kind in kinds_of_secret(text)


@pytest.mark.parametrize(
    "name",
    ["inventories/staging/group_vars/flask_app/vault.yml", ".vault/staging", ".demo/id_ed25519", "certs/tls.key"],
)
def test_each_secret_file_is_recognized_by_name(name: str) -> None:
    assert SECRET_NAME.search(name)


@pytest.mark.parametrize("name", [".vault/staging", ".demo/id_ed25519", "inventories/x/group_vars/flask_app/vault.yml"])
def test_git_ignores_the_files_of_the_demo(name: str) -> None:
    assert (
        repository.run("git", "check-ignore", "--quiet", "--no-index", name, directory=repository.ROOT).returncode == 0
    )
