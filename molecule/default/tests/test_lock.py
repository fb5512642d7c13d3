# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: two runs at once, a dead run, and how to break a lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support import variants
from tests.support.deployed import APP, ROOT, Played, Server, fresh, run_play

LOCK = f"/run/greenlight/{APP}.lock"


def held_by_another_machine(server: Server, steps_ago: float) -> None:
    """Write the record of another machine's run, whose last step was ``steps_ago`` seconds ago."""
    uptime = float(server.root("cat /proc/uptime").split()[0])
    record = {
        "run": "0123456789ab",
        "by": "ada@laptop",
        "place": "elsewhere",
        "pid": 4711,
        "started": "1",
        "since": "2026-11-21 12:00:00 UTC",
        "step": uptime - steps_ago,
    }
    server.root("mkdir -p /run/greenlight")
    server.write(LOCK, json.dumps(record))


def test_a_run_leaves_no_lock(play: Callable[..., Played], one_server: Server) -> None:
    assert play(limit=one_server.name).code == 0
    assert play(limit=one_server.name, flask_app_health_subset={"status": "never"}).code != 0
    assert one_server.host.run(f"test -e {LOCK}").rc == 1


def test_a_second_run_is_refused_and_names_the_lock_holder(
    play: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    source = variants.make("good_change", tmp_path / "app", label="refused-by-the-lock")
    held_by_another_machine(one_server, steps_ago=30)
    before = one_server.state()
    done = play(limit=one_server.name, flask_app_source_directory=str(source))
    assert done.code != 0
    assert done.finds("locked:guestbook"), done.output
    for fact in ("ada@laptop", "2026-11-21 12:00:00 UTC", "playbooks/unlock.yml"):
        assert fact in done.prose
    assert one_server.state() == before
    for playbook in ("rollback.yml", "rotate.yml"):
        done = run_play(playbook=ROOT / "playbooks" / playbook, limit=one_server.name)
        assert done.code != 0
        assert done.finds("locked:guestbook"), done.output
    assert one_server.state() == before
    assert "ada@laptop" in one_server.root(f"cat {LOCK}")


def test_the_unlock_playbook_breaks_the_lock_and_names_its_holder(one_server: Server) -> None:
    held_by_another_machine(one_server, steps_ago=30)
    done = run_play(playbook=ROOT / "playbooks/unlock.yml", limit=one_server.name)
    assert done.code == 0
    assert "ada@laptop" in done.prose
    assert one_server.host.run(f"test -e {LOCK}").rc == 1


def test_the_lock_of_a_stale_run_is_taken_over(play: Callable[..., Played], one_server: Server) -> None:
    held_by_another_machine(one_server, steps_ago=70)
    assert play(limit=one_server.name).code != 0
    done = play(limit=one_server.name, flask_app_lock_seconds=60)
    assert done.code == 0, done.output
    assert "Took over the lock of a run that is dead: ada@laptop" in done.prose


def test_a_run_that_lost_its_lock_stops(one_server: Server, tmp_path: Path) -> None:
    hook = tmp_path / "steal.yml"
    record = {
        "run": "0123456789ab",
        "by": "ada@laptop",
        "place": "elsewhere",
        "pid": 1,
        "started": "1",
        "since": "now",
        "step": 0,
    }
    hook.write_text(
        json.dumps(
            [
                {
                    "name": "Take the lock away",
                    "ansible.builtin.copy": {
                        "dest": LOCK,
                        "content": json.dumps({**record, "step": 0}),
                        "mode": "0600",
                    },
                }
            ]
        )
    )
    live = one_server.live
    done = run_play(limit=one_server.name, **fresh(), flask_app_hooks_before_switch=[str(hook)])
    assert done.code != 0
    assert done.finds("lock-lost:guestbook"), done.output
    assert "ada@laptop" in done.prose
    assert one_server.live == one_server.ask().json["release"] == live
    assert run_play(playbook=ROOT / "playbooks/unlock.yml", limit=one_server.name).code == 0
    assert run_play(limit=one_server.name).code == 0


def test_check_mode_neither_takes_nor_needs_a_lock(play: Callable[..., Played], one_server: Server) -> None:
    held_by_another_machine(one_server, steps_ago=5)
    done = play("--check", limit=one_server.name)
    assert done.code == 0, done.output
    assert "ada@laptop" in one_server.root(f"cat {LOCK}")
    one_server.root(f"rm {LOCK}")
