# SPDX-License-Identifier: GPL-3.0-or-later
"""A step takes the lock before it looks, or belongs to the run that holds it; and it ends with a sentence."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.greenlight.flask.plugins.module_utils import _adapter
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app import lock as _lock
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import (
    Locked,
    Owner,
    break_lock,
    held,
    take,
)
from ansible_collections.greenlight.flask.plugins.module_utils._app.names import is_recorded
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import HeldElsewhere, exclusively
from ansible_collections.greenlight.flask.plugins.module_utils._options import LOCK, RUN
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call, remove

from tests.unit.fakes import arguments

OPTIONS = {**LOCK, **RUN}
STALE = 1800
ANN = Owner(run="a11a", by="ann@laptop", place="here", pid=4711, started="100")
BOB = Owner(run="b0bb", by="bob@desk", place="there", pid=42, started="7")
TAKING: dict[str, Any] = {"owner": asdict(ANN), "stale_seconds": STALE}
STEP = {"run": ANN.run}

Body = Callable[[Call], dict[str, Any]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


@pytest.fixture
def run(layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a step with this body and these options to its end; return what it printed for Ansible."""
    monkeypatch.setattr(_adapter, "Layout", functools.partial(Layout, root=layout.root))
    monkeypatch.setattr(_lock, "WAIT_SECONDS", 0)
    monkeypatch.setattr(_lock, "MOMENT_SECONDS", 0)

    def run(body: Body, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_adapter, "load", lambda name: SimpleNamespace(OPTIONS=OPTIONS, run=body))
        with patch_module_args(arguments("some", **options)), pytest.raises(SystemExit) as ended:
            _adapter.main()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert ended.value.code == int(bool(told.get("failed")))
        return told

    return run


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the step's warnings; in this process, which is also the controller, they would go to its display."""
    told: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, text: told.append(text))
    return told


def fails(error: BaseException) -> Body:
    def body(call: Call) -> dict[str, Any]:
        raise error

    return body


def never(call: Call) -> dict[str, Any]:
    pytest.fail("the body was run")


def holder(layout: Layout) -> str:
    """Return who holds the lock."""
    return break_lock(layout, dry=True).partition(",")[0]


# Without a lock


def test_a_step_returns_its_result(run: Run, layout: Layout) -> None:
    told = run(lambda call: {"changed": True, "app": call.layout.app})
    assert (told["changed"], told["app"]) == (True, "shop")
    assert not layout.lock.parent.exists()


@pytest.mark.parametrize("options", [{}, TAKING, STEP], ids=["alone", "taking", "step"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GreenlightError("the disk is full"), ["the disk is full"]),
        (OSError(28, "No space left on device", "/proc/x"), ["No space left on device", "(/proc/x)", "/proc (proc on"]),
        (OSError(30, "Read-only file system", b"/proc/x"), ["Read-only file system", "(/proc/x)", "/proc (proc on"]),
        (OSError(28, "No space left on device"), ["No space left on device", "Free some space"]),
        (PermissionError(1, "Operation not permitted", "/etc/shop"), ["(/etc/shop)", "lsattr"]),
        (OSError("broken"), ["The host refused: "]),
    ],
    ids=repr,
)
def test_an_operator_error_becomes_a_message(
    run: Run, layout: Layout, options: dict[str, Any], error: Exception, words: list[str]
) -> None:
    if options is STEP:
        take(layout, ANN, STALE)
    told = run(fails(error), **options)
    assert told["failed"] is True
    assert all(word in told["msg"] for word in words), told["msg"]
    assert not re.search(r"None|Errno|Traceback", told["msg"])


@pytest.mark.parametrize("verbosity", [0, 3])
def test_an_unexpected_error_becomes_a_message_without_its_text(run: Run, verbosity: int) -> None:
    told = run(fails(KeyError("hunter2-long-and-secret")), verbosity=verbosity)
    assert "KeyError in test_adapter.py:" in told["msg"]
    assert "hunter2" not in json.dumps(told)
    assert ("trace" in told) == (verbosity == 3)
    assert not verbosity or any("test_adapter.py" in frame for frame in told["trace"])


@pytest.mark.parametrize(
    "error",
    [GreenlightError("\x1b[2J", journal=["\x9b2J", {"b": "\u202e"}]), OSError(2, "\x1b[2J", "/srv/\u202e")],
    ids=repr,
)
def test_no_terminal_control_characters_leave_the_host(run: Run, error: Exception) -> None:
    """Ansible prints a module's message unchanged."""
    failed = run(fails(error))
    ended = run(lambda call: {"answer": "\x1b[2J", "diff": [{"after": "\u202e"}]})
    for told in (failed, ended):
        assert "\\x1b[2J" in str(told).replace("\\\\", "\\")
        assert not re.search("[\x1b\x9b\u202e]", json.dumps(told, ensure_ascii=False))


