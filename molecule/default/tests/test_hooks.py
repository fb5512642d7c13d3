# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own task files, and the messages that a webhook gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import Server, connect, fresh, run_play, servers

POINTS = ("before_build", "before_switch", "after_switch", "on_failure")


@pytest.fixture
def hooks(tmp_path: Path) -> dict[str, Any]:
    """A hook at each point that writes down the facts it was given and the release live at that moment."""
    event = "printf '%s\\n' {{ flask_app_event | to_json | quote }}"
    live = "basename $(readlink /srv/guestbook/live)"
    task = {"name": "Write down", "ansible.builtin.shell": {"cmd": f"({event}; {live}) >> /tmp/hooks"}}
    path = tmp_path / "hook.yml"
    path.write_text(json.dumps([task]))
    return {f"flask_app_hooks_{point}": [str(path)] for point in POINTS}


def written(server: Server) -> list[tuple[dict[str, str], str]]:
    lines = server.root("cat /tmp/hooks; rm /tmp/hooks").splitlines()
    return [(json.loads(event), live) for event, live in zip(lines[::2], lines[1::2], strict=True)]


def test_hooks_run_at_their_points_with_the_facts(hooks: dict[str, Any], one_server: Server) -> None:
    before = one_server.live
    given = {"limit": one_server.name, **fresh(), **hooks}
    done = run_play(**given)
    assert done.code == 0, done.output
    now = one_server.live
    found = written(one_server)
    assert [event["name"] for event, _ in found] == ["before_build", "before_switch", "after_switch"]
    assert [live for _, live in found] == [before, before, now]
    last = found[-1][0]
    assert (last["app"], last["environment"], last["host"]) == ("guestbook", "staging", one_server.name)
    assert (last["release"], last["previous"], last["reason"]) == (now, before, "")

    assert run_play(**given).code == 0  # with nothing to change, only the first hook runs
    assert [event["name"] for event, _ in written(one_server)] == ["before_build"]


def test_the_failure_hook_gets_the_reason(hooks: dict[str, Any], one_server: Server) -> None:
    done = run_play(limit=one_server.name, flask_app_wsgi="guestbook.missing:app", **hooks)
    assert done.code != 0
    events = [event for event, _ in written(one_server)]
    assert [event["name"] for event in events] == ["before_build", "on_failure"]
    assert "process: expected running" in events[-1]["reason"]


def test_a_hook_failing_before_the_switch_keeps_traffic_and_no_candidate(tmp_path: Path, one_server: Server) -> None:
    live = one_server.live
    path = tmp_path / "no.yml"
    path.write_text(json.dumps([{"name": "Say no", "ansible.builtin.fail": {"msg": "not on a Friday"}}]))
    done = run_play(limit=one_server.name, **fresh(), flask_app_hooks_before_switch=[str(path)])
    assert done.code != 0
    assert "not on a Friday" in done.prose
    assert one_server.ask().json["release"] == one_server.live == live
    units = one_server.root("systemctl list-units --all --plain --no-legend 'guestbook@*' | awk '{print $1}'").split()
    assert len(units) == 2


def test_a_missing_hook_is_found_before_anything_changes(one_server: Server) -> None:
    before = one_server.state()
    done = run_play(limit=one_server.name, flask_app_hooks_on_failure=["/nonexistent/hook.yml"])
    assert done.code != 0
    assert done.finds("missing-file:flask_app_hooks_on_failure"), done.output
    assert "/nonexistent/hook.yml" in done.prose
    assert one_server.state() == before


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat that keeps the messages it gets."""
    messages: list[dict[str, Any]] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Keep requests out of the tests' own output."""

    server = HTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/services/T0/B0/a-secret-path", messages
    server.shutdown()


def test_a_webhook_gets_one_message_per_new_release_and_failure(
    webhook: tuple[str, list[dict[str, Any]]],
) -> None:
    url, messages = webhook
    given = {**fresh(), "flask_app_notify_url": url}
    done = run_play("-vvvv", **given)
    assert done.code == 0
    assert run_play(**given).code == 0  # with nothing to change, no message is sent
    [message] = messages
    live = {name: connect(name).live for name in servers()}
    assert live["debian13"] in message["text"]
    assert "debian12, debian13" in message["text"]
    assert message["facts"]["hosts"] == ["debian12", "debian13"]
    messages.clear()
    bad = "{{ 'guestbook.missing:app' if inventory_hostname == 'debian13' else 'wsgi:app' }}"
    assert run_play(flask_app_wsgi=bad, flask_app_notify_url=url).code != 0
    [message] = messages
    assert "failed on debian13" in message["text"]
    assert "process: expected running" in message["text"]
