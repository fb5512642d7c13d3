# SPDX-License-Identifier: GPL-3.0-or-later
"""Each host keeps only its own lines of Nginx's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._edge import host_lines
from ansible_collections.greenlight.flask.plugins.module_utils._edge.host_lines import Abilities

TEXT = """\
listen 80;
    listen [::]:80; #:greenlight if ipv6
    listen 443 ssl http2; #:greenlight if nginx < 1.25.1
    listen [::]:443 ssl; #:greenlight if ipv6 and nginx >= 1.25.1
    http2 on;   #:greenlight if nginx >= 1.25.1
"""


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        (Abilities(True, "1.26.3"), ["listen [::]:80;", "listen [::]:443 ssl;", "http2 on;"]),
        (Abilities(False, "1.25.1"), ["http2 on;"]),
        (Abilities(True, "1.25.0"), ["listen [::]:80;", "listen 443 ssl http2;"]),
        (Abilities(True, "1.9.15"), ["listen [::]:80;", "listen 443 ssl http2;"]),
        (Abilities(False, ""), ["listen 443 ssl http2;"]),
    ],
)
def test_lines_are_kept_if_their_condition_holds(host: Abilities, kept: list[str]) -> None:
    assert host.kept(TEXT) == "".join(["listen 80;\n", *(f"    {line}\n" for line in kept)])


@pytest.mark.parametrize(
    "line",
    [
        "location / { } # if ipv6",
        "deny all; #: if ipv6",
        'add_header X "#:greenlight if ipv6";',
        "proxy_pass http://a; #:greenlight if nginx",
        "x; #:greenlight if nginx > 1.2",
        "x; #:greenlight if ipv6 or nginx < 1",
        "\u2028#:greenlight if",
        "x;",
    ],
)
def test_a_line_without_a_condition_is_kept_unchanged(line: str) -> None:
    assert Abilities(False, "1.0").kept(f"{line}\r\n{line}\n{line}") == f"{line}\r\n{line}\n{line}"


@pytest.mark.parametrize(
    ("said", "release", "version"),
    [
        ("nginx version: nginx/1.26.3\n", 'VERSION_ID="12"\n', "1.26.3"),
        ("", 'NAME=Debian\nVERSION_ID="12"\n', "1.22.1"),
        ("", 'VERSION_ID="13"\n', "1.26.3"),
        ("", 'VERSION_ID="99"\n', ""),
        ("", None, ""),
    ],
)
def test_the_version_comes_from_the_program_or_the_debian_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, release: str | None, version: str
) -> None:
    monkeypatch.setattr(host_lines, "run", lambda command: Finished(0, "", said))
    (tmp_path / "etc").mkdir()
    if release:
        (tmp_path / "etc/os-release").write_text(release)
    assert Abilities.of(tmp_path) == Abilities(False, version)


def test_ipv6_support_is_read_from_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lines, "run", lambda command: Finished(127, "", ""))
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/if_inet6").touch()
    assert Abilities.of(tmp_path).ipv6