def test_the_details_of_an_error_are_in_the_result(run: Run) -> None:
    assert run(fails(GreenlightError("no", journal=["a", "b"])))["journal"] == ["a", "b"]


# A step that takes the lock


def test_the_lock_is_taken_before_the_host_is_inspected_and_kept(run: Run, layout: Layout, warned: list[str]) -> None:
    def body(call: Call) -> dict[str, Any]:
        return {"seen": holder(layout)}

    told = run(body, **TAKING)
    assert told["seen"] == "ann@laptop"
    assert warned == []
    assert holder(layout) == "ann@laptop"
    with held(layout, ANN.run):
        pass


def test_a_step_without_the_lock_inspects_nothing(run: Run, layout: Layout) -> None:
    take(layout, BOB, STALE)
    told = run(never, **TAKING)
    assert told["failed"] is True
    assert told["msg"].startswith("error locked:shop\n")
    assert "bob@desk" in told["msg"]
    assert told["locked"] == asdict(BOB)
    assert holder(layout) == "bob@desk"


@pytest.mark.parametrize("more", [{"instead_of": BOB.run}, {"stale_seconds": 0}], ids=["dead", "stale"])
def test_taking_over_a_lock_gives_a_warning(run: Run, layout: Layout, warned: list[str], more: dict[str, Any]) -> None:
    take(layout, BOB, STALE)
    told = run(lambda call: {"seen": holder(layout)}, **{**TAKING, **more})
    assert told["seen"] == "ann@laptop"
    (warning,) = warned
    assert warning.startswith("Took over the lock of a run that is dead: bob@desk, since ")


@pytest.mark.parametrize("more", [{"instead_of": "c0c0"}, {"stale_seconds": 60}], ids=["other", "young"])
def test_a_lock_is_not_taken_over_without_a_reason(run: Run, layout: Layout, more: dict[str, Any]) -> None:
    take(layout, BOB, STALE)
    assert run(never, **{**TAKING, **more})["locked"] == asdict(BOB)


def test_taking_the_lock_requires_a_stale_time(run: Run, layout: Layout) -> None:
    assert "stale_seconds" in run(never, owner=asdict(ANN))["msg"]
    assert holder(layout) == ""


