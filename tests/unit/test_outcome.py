# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that could not say why it failed: the operator gets a sentence all the same, and what is free where the host
is full. Each outcome is one that ansible-core gave."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.greenlight.flask.plugins.action import bring_source, preflight
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, REFUSED, Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.base import StepAction
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.outcome import PLACES, described, question

DF = """\
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/vda1         10000000 9999000      1000     100% /
tmpfs                65536    1024     64512       2% /var/tmp
Filesystem      Inodes   IUsed   IFree IUse% Mounted on
/dev/vda1      6553600 6553588      12  100% /
tmpfs            65536       1   65535    1% /var/tmp
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "<stdin>", line 107, in <module>
  File "/usr/lib/python3.11/tempfile.py", line 378, in mkdtemp
{error}
"""
FULL = (
    "OSError: [Errno 28] No space left on device: '/tmp/ansible_x'",
    "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/root']",
)
UNPARSED = {
    "failed": True,
    "msg": "Module result deserialization failed: No start of json char found",
    "_ansible_parsed": False,
    "module_stdout": "",
}


def ask(command: str) -> str:
    assert all(place in command for place in PLACES)
    return DF


def message(outcome: dict[str, Any]) -> str:
    found, _ = described("preflight", outcome, ask)
    assert found["failed"] is True
    assert not {"exception", "module_stdout", "module_stderr"} & found.keys()
    assert not re.search(r"Traceback|None|Errno|deserialization|\n", found["msg"]), found
    assert "greenlight.flask.preflight" in found["msg"]
    return str(found["msg"])


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_for_a_module_is_reported_with_path_and_file_system(error: str) -> None:
    text = message({**UNPARSED, "module_stderr": TRACEBACK.format(error=error), "rc": 1})
    assert "/tmp is on the file system / (/dev/vda1, 0 MiB and 12 inodes free)." in text
    assert "/var/tmp is on the file system /var/tmp (tmpfs, 63 MiB and 65535 inodes free)." in text
    assert "ansible_python_interpreter" not in text


def test_a_full_disk_is_reported_even_if_free_space_is_unknown() -> None:
    found, _ = described("switch", {**UNPARSED, "module_stderr": FULL[0], "rc": 1}, lambda _: "df: not found")
    assert "No space left on device" in found["msg"]


@pytest.mark.parametrize(
    "outcome",
    [
        {**UNPARSED, "module_stderr": "", "rc": 1},
        {**UNPARSED, "module_stderr": "python3.13: command not found\n", "rc": 127},
        {**UNPARSED, "module_stderr": "Killed\n", "rc": 137},
        {**UNPARSED, "module_stderr": TRACEBACK.format(error="KeyError: 'x'"), "rc": 1},
        {"failed": True, "_ansible_parsed": True, "exception": SimpleNamespace(event=SimpleNamespace(msg="'x'"))},
        {"failed": True, "_ansible_parsed": True, "exception": None},
        {"failed": True, "msg": None},
        {"failed": True, "msg": ""},
        {"unreachable": True},
    ],
    ids=repr,
)
def test_a_module_failure_without_a_message_is_reported_in_one_sentence(outcome: dict[str, Any]) -> None:
    assert message(outcome)


@pytest.mark.parametrize("outcome", [{"changed": False}, {"failed": True, "msg": "the lock is bob's", "locked": {}}])
def test_a_module_result_with_a_message_is_unchanged(outcome: dict[str, Any]) -> None:
    assert described("preflight", outcome, ask) == (outcome, "")


def test_the_whole_module_output_is_kept_for_verbose_mode() -> None:
    _, more = described("switch", {**UNPARSED, "module_stderr": TRACEBACK.format(error="KeyError: 'x'")}, ask)
    assert "tempfile.py" in more


WITHOUT_DIRECTORY = "mkdir: cannot create directory '/home/deploy/.ansible/tmp': No space left on device\n"


class Shell:
    tmpdir: str | None = None

    def join_path(self, *parts: str) -> str:
        return "/".join(parts)


