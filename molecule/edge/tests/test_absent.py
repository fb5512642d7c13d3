# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding and removing a second app leaves nothing behind, and users of the first app notice nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.deployed import SITE, Played, Server
from tests.support.load.load import Load

SECOND = "second.test"


#: What an app may put into its own directory: names of any bytes, a link out of it, a tree too deep for recursion.
ODD_NAMES = """
import os
os.chdir("/var/lib/second")
for name in (b"-rf", b"line\\nfeed", b"\\x1b[2J\\xff"):
    os.makedirs(os.path.join(name, name))
os.symlink("/etc", "etc")
os.mkfifo("pipe")
here = os.open(".", os.O_RDONLY)
for _ in range(3000):
    os.mkdir("d", dir_fd=here)
    below = os.open("d", os.O_RDONLY, dir_fd=here)
    os.close(here)
    here = below
"""


@pytest.fixture
def second(play: Callable[..., Played], one_server: Server) -> Callable[..., Played]:
    """Run the play for the second app, in another environment than the first."""

    def run(*options: str, **variables: object) -> Played:
        return play(
            *options,
            limit=one_server.name,
            **{
                "flask_app_name": "second",
                "flask_app_environment": "development",
                "flask_app_server_names": [SECOND],
                "flask_app_secrets": {
                    "SECRET_KEY": "only-for-development-0123456789",
                    "DATABASE_URL": "sqlite:////var/lib/second/second.db",
                },
                **variables,
            },
        )

    return run


@pytest.fixture
def both(second: Callable[..., Played], one_server: Server) -> None:
    """Make sure that both apps exist and answer."""
    if not traces(one_server):
        done = second()
        assert done.code == 0, done.output
    assert one_server.ask("/health", site=SITE).json["env"] == "staging"
    assert one_server.ask("/health", site=SECOND).json["env"] == "development"


def traces(server: Server) -> str:
    """Return everything on the server that has the second app's name."""
    files = "find /etc /srv /var /run -xdev -name '*second*' 2>/dev/null"
    accounts = "getent passwd second; getent group second"
    units = (
        "systemctl list-units --all --plain --no-legend '*second*'; systemctl list-unit-files --no-legend '*second*'"
    )
    return server.root(f"({files}; {accounts}; {units}) | sort")


@pytest.mark.usefixtures("both")
def test_a_removed_app_leaves_no_trace_and_other_apps_lose_no_request(
    second: Callable[..., Played], one_server: Server
) -> None:
    for part in ("/srv/second", "/var/lib/second", "second:x:", "second@", "sites-enabled/second.conf"):
        assert part in traces(one_server)
    one_server.write("/run/odd-names.py", ODD_NAMES, umask="022")
    one_server.root("runuser --user second -- python3 /run/odd-names.py && rm /run/odd-names.py")
    live = one_server.live
    with Load(one_server.url, SITE, 200) as load:
        done = second(flask_app_state="absent")
    assert done.code == 0, done.output
    assert "second on debian13: removed, with its data" in done.prose
    assert load.result.failed == 0, str(load.result)
    assert load.result.reliable, str(load.result)
    assert traces(one_server) == ""
    assert one_server.live == live == one_server.ask("/health", site=SITE).json["release"]
    again = second(flask_app_state="absent")
    assert (again.code, again.count("changed")) == (0, 0), again.output
    assert traces(one_server) == ""


@pytest.mark.usefixtures("both")
def test_a_removal_in_check_mode_reports_obstacles_and_changes_nothing(
    second: Callable[..., Played], one_server: Server
) -> None:
    site = "/etc/nginx/sites-enabled/neighbour"
    one_server.write(site, "server { listen 8098; location / { proxy_pass http://second_live; } }\n", umask="022")
    one_server.root("useradd --gid second --no-create-home neighbour")
    try:
        before = one_server.state(), traces(one_server)
        for options in (["--check", "--diff"], []):
            done = second(*options, flask_app_state="absent")
            assert done.code != 0
            assert done.findings == {("used-by-nginx", "nginx"), ("group-in-use", "second")}, done.output
            assert [fact for fact in ("second_live", f"{site}:1", "usermod") if fact not in done.prose] == []
            assert (one_server.state(), traces(one_server)) == before
    finally:
        one_server.root(f"userdel neighbour; rm {site}")
    before = one_server.state(), traces(one_server)
    done = second("--check", "--diff", flask_app_state="absent")
    assert done.code == 0, done.output
    assert done.count("changed") == 1
    assert "would be removed, with its data" in done.prose
    assert (one_server.state(), traces(one_server)) == before


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    ("variables", "finding", "reason"),
    [
        ({"flask_app_environment": "production"}, "wrong-environment:/etc/second/environment-id", "development"),
        ({"flask_app_sate": "absent"}, "", "Did you mean flask_app_state?"),
        ({"flask_app_state": "abset"}, "wrong-type:flask_app_state", "present, absent"),
    ],
    ids=["another environment", "misspelt variable", "misspelt value"],
)
def test_a_removal_with_mistaken_variables_is_refused(
    second: Callable[..., Played], one_server: Server, variables: dict[str, str], finding: str, reason: str
) -> None:
    before = one_server.state(), traces(one_server)
    done = second(**{"flask_app_state": "absent", **variables})
    assert done.code != 0
    assert done.finds(finding) == bool(finding), done.output
    assert reason in done.prose
    assert (one_server.state(), traces(one_server)) == before


@pytest.mark.usefixtures("both")
def test_a_removed_app_can_be_deployed_again(second: Callable[..., Played], one_server: Server) -> None:
    assert second(flask_app_state="absent").code == 0
    assert one_server.host.run("test -e /srv/second").rc == 1
    done = second()
    assert done.code == 0, done.output
    assert one_server.ask("/health", site=SECOND).json["env"] == "development"
