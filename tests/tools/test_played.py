# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser of a play's output finds each finding that people see, and nothing that only looks like one."""

from __future__ import annotations

import textwrap

import pytest

from tests.support.deployed import Played

#: Ansible reports the end of a task twice: in its own words, and in the task's result.
REFUSED = """
TASK [greenlight.flask.flask_app : preflight | Find everything that would stop this deploy, and take the lock] ***
[ERROR]: Task failed: Action failed: {text}
Origin: /work/roles/flask_app/tasks/preflight.yml:2:3

1 ---
2 - name: preflight | Find everything that would stop this deploy, and take the lock
    ^ column 3

fatal: [debian13]: FAILED! =>\x20
    changed: false
    msg: |-
{indented}

TASK [greenlight.flask.flask_app : failure | Notify] ***************************
skipping: [debian13]

PLAY RECAP *********************************************************************
debian13                   : ok=0    changed=0    unreachable=0    failed=1    skipped=5    rescued=1    ignored=0
"""
#: In a report of a task that ends well.
TOLD = """
TASK [greenlight.flask.flask_app : doctor | Report the findings] ***************
ok: [debian13] =>\x20
    changed: false
    msg: |-
{indented}
"""


def printed(form: str, *lines: str) -> Played:
    """Return how Ansible prints a message with these lines."""
    text = "\n".join(lines)
    return Played(1, form.format(text=text, indented=textwrap.indent(text, " " * 8)))


def test_findings_under_a_heading_are_read() -> None:
    done = printed(
        REFUSED,
        "guestbook can't be deployed to debian13: 3 problems. Nothing was changed.",
        "1. unreadable-variable:flask_app_secrets",
        "  flask_app_secrets can't be read: SECRET_KEY, vault_flask_app_secret_key is undefined.",
        "  Fix: Make new secrets with script/secrets staging.",
        "2. missing-secret:SECRET_KEY, DATABASE_URL",
        "  They have no value.",
        "12. failed-step:debian13",
        "  error locked:guestbook",
        "    Another run is at work on guestbook here: ann@laptop, since 2026-11-21 09:44:20 UTC (process 4711).",
        "    Fix: Wait for its end.",
    )
    assert done.findings == {
        ("unreadable-variable", "flask_app_secrets"),
        ("missing-secret", "SECRET_KEY, DATABASE_URL"),
        ("failed-step", "debian13"),
        ("locked", "guestbook"),
    }


@pytest.mark.parametrize("whole", [True, False])
def test_the_one_finding_that_ends_a_step_is_read_from_either_place(whole: bool) -> None:
    """If a text has a character that YAML's blocks can't hold, only Ansible's own words remain."""
    form = REFUSED if whole else REFUSED.partition("fatal: ")[0]
    done = printed(form, "error candidate-failed:20261121T094422Z-a1a1a1a1", "  It was not proved.", "Traffic stays.")
    assert done.findings == {("candidate-failed", "20261121T094422Z-a1a1a1a1")}
    assert done.finds("candidate-failed")
    assert done.finds("candidate-failed:20261121T094422Z-a1a1a1a1")
    assert not any(map(done.finds, ("candidate", "candidate-failed:2026", "20261121T094422Z-a1a1a1a1")))


def test_each_line_of_a_report_is_read_however_bad_it_is() -> None:
    done = printed(
        TOLD,
        "guestbook, production: 1 error, 1 warning, 2 accepted. Nothing was changed.",
        "error placeholder:API_TOKEN",
        "  API_TOKEN is a placeholder.",
        "  Fix: Set it.",
        "warning no-tls:flask_app_tls",
        "  It is none.",
        "accepted warning literal-secret:shop/config.py",
        "  API_TOKEN is in shop/config.py.",
        "accepted error plain-text-vault:inventories/production/group_vars/flask_app/vault.yml",
        "  It is in plain text.",
        "secrets: compared with inventories/staging",
    )
    assert done.findings == {
        ("placeholder", "API_TOKEN"),
        ("no-tls", "flask_app_tls"),
        ("literal-secret", "shop/config.py"),
        ("plain-text-vault", "inventories/production/group_vars/flask_app/vault.yml"),
    }


def test_subjects_are_read_whole() -> None:
    done = printed(
        REFUSED,
        "guestbook on debian13: 3 findings, release 20261121T094422Z-a1a1a1a1 is live.",
        "1. drop-in:/etc/systemd/system/guestbook@.service.d/override.conf",
        "  It changes a unit.",
        "2. process:process 4711",
        "  It runs another command line.",
        "3. certificate:from https://acme.example.org/directory",
        "  The inventory asks for another certificate.",
        "Not fully checked: the environment of process 4711, which has written its title over it (setproctitle).",
    )
    assert done.findings == {
        ("drop-in", "/etc/systemd/system/guestbook@.service.d/override.conf"),
        ("process", "process 4711"),
        ("certificate", "from https://acme.example.org/directory"),
    }


WARNED = """
TASK [greenlight.flask.flask_app : candidate | Prove it] ***********************
[WARNING]: The app runs with SESSION_COOKIE_SECURE off (the session's cookie):
browsers send the cookie over plain HTTP (see the docs)
and so on. Fix: Set SESSION_COOKIE_SECURE to True. (insecure-cookie:SESSION_COOKIE_SECURE)
[WARNING]: Secrets have no value. Fix: Set them. (missing-secret:SECRET_KEY,
DATABASE_URL)
[WARNING]: Took over the lock of a run that is dead: ann@laptop (process 4711).
changed: [debian13]

TASK [greenlight.flask.flask_app : switch | Give it the traffic] ***************
ok: [debian13] =>\x20
    msg: taken for granted (no-tls:flask_app_tls)
"""


def test_a_warning_is_read_wherever_its_lines_break() -> None:
    assert Played(0, WARNED).findings == {
        ("insecure-cookie", "SESSION_COOKIE_SECURE"),
        ("missing-secret", "SECRET_KEY, DATABASE_URL"),
    }


@pytest.mark.parametrize(
    "line",
    [
        "The error locked:guestbook is told elsewhere.",
        "error: nginx failed",
        "1. Deploy again: it may work.",
        "1. unfinished: A run switched to it.",
        "error connecting to db:5432",
        "2026-11-21 error locked:guestbook",
        "ok (no-tls:flask_app_tls)",
        "Fix: error no-tls:flask_app_tls",
    ],
)
def test_what_only_looks_like_a_finding_is_none(line: str) -> None:
    assert printed(TOLD, "guestbook", line).findings == set()
