# SPDX-License-Identifier: GPL-3.0-or-later
"""State damaged on a real server: verify names it, and the next deploy repairs it or says how to.

The unit tests try each kind of damage one by one. This file tests only what needs systemd, Nginx and the kernel.
"""

from __future__ import annotations

import json

from tests.support.deployed import APP, ROOT, Server, run_play
from tests.support.faults import Trial, all_servers, limit, live, on_all

VERIFY = ROOT / "playbooks/verify.yml"
SRV, ETC, UNITS = f"/srv/{APP}", f"/etc/{APP}", "/etc/systemd/system"


def findings() -> dict[str, set[str]]:
    """Return the subjects that verify finds, by server."""
    done = run_play(playbook=VERIFY, flask_app_verify_format="json", **limit())
    found = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    return {document["host"]: {finding["subject"] for finding in document["findings"]} for document in found}


def damage(server: Server) -> list[str]:
    """Damage what a deploy can repair; return what verify must name."""
    live = server.live
    home, unit = f"{SRV}/releases/{live}", f"{APP}@{live}"
    server.root(
        f"""
        head -c 100 /dev/urandom > {home}/release.json
        : > {ETC}/digest.key
        rm -f {SRV}/previous && echo work > {SRV}/previous
        echo '20261121T09' > {SRV}/trial
        rm -f {UNITS}/{unit}.socket
        rm -f {UNITS}/multi-user.target.wants/{unit}.service
        chmod 0666 /run/{APP}/{live}.sock
        chown -R deploy: {SRV}/sources {SRV}/venvs {SRV}/ledger.jsonl
        """
    )
    named = [f"{home}/release.json", f"{ETC}/digest.key", f"{SRV}/previous", f"{SRV}/trial", f"{SRV}/ledger.jsonl"]
    return [*named, f"{unit}.service", f"/run/{APP}/{live}.sock"]


def test_damaged_state(trial: Trial) -> None:
    with trial.users():
        expected = {server.name: set(damage(server)) for server in all_servers()}
        found = findings()
        assert not set().union(*(subjects - found[name] for name, subjects in expected.items()))
        trial.run()
        trial.run()
    trial.expect(live="new", code=0, again=0)
    assert trial.runs[1].count("changed") == 0
    assert set().union(*findings().values()) == set()
    assert all(server.root(f"find {SRV} {ETC} -not -user root") == "" for server in all_servers())


def test_damaged_state_that_needs_manual_repair(trial: Trial) -> None:
    on_all(f"mv {SRV}/releases /srv/aside && ln -s /srv/aside {SRV}/releases && : > {ETC}/environment-id")
    with trial.users():
        trial.run()
        on_all(f"rm {SRV}/releases && mv /srv/aside {SRV}/releases && echo staging > {ETC}/environment-id")
        on_all("mount -t tmpfs -o size=8k,mode=1777 tmpfs /tmp")
        trial.run()
        on_all("umount /tmp")
        trial.run()
    stamp = f"{ETC}/environment-id"
    trial.expect(live="old", code=1, finds=f"damaged-state:{stamp}", says=f"echo staging > {stamp}", again=0)
    assert trial.runs[0].finds(f"damaged-state:{SRV}/releases")
    assert trial.runs[1].code != 0
    assert "/tmp is on the file system /tmp (tmpfs" in trial.runs[1].prose
    for run in trial.runs:
        assert "Traceback" not in run.output


def test_missing_sockets_that_systemd_reports_as_active(trial: Trial) -> None:
    """The site is down until the next deploy of the same inventory, so the load starts after it.

    No new release is made: only what is below /run is gone. The first deploy repairs whatever earlier tests left.
    """
    assert run_play(**limit()).code == 0
    trial.before = live()
    on_all(f"rm -rf /run/{APP}")
    assert {server.ask().status for server in all_servers()} == {503}
    expected = {server.name: f"/run/{APP}/{server.live}.sock" for server in all_servers()}
    found = findings()
    assert all(path in found[name] for name, path in expected.items())
    trial.run()
    with trial.users():
        pass
    trial.expect(live="old", code=0)