class Connection:
    """Plays a connection to a host that has no room where Ansible makes its directory."""

    def __init__(self, *, pipelining: bool = False, can_pipeline: bool = True) -> None:
        self._shell = Shell()
        self.pipelining, self._can_pipeline = pipelining, can_pipeline

    def is_pipelining_enabled(self, wrap_async: bool = False) -> bool:
        return self.pipelining and self._can_pipeline and not wrap_async

    def set_option(self, name: str, value: object) -> None:
        if not self._can_pipeline:
            raise AnsibleError(f"no option {name}")
        self.pipelining = bool(value)


def playing(
    monkeypatch: pytest.MonkeyPatch, action: Any, connection: Connection, *, answers: bool = True, **says: Any
) -> Any:
    """Let an action meet a host; with pipelining, its module says what is given."""

    def execute(**_: Any) -> dict[str, Any]:
        if not connection.is_pipelining_enabled():
            raise AnsibleConnectionFailure(WITHOUT_DIRECTORY)
        return says

    def answer(command: str, *, sudoable: bool = True) -> dict[str, Any]:
        if not answers:
            raise AnsibleConnectionFailure("Failed to connect to the host via ssh")
        assert '"$HOME"/.ansible/tmp' in command
        assert not sudoable
        first, inodes = DF.split("Filesystem      Inodes")
        home = "/dev/vdb1 5000 4990 {} 100% /home\n"
        return {"rc": 0, "stdout": first.replace("/dev/vda1", home.format(10240) + "/dev/vda1", 1) + "I I\n"
                + home.format(7) + inodes.partition("\n")[2]}  # fmt: skip

    monkeypatch.setattr(action, "_connection", connection, raising=False)
    monkeypatch.setattr(action, "_display", SimpleNamespace(vvv=lambda text: None), raising=False)
    monkeypatch.setattr(action, "_execute_module", execute)
    monkeypatch.setattr(action, "_low_level_execute_command", answer)
    monkeypatch.setattr(action, "get_shell_option", lambda name, default: default)
    return action


class Switch(StepAction):
    _task = SimpleNamespace(action="greenlight.flask.switch")


def says_where(outcome: dict[str, Any]) -> bool:
    """Say whether it is a failure that names path and file system."""
    told = str(outcome["msg"])
    assert not re.search(r"Traceback|None|\n", told)
    return bool(outcome["failed"]) and "~/.ansible/tmp is on the file system /home (/dev/vdb1, 10 MiB and 7" in told


def test_a_host_without_space_for_ansible_is_not_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    action = playing(monkeypatch, object.__new__(Switch), Connection(can_pipeline=False))
    outcome = action.run_step({}, {})
    assert says_where(outcome)
    assert "No space left on device" in outcome["msg"]
    assert "unreachable" not in outcome


