# SPDX-License-Identifier: GPL-3.0-or-later
"""How independent tools rate the example app as the role deploys it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import judges
from tests.support.deployed import APP, Server, run_play
from tests.support.load.load import Load

#: systemd-analyze security: 0 is best, 10 is worst; Debian's own unit has 9.6.
EXPOSURE = 2.5


def name(server: Server) -> str:
    return f"{server.name}.guestbook.test"


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[None]:
    """Deploy as in production: a certificate from an ACME server, and defaults for the rest."""
    done = run_play(
        flask_app_server_names=["{{ inventory_hostname }}.guestbook.test"],
        flask_app_tls="acme",
        flask_app_acme_directory="https://world.test:14000/dir",
    )
    assert done.code == 0, done.output
    yield
    assert run_play().code == 0


def test_sslyze_confirms_mozillas_intermediate_configuration(server: Server) -> None:
    verdict = judges.sslyze(name(server), judges.container_address(server.name))
    assert verdict["compliant"], verdict["text"]


def test_gixy_finds_nothing(server: Server) -> None:
    assert judges.gixy(server.root("nginx -T 2>/dev/null")) == []


def test_the_observatory_gives_its_best_grade(server: Server) -> None:
    verdict = judges.observatory(name(server), judges.container_address(server.name))
    assert (verdict["grade"], verdict["passed"]) == ("A+", 10), verdict


def test_nginx_itself_has_no_warning(server: Server) -> None:
    said = server.host.run("nginx -t").stderr
    assert "test is successful" in said
    assert "[warn]" not in said


def test_the_hardened_nginx_unit_still_does_all_its_work(server: Server) -> None:
    said = server.root("systemd-analyze security --no-pager nginx.service | tail -n 1")
    assert float(said.split("exposure level for nginx.service: ")[1].split()[0]) <= EXPOSURE, said
    with Load(server.https_url, name(server), 50) as load:
        server.root("systemctl reload nginx")
        server.root("logrotate --force /etc/logrotate.d/nginx")
    assert load.result.failed == 0, str(load.result)
    server.root("systemctl restart nginx")
    assert server.curl("/", "--retry", "10", "--retry-all-errors", site=name(server)).status == 200
    assert server.root(f"stat -c %U /var/log/nginx/{APP}.access.log") == "www-data"


@pytest.mark.outside
def test_testssl_gives_its_best_grade_too(one_server: Server) -> None:
    """Debian's plain Nginx gets the same grade, so it proves little; but there must be no grave finding."""
    verdict = judges.testssl(name(one_server))
    assert verdict == {"grade": "A+", "grave": {}}
