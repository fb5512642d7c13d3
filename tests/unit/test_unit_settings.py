# SPDX-License-Identifier: GPL-3.0-or-later
"""Added settings that systemd would ignore are refused, with the likely intended name."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import unit_settings
from ansible_collections.greenlight.flask.plugins.module_utils._app.unit_settings import setting_problems
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding

KNOWN = """\
[Unit]
After=UNIT [...]
Description=STRING

[Service]
LimitNOFILE=LIMIT
MemoryHigh=LIMIT
MemoryLimit=LIMIT
Nice=NICE
PrivateTmp=BOOLEAN
"""


class Systemd:
    """Simulates systemd-analyze, with a complaint for each given line of the unit, and the list of known names."""

    def __init__(self, complaints: dict[str, str], known: str = KNOWN) -> None:
        self.complaints, self.known = complaints, known
        self.asked: list[str] = []
        self.unit = ""

    def run(self, argv: Sequence[str | Path], **_: Any) -> Finished:
        self.asked.append(str(argv[0]))
        if argv[0] != "systemd-analyze":
            return Finished(0, self.known, "")
        path = Path(argv[-1])
        self.unit = path.read_text()
        said = ["/usr/lib/systemd/system/other.service:5: Unknown key 'Odd' in section [Service], ignoring."]
        for number, line in enumerate(self.unit.splitlines(), start=1):
            if line in self.complaints:
                said.append(f"{path}:{number}: {self.complaints[line]}")
        return Finished(int(bool(self.complaints)), "", "\n".join(said))


def found(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, list[str]], complaints: dict[str, str], known: str = KNOWN
) -> list[Finding]:
    monkeypatch.setattr(unit_settings, "run", Systemd(complaints, known).run)
    return setting_problems(settings)


UNKNOWN = "Unknown key '{}' in section [Service], ignoring."


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("LimitNOFILES", "LimitNOFILE?"),
        ("memoryhigh", "MemoryHigh?"),
        ("After", " Unit,"),
        ("Xyzzy", ""),
    ],
)
def test_an_unknown_systemd_setting_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, name: str, fix: str
) -> None:
    settings = {"Nice": ["5"], name: ["1"]}
    [problem] = found(monkeypatch, settings, {f"{name}=1": UNKNOWN.format(name)})
    assert (problem.id, problem.subject) == ("unit-setting", name)
    assert "flask_app_service_settings" in problem.what
    assert fix in problem.fix
    for fact in (f"unit-setting:{name} ", "flask_app_accepted_findings"):
        assert fact in problem.fix


def test_an_invalid_systemd_value_is_refused_in_the_words_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "Invalid memory limit '1GG', ignoring: Invalid argument"
    [problem] = found(monkeypatch, {"MemoryHigh": ["1G", "1GG"], "Nice": ["5"]}, {"MemoryHigh=1GG": words})
    assert (problem.id, problem.subject) == ("unit-setting", "MemoryHigh")
    assert "Invalid memory limit '1GG'" in problem.what
    assert "ignoring" not in str(problem)


def test_each_faulty_setting_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints = {f"Nice={value}": "Failed to parse nice value" for value in ("a", "b")}
    assert len(found(monkeypatch, {"Nice": ["a", "b"]}, complaints)) == 1


def test_without_a_list_of_names_the_words_of_systemd_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    [problem] = found(monkeypatch, {"Nise": ["1"]}, {"Nise=1": UNKNOWN.format("Nise")}, known="")
    assert problem.subject == "Nise"
    assert "Unknown key" in problem.what


def test_valid_settings_cost_one_systemd_call_and_no_settings_none(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd({})
    monkeypatch.setattr(unit_settings, "run", systemd.run)
    assert setting_problems({}) == []
    assert systemd.asked == []
    assert setting_problems({"Nice": ["5"], "ReadWritePaths": ["", "/x"]}) == []
    assert systemd.asked == ["systemd-analyze"]
    assert systemd.unit.endswith("\nNice=5\nReadWritePaths=\nReadWritePaths=/x\n")


def test_without_systemd_analyze_settings_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_settings, "run", lambda *_, **__: Finished(127, "", "systemd-analyze is not installed"))
    assert setting_problems({"Nise": ["1"]}) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed on this machine")
def test_the_messages_of_the_real_systemd_are_understood() -> None:
    settings = {
        "LimitNOFILES": ["5"],
        "MemoryHigh": ["1GG"],
        "Nice": ["5"],
        "PrivateTmp": ["True"],
        "ReadWritePaths": ["", "/srv/%i"],
        "SystemCallFilter": ["@system-service", "~@chown"],
        "CPUQuota": ["50%"],
        "Environment": ["A=b 'C=d e'"],
        "After": ["redis.service"],
    }
    problems = setting_problems(settings)
    assert [problem.subject for problem in problems] == ["LimitNOFILES", "MemoryHigh", "After"]
    assert "LimitNOFILE?" in problems[0].fix
