# SPDX-License-Identifier: GPL-3.0-or-later
"""Check settings of a service with this host's systemd, which reports settings that it can't read only in its journal.

``systemd-analyze verify`` reads a temporary unit, so nothing is started and no unit of the host changes.
"""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding

#: Id of the finding for a setting that systemd on the host doesn't accept.
UNIT_SETTING = "unit-setting"
_HEAD = ["[Service]", "Type=oneshot", "ExecStart=/bin/true"]
_SYSTEMD = "/usr/lib/systemd/systemd"
#: One line for each complaint, whatever the deployer's shell has set.
_PLAIN = {"SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_COLOR": "0"}


def setting_problems(settings: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return what systemd ignores or has deprecated in ``settings``: name -> lines, each without a line break."""
    if not settings:
        return []
    names = [name for name, lines in settings.items() for _ in lines]
    body = [f"{name}={line}" for name, lines in settings.items() for line in lines]
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        unit = Path(scratch) / "greenlight-check.service"
        unit.write_text("\n".join([*_HEAD, *body, ""]), encoding="utf-8")
        command: list[str | Path] = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
        said = run(command, environment=_PLAIN).stderr
    complaints: dict[str, str] = {}
    for number, words in re.findall(rf"^{re.escape(str(unit))}:(\d+): (.+)$", said, re.MULTILINE):
        if len(_HEAD) < int(number) <= len(_HEAD) + len(names):
            complaints.setdefault(names[int(number) - len(_HEAD) - 1], words)
    known = _known() if complaints else {}
    return [_problem(name, words, known) for name, words in complaints.items()]


def _problem(name: str, words: str, known: Mapping[str, set[str]]) -> Finding:
    service = known.get("Service", set())
    if not service or name in service:
        said = re.sub(r", ignoring\b( assignment)?|\.$", "", words)
        what = f"flask_app_service_settings: systemd on this host doesn't accept this value of {name}: {said}."
        fix = "Correct the value."
    else:
        what = f"flask_app_service_settings has {name}, which systemd on this host doesn't know and ignores."
        near = difflib.get_close_matches(name, sorted(service), n=1, cutoff=0.7)
        folded = {each.lower(): each for each in service}.get(name.lower())
        sections = sorted(section for section, names in known.items() if name in names)
        if folded or near:
            fix = f"Did you mean {folded or near[0]}?"
        elif sections:
            fix = f"Remove it: it belongs to the section {sections[0]}, not to Service."
        else:
            fix = "Remove it."
    accept = f"Or put {UNIT_SETTING}:{name} into flask_app_accepted_findings."
    return Finding(UNIT_SETTING, ERROR, name, what, f"{fix} {accept}", variables=("flask_app_service_settings",))


def _known() -> dict[str, set[str]]:
    """Return the names of all settings by section, as this systemd prints them; empty if it can't."""
    sections: dict[str, set[str]] = {}
    section = ""
    for line in run([_SYSTEMD, "--dump-configuration-items"]).stdout.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            sections.setdefault(section, set()).add(line.partition("=")[0])
    return sections
