# SPDX-License-Identifier: GPL-3.0-or-later
"""A build that failed because of a missing program is reported with the package, the program and what to set."""

from __future__ import annotations

import shutil

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._build.failure import explain


@pytest.fixture(autouse=True)
def _compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize(
    ("said", "package", "missing", "debian"),
    [
        (
            "  \u00d7 Failed to build `psycopg2==2.9.10`\n  Error: pg_config executable not found.\n",
            "psycopg2==2.9.10", "pg_config", "libpq-dev",
        ),
        (
            "error: command 'gcc' failed: No such file or directory\nERROR: Failed building wheel for markupsafe\n",
            "markupsafe", "gcc", "build-essential",
        ),
        (
            "Collecting flask==3.1.3\n  Downloading x\nCollecting psycopg2==2.9.13 (from -r lock.txt (line 3))\n"
            "  Error: pg_config executable not found.\nerror: subprocess-exited-with-error\n",
            "psycopg2==2.9.13", "pg_config", "libpq-dev",
        ),
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
            "A package", "x86_64-linux-gnu-gcc", "build-essential",
        ),
        (
            "Failed to build `mysqlclient==2.2.7`\n/bin/sh: 1: pkg-config: not found\nException: Can not find valid"
            " pkg-config name.",
            "mysqlclient==2.2.7", "pkg-config", "default-libmysqlclient-dev, pkg-config",
        ),
        ("sh: 1: mysql_config: not found", "A package", "mysql_config", "default-libmysqlclient-dev, pkg-config"),
        ("x.c:1:10: fatal error: Python.h: No such file or directory", "A package", "Python.h", "python3-dev"),
        ("x.c:2:10: fatal error: ffi.h: No such file or directory", "A package", "ffi.h", "libffi-dev"),
        (
            "Failed to build `lxml==5.0`\nError: Please make sure the libxml2 and libxslt development packages are"
            " installed.",
            "lxml==5.0", "libxml2 and libxslt", "libxml2-dev, libxslt1-dev",
        ),
        ("error: can't find Rust compiler\n", "A package", "Rust compiler", "cargo"),
        ("Cargo, the Rust package manager, is not installed or is not on PATH.", "A package", "Cargo", "cargo"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'cmake'", "A package", "cmake", "cmake"),
        ("The headers or library files could not be found for jpeg,", "A package", "jpeg", "libjpeg-dev"),
    ],
)  # fmt: skip
def test_a_missing_program_is_reported_with_its_package(said: str, package: str, missing: str, debian: str) -> None:
    told = explain(said)
    assert told.startswith(f"{package} ")
    assert f" {missing} is missing" in told
    assert told.endswith(f"flask_app_packages: [{debian}]")


def test_a_missing_compiler_adds_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert explain("Error: pg_config executable not found.").endswith("[libpq-dev, build-essential, python3-dev]")


def test_an_unknown_header_is_reported_without_a_package() -> None:
    told = explain("x.c:1:1: fatal error: odd/thing.h: No such file or directory")
    assert "odd/thing.h" in told
    assert "flask_app_packages" not in told


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Failed to build `shop==1`\nSyntaxError: invalid syntax",
        "Connection refused (os error 111)",
        "error: Hash mismatch for `flask==3`",
        "Because flask==999 was not found in the package registry",
    ],
)
def test_a_failure_for_another_reason_is_not_explained(said: str) -> None:
    assert explain(said) == ""