@pytest.mark.parametrize("said", [{"changed": True}, {"failed": True, "msg": "no"}, {**UNPARSED, "rc": 1}], ids=repr)
def test_a_pipelined_module_needs_no_remote_directory(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> None:
    outcome = playing(monkeypatch, object.__new__(Switch), Connection(), **said).run_step({}, {})
    assert says_where(outcome) if "rc" in said else outcome == said


@pytest.mark.parametrize("connection", [Connection(), Connection(pipelining=True)], ids=["plain", "pipelining"])
def test_a_host_that_does_not_respond_is_unreachable(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    action = playing(monkeypatch, object.__new__(Switch), connection, answers=False)

    def lost(**_: Any) -> None:
        raise AnsibleConnectionFailure("Failed to connect to the host via ssh")

    monkeypatch.setattr(action, "_execute_module", lost)
    with pytest.raises(AnsibleConnectionFailure, match="Failed to connect"):
        action.run_step({}, {})


@pytest.mark.parametrize("step", ["_make_tmp_path", "_transfer_file"])
@pytest.mark.parametrize("answers", [True, False], ids=["a full disk", "no host"])
def test_a_host_without_space_for_the_source_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, *, answers: bool
) -> None:
    action = playing(
        monkeypatch, object.__new__(bring_source.ActionModule), Connection(pipelining=True), answers=answers
    )
    removed: list[str] = []

    def make() -> str:
        action._connection._shell.tmpdir = "/home/deploy/.ansible/tmp/a"
        return "/home/deploy/.ansible/tmp/a"

    def refuse(*_: str) -> None:
        error = AnsibleConnectionFailure if step == "_make_tmp_path" or not answers else AnsibleError
        raise error(WITHOUT_DIRECTORY if step == "_make_tmp_path" else "failed to transfer file to /home/deploy")

    monkeypatch.setattr(action, "_make_tmp_path", make)
    monkeypatch.setattr(action, "_remove_tmp_path", removed.append)
    monkeypatch.setattr(action, step, refuse)
    if answers:
        assert says_where(action._send(tmp_path, {}, {}))
        assert bool(removed) == (step == "_transfer_file")
    else:
        with pytest.raises(AnsibleConnectionFailure):
            action._send(tmp_path, {}, {})


@pytest.mark.parametrize("places", [["/"], ["~", "/nowhere/at all", "/tmp"]])
def test_free_space_is_measured_at_the_nearest_existing_directory(places: list[str]) -> None:
    done = subprocess.run(["sh", "-c", question(places)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len([line for line in done.stdout.splitlines() if "Filesystem" not in line]) == 2 * len(places)


def test_an_action_passes_on_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    action = object.__new__(Switch)
    outcome = {**UNPARSED, "module_stderr": FULL[0], "rc": 1, "invocation": {}}
    shown: list[str] = []
    monkeypatch.setattr(action, "_display", SimpleNamespace(vvv=shown.append), raising=False)
    monkeypatch.setattr(action, "_execute_module", lambda **_: outcome)
    monkeypatch.setattr(action, "_low_level_execute_command", lambda command: {"stdout": ask(command)})
    found = action.run_step({}, {})
    assert "12 inodes free" in found["msg"]
    assert shown == [FULL[0]]


def asked(patch: pytest.MonkeyPatch, outcome: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Let a preflight ask a host whose step ends like this."""
    action = object.__new__(preflight.ActionModule)
    names = ("name", "environment", "environments", "python", "python_minimum", "http_port", "free_space_mb")
    values = dict.fromkeys((f"flask_app_{name}" for name in (*names, "keep_releases", "accepted_findings")), "x") | {
        "flask_app_tls": "none"
    }
    patch.setattr(preflight, "with_types", lambda *_: lambda name: {})
    patch.setattr(preflight, "once", lambda *_: {})
    patch.setattr(preflight, "for_the_host", lambda *_: {})
    patch.setattr(action, "_templar", None, raising=False)
    patch.setattr(action, "_display", SimpleNamespace(vvv=lambda text: None), raising=False)
    patch.setattr(action, "_execute_module", lambda **_: dict(outcome))
    patch.setattr(action, "_low_level_execute_command", lambda command: {"stdout": DF})
    return action._ask_host(Case(values), {}, lock=False, site=True)


@pytest.mark.parametrize("outcome", [{"failed": True, "msg": None}, {**UNPARSED, "module_stderr": FULL[0], "rc": 1}])
def test_a_preflight_that_could_not_run_gives_the_reason(
    monkeypatch: pytest.MonkeyPatch, outcome: dict[str, Any]
) -> None:
    host, (problem,) = asked(monkeypatch, outcome)
    assert host == {}
    assert problem.id == "failed-step"
    assert not re.search(r"None|Traceback", str(problem))
    assert ("12 inodes free" in problem.what) == ("rc" in outcome)


def test_a_preflight_refused_by_the_host_keeps_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("locked", ERROR, "shop", "Another run is at work.", "Wait.")
    outcome = {"failed": True, "msg": "\n".join(finding.lines()), REFUSED: [finding.as_dict()]}
    assert asked(monkeypatch, outcome) == ({}, [finding])
