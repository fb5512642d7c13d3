# SPDX-License-Identifier: GPL-3.0-or-later
"""Where secrets are, and where they are not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from secrets import token_hex

from tests.deployed import APP, Played, Server, secrets

#: A file with one secret a line, root only, from which grep takes what it looks for.
PATTERNS = "/root/what-to-hunt"


def hunt(server: Server, lines: list[str]) -> list[str]:
    """Return the places on the server where one of the lines, plain or in base64, can be read by others than root."""
    lines = lines + [base64.b64encode(line.encode()).decode().rstrip("=") for line in lines]
    server.write(PATTERNS, "\n".join(lines))
    places = "/etc /srv /var /run /tmp /opt /usr/local /home /dev/shm"
    search = f"grep --fixed-strings --files-with-matches --file={PATTERNS}"
    readable = f"find {places} -xdev -type f -perm /o+r -exec {search} {{}} +"
    found = server.host.run(readable).stdout.split()
    logs = {
        "the journal": "journalctl --no-pager --output=json",
        "Nginx's logs": "cat /var/log/nginx/*.log",
        "unit properties": f"systemctl show '{APP}@*' nginx",
        "command lines": "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
    }
    for name, command in logs.items():
        if server.host.run(f"{command} 2>/dev/null | grep --quiet --fixed-strings --file={PATTERNS}").rc == 0:
            found.append(name)
    return sorted(found)


def test_no_secret_can_be_read_by_others_than_root(server: Server) -> None:
    values = secrets()
    assert hunt(server, [values["SECRET_KEY"], values["API_TOKEN"].split()[0]]) == []


def test_the_hunt_finds_a_planted_secret(server: Server) -> None:
    planted = "/var/tmp/planted-by-a-test"
    value = token_hex()
    server.write(planted, f"{value}\n", umask="022")
    server.root(f"logger --file {planted}")
    found = hunt(server, [value])
    server.root(f"rm {planted}")
    assert planted in found
    assert "the journal" in found


def test_the_environment_file_is_roots_alone(server: Server) -> None:
    found = server.root(f"stat --format='%U:%G %a' /etc/{APP}/releases /etc/{APP}/releases/{server.live}.env")
    assert found.splitlines() == ["root:root 700", "root:root 600"]


def test_no_run_shows_a_secret_however_loud(play: Callable[..., Played]) -> None:
    done = play("-vvvv", "--diff", "--check", flask_app_env={"GREETING": "A new greeting"})
    assert done.code == 0
    assert "GREETING=(hidden, new)" in done.output
    shown = [name for name, value in secrets().items() if value in done.output or value.split()[0] in done.output]
    assert shown == []
