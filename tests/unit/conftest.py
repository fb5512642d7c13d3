# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all unit tests."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator

import pytest
from ansible.parsing.vault import VaultAES256
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop

from tests.unit.fakes import Sandbox


def _key(password: bytes, salt: bytes, key_length: int, iv_length: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, 1, 2 * key_length + iv_length)


@pytest.fixture(scope="package", autouse=True)
def _fast_vaults() -> Iterator[None]:
    """Derive vault keys in one round instead of ten thousand. tests/repository has vaults for Ansible's programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VaultAES256, "_create_key_cryptography", staticmethod(_key))
        VaultAES256._gen_key_initctr.cache_clear()
        yield
    VaultAES256._gen_key_initctr.cache_clear()


@pytest.fixture(scope="package", autouse=True)
def _temporary_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a step killed in a test leaves behind in the tests' own directories, which pytest removes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Simulate the sandbox of builds, which needs systemd."""
    played = Sandbox()
    monkeypatch.setattr(workshop, "run", played.run)
    monkeypatch.setattr(workshop, "systemd", played)
    return played
