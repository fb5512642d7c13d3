# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a program ends, fails, hangs or is missing: the report has the same form, and comes in time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import (
    NOT_INSTALLED,
    NOT_RUNNABLE,
    OUT_OF_TIME,
    require,
    run,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError


def test_a_program_returns_its_exit_code_and_output() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.output == "out\nerr"


@pytest.mark.parametrize(("script", "output"), [("true", ""), ("echo out", "out"), ("echo err >&2", "err")])
def test_output_combines_stdout_and_stderr_if_present(script: str, output: str) -> None:
    assert run(["sh", "-c", script]).output == output


def test_a_hanging_program_is_stopped_in_time() -> None:
    began = time.monotonic()
    done = run(["sh", "-c", "echo partly >&2; exec sleep 20"], seconds=0.1)
    assert time.monotonic() - began < 5
    assert done.code == OUT_OF_TIME == 124
    assert done.output == "partly\nsh took longer than 0.1 seconds"
    assert run(["sleep", "20"], seconds=0.05).output == "sleep took longer than 0.05 seconds"


def test_a_missing_program_is_reported() -> None:
    done = run(["greenlight-no-such-program", "--version"])
    assert done.code == NOT_INSTALLED == 127
    assert done.output == "greenlight-no-such-program is not installed on this host"
    assert run(["/greenlight/no-such-program"]).code == NOT_INSTALLED
    assert run(["/etc/passwd/program"]).code == NOT_INSTALLED


@pytest.mark.parametrize("mode", [None, 0o644, 0o755], ids=["a directory", "not executable", "no program"])
def test_a_file_that_cannot_run_is_reported(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "program"
    if mode is None:
        path.mkdir()
    else:
        path.write_text("no program")
        path.chmod(mode)
    done = run([path, "--version"])
    assert (done.code, done.stdout) == (NOT_RUNNABLE, "")
    assert str(path) in done.output
    with pytest.raises(GreenlightError, match="exit code 126"):
        require([path], "asking")


def test_a_missing_directory_is_not_mistaken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(["true"], directory=tmp_path / "nowhere")


def test_a_program_gets_our_environment_additions_and_a_fixed_locale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    done = run(["sh", "-c", 'echo "$OURS $THEIRS $LC_ALL"; pwd'], environment={"THEIRS": "x"}, directory=tmp_path)
    assert done.stdout == f"ours x C.UTF-8\n{tmp_path}\n"


def test_a_program_that_prompts_gets_no_input() -> None:
    assert run(["cat"], seconds=5).code == 0


def test_a_program_gets_the_given_standard_input() -> None:
    assert run(["cat"], given="the program\nümlaut").stdout == "the program\nümlaut"
    assert run(["sh", "-c", "cat; echo $#"], given="the program ").stdout == "the program 0\n"


def test_a_program_may_ignore_its_standard_input() -> None:
    assert run(["true"], given="x" * 10**6).code == 0
    assert run(["sleep", "20"], given="x" * 10**6, seconds=0.1).code == OUT_OF_TIME


def test_a_program_inherits_only_inheritable_open_files(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w"), (tmp_path / "theirs").open("w") as theirs:
        os.set_inheritable(theirs.fileno(), True)
        listed = run(["sh", "-c", "readlink /proc/$$/fd/*"]).stdout.splitlines()
    assert str(tmp_path / "theirs") in listed
    assert str(tmp_path / "ours") not in listed


def test_binary_output_is_returned_as_readable_text_or_exact_bytes() -> None:
    broken = ["printf", r"br\366ken"]
    assert run(broken).stdout == "br\N{REPLACEMENT CHARACTER}ken"
    assert run(broken, errors="surrogateescape").stdout == "br\udcf6ken"


def test_a_failed_required_program_is_reported_with_its_last_lines() -> None:
    assert require(["echo", "out"], "echoing").stdout == "out\n"
    with pytest.raises(GreenlightError) as failed:
        require(["sh", "-c", "seq 100; exit 4"], "counting", seconds=5)
    lines = str(failed.value).splitlines()
    assert lines[0] == "counting failed (exit code 4):"
    assert lines[1:] == [str(number) for number in range(81, 101)]


def test_an_error_has_a_message_and_details() -> None:
    error = GreenlightError("it is wrong", answer="HTTP 500")
    assert (str(error), error.details) == ("it is wrong", {"answer": "HTTP 500"})