@pytest.mark.parametrize("error", [GreenlightError("no"), OSError(28, "full"), ZeroDivisionError()], ids=repr)
def test_a_failing_opening_step_gives_the_lock_back(run: Run, layout: Layout, error: Exception) -> None:
    assert run(fails(error), **TAKING)["failed"] is True
    assert holder(layout) == ""
    assert take(layout, BOB, STALE) == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_interrupted_step_gives_the_lock_back(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(_adapter, "load", lambda name: SimpleNamespace(OPTIONS=OPTIONS, run=fails(error)))
    with pytest.raises(type(error)) as raised, patch_module_args(arguments("some", **TAKING)):
        _adapter.main()
    assert raised.value is error
    assert holder(layout) == ""


def test_a_failing_step_gives_back_only_its_own_lock(run: Run, layout: Layout) -> None:
    def body(call: Call) -> dict[str, Any]:
        take(layout, BOB, STALE, instead_of=ANN.run)
        raise GreenlightError("too late")

    assert run(body, **TAKING)["msg"] == "too late"
    assert holder(layout) == "bob@desk"


@pytest.mark.parametrize("options", [TAKING, STEP], ids=["taking", "step"])
def test_a_failure_to_write_the_lock_becomes_a_message(run: Run, layout: Layout, options: dict[str, Any]) -> None:
    layout.lock.parent.parent.mkdir()
    layout.lock.parent.write_text("no directory")
    told = run(never, **options)
    assert str(layout.lock.parent) in told["msg"]


# A step of a run


def test_a_step_runs_under_the_guard_of_its_run(run: Run, layout: Layout) -> None:
    def body(call: Call) -> dict[str, Any]:
        with pytest.raises(Locked):
            take(layout, BOB, 0)
        with pytest.raises(Locked):
            take(layout, BOB, STALE, instead_of=ANN.run)
        return {"seen": holder(layout)}

    take(layout, ANN, STALE)
    assert run(body, **STEP)["seen"] == "ann@laptop"
    assert holder(layout) == "ann@laptop"
    assert take(layout, BOB, 0)


@pytest.mark.parametrize("error", [GreenlightError("no"), OSError(28, "full")], ids=repr)
def test_a_failing_later_step_keeps_the_lock_of_its_run(run: Run, layout: Layout, error: Exception) -> None:
    take(layout, ANN, STALE)
    assert run(fails(error), **STEP)["failed"] is True
    with held(layout, ANN.run):
        assert holder(layout) == "ann@laptop"


@pytest.mark.parametrize("other", [None, BOB])
def test_a_step_of_a_run_without_the_lock_does_not_run(run: Run, layout: Layout, other: Owner | None) -> None:
    if other:
        take(layout, other, STALE)
    told = run(never, **STEP)["msg"]
    assert told.startswith("error lock-lost:shop\n")
    assert ("bob@desk" in told) is bool(other)


# Check mode


@pytest.mark.parametrize("options", [TAKING, STEP], ids=["taking", "step"])
def test_check_mode_takes_no_lock(run: Run, layout: Layout, options: dict[str, Any]) -> None:
    assert run(lambda call: {"done": True}, check=True, **options)["done"] is True
    assert not layout.lock.parent.exists()
    assert run(fails(GreenlightError("no")), check=True, **options)["msg"] == "no"
    assert not layout.lock.parent.exists()


@pytest.mark.parametrize("options", [TAKING, STEP], ids=["taking", "step"])
def test_check_mode_runs_even_while_another_run_holds_the_lock(
    run: Run, layout: Layout, options: dict[str, Any]
) -> None:
    take(layout, BOB, STALE)
    with held(layout, BOB.run):
        before = layout.lock.read_bytes()
        assert run(lambda call: {"done": True}, check=True, **options, instead_of=BOB.run)["done"] is True
        assert layout.lock.read_bytes() == before


# Options


def test_a_step_gets_its_options_in_their_types(run: Run) -> None:
    told = run(lambda call: {"options": dict(call.options)}, stale_seconds="7")
    assert told["options"] == {"run": None, "owner": None, "instead_of": None, "stale_seconds": 7.0}


@pytest.mark.parametrize("options", [{"release": "r1"}, {"stale_seconds": "soon"}, {"owner": {"run": "a"}}], ids=repr)
def test_a_step_with_unknown_options_does_not_run(run: Run, options: dict[str, Any]) -> None:
    told = run(never, **options)
    assert next(iter(options)) in told["msg"]


# The steps that release the lock


def result_of(step: str, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str], **options: Any) -> Any:
    """Run a step on the host of ``options["layout"]``; return what it printed for Ansible."""
    patch.setattr(_adapter, "Layout", functools.partial(Layout, root=options.pop("layout").root))
    with patch_module_args(arguments(step, **options)), pytest.raises(SystemExit):
        _adapter.main()
    return json.loads(output.readouterr().out)


def test_a_removal_holds_the_guard_until_the_app_is_removed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def remove_app(layout: Layout, *_: Any) -> list[str]:
        with pytest.raises(HeldElsewhere), exclusively(layout.lock.with_suffix(".guard"), 0):
            pass
        return ["/srv/shop"]

    monkeypatch.setattr(remove, "remove_app", remove_app)
    options = {"environment": "staging", "bounds": {"stop_seconds": 1, "drain_seconds": 1}, **TAKING}
    told = result_of("remove", monkeypatch, capsys, layout=layout, **options)
    assert told["removed"] == ["/srv/shop"]
    assert list(layout.lock.parent.iterdir()) == []


@pytest.mark.parametrize("check", [True, False])
def test_a_claim_creates_the_account_and_reports_a_change(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    recorded: list[bool] = []
    monkeypatch.setattr(accounts, "number", lambda part, name: None)
    monkeypatch.setattr(accounts, "require", lambda argv, what: recorded.append(is_recorded(layout)))
    told = result_of("claim", monkeypatch, capsys, layout=layout, environment="staging", check=check)
    assert told["changed"] is True
    assert {str(layout.made), "the account shop", "the group shop"} <= set(told["made"])
    assert recorded == ([] if check else [True, True])
    assert layout.etc.exists() is not check


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_breaks_no_lock(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    take(layout, ANN, STALE)
    told = result_of("unlock", monkeypatch, capsys, layout=layout, check=check)
    assert told["was"].startswith("ann@laptop, since ")
    assert holder(layout) == ("ann@laptop" if check else "")


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_does_not_give_a_lock_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    take(layout, ANN, STALE)
    result_of("unlock", monkeypatch, capsys, layout=layout, of=ANN.run, check=check)
    assert holder(layout) == ("ann@laptop" if check else "")
