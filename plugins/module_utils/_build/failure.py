# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain why a package could not be built: what is missing on the host, and which Debian package has it."""

from __future__ import annotations

import re
import shutil

#: Pattern of what is missing -> the Debian packages that have it; the first match counts.
_NEEDS = (
    (r"pg_config|libpq-fe\.h", "libpq-dev"),
    (r"mysql_config|mariadb_config|mysql\.h|mysqlclient|libmariadb", "default-libmysqlclient-dev pkg-config"),
    (r"xml2-config|xslt-config|libxml/\w+\.h|libxslt/\w+\.h|libxml2 and libxslt", "libxml2-dev libxslt1-dev"),
    (r"xmlsec1?\b", "libxmlsec1-dev pkg-config"),
    (r"\bffi\.h|libffi", "libffi-dev"),
    (r"cargo|rustc|Rust compiler|Rust toolchain", "cargo"),
    (r"ldap\.h|lber\.h|sasl/sasl\.h", "libldap2-dev libsasl2-dev"),
    (r"krb5-config|gssapi[\w/]*\.h", "libkrb5-dev"),
    (r"curl-config|curl/curl\.h", "libcurl4-openssl-dev"),
    (r"openssl/\w+\.h", "libssl-dev"),
    (r"jpeglib\.h|\bjpeg\Z", "libjpeg-dev"),
    (r"\bzlib(\.h)?\Z", "zlib1g-dev"),
    (r"\bgmp\.h|mpfr\.h|mpc\.h", "libgmp-dev libmpfr-dev libmpc-dev"),
    (r"sqlite3\.h", "libsqlite3-dev"),
    (r"\bsql\.h|sqlext\.h", "unixodbc-dev"),
    (r"\byaml\.h", "libyaml-dev"),
    (r"geos_c\.h|geos-config", "libgeos-dev"),
    (r"gdal-config|gdal\.h", "libgdal-dev"),
    (r"cairo\.h|\bcairo\b", "libcairo2-dev pkg-config"),
    (r"systemd/sd-\w+\.h|libsystemd", "libsystemd-dev pkg-config"),
    (r"gfortran", "gfortran"),
    (r"\bcmake\b", "cmake"),
    (r"\bswig\b", "swig"),
    (r"\bgit\b", "git"),
    (r"pkg-config", "pkg-config"),
    (r"Python\.h", "python3-dev"),
    (r"\b(gcc|g\+\+|cc|c\+\+|clang|make|as|ld)\b", "build-essential"),
)
#: How builds report that something is missing; the group says what.
_MISSING = (
    r"fatal error: (\S+\.h\w*): No such file",
    r"command '?(?:\S*/)?([\w.+-]+)'? failed: No such file",
    r"unable to execute '?(?:\S*/)?([\w.+-]+)'?: No such file",
    r"\[Errno 2\] No such file or directory: '(?:\S*/)?([\w.+-]+)'",
    r"([\w.+-]+): (?:command )?not found",
    r"[Cc]an(?:'t|not| not) find (Rust compiler)",
    r"(Cargo|cargo|rustc)[^\n]* is not installed",
    r"[Ee]rror: ([\w-]+) executable not found",
    r"[Cc]an not find valid (pkg-config) name",
    r"headers or library files could not be found for (\w+)",
    r"make sure the (libxml2 and libxslt) development packages are installed",
    r"(CMake) must be installed",
    r"([Gg]it) executable not found",
    r"[Nn]o such (?:package|file or directory)[^\n]*?'?([\w.+-]+-config)'?",
)
#: How pip and uv name the package.
_PACKAGE = (
    r"Failed to (?:download and )?build [`']([^`'\s@]+)",
    r"Failed building wheel for ([\w.-]+)",
    r"pyproject\.toml based projects \(([\w.-]+)",
    r"Collecting ([\w.-]+(?:==[^\s;]+)?)(?![\s\S]*\nCollecting )[\s\S]*error: subprocess-exited-with-error",
)
#: mysqlclient reports a missing pkg-config; the name of the package says more than that of the program.
_BY_PACKAGE = {"mysqlclient": "default-libmysqlclient-dev pkg-config", "xmlsec": "libxmlsec1-dev pkg-config"}


def explain(said: str) -> str:
    """Return a sentence on what is missing and what to set, or an empty text if the output doesn't say."""
    package = next((match[1] for pattern in _PACKAGE if (match := re.search(pattern, said))), "")
    missing = next((match[1] for pattern in _MISSING if (match := re.search(pattern, said))), "")
    if not missing:
        return ""
    by_package = _BY_PACKAGE.get(re.split(r"[=<>\[]", package)[0].lower(), "")
    debian = by_package or next((names for pattern, names in _NEEDS if re.search(pattern, missing, re.IGNORECASE)), "")
    if not debian:
        return f"{package or 'A package'} can't be built on this host: {missing} is missing."
    names = debian.split()
    if shutil.which("gcc") is None:
        names += [name for name in ("build-essential", "python3-dev") if name not in names]
    return (
        f"{package or 'A package'} has no wheel for this host and can't be built: {missing} is missing."
        f" Fix: lock a version that has a wheel, or set flask_app_packages: [{', '.join(names)}]"
    )
