# SPDX-License-Identifier: GPL-3.0-or-later
"""Certbot requests the right certificate, without secrets in its arguments, and renews it in time by itself."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import write
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._edge import acme
from ansible_collections.greenlight.flask.plugins.module_utils._edge.acme import (
    Account,
    forget,
    issued,
    keep_renewed,
    obtain,
)

from tests.unit.cases import all_named
from tests.unit.edge_machine import EdgeMachine, played

NAMES = ["shop.example.org", "www.shop.example.org"]
ACCOUNT = Account("https://acme.example.org/directory", "ops@example.org")
KEY_ID, HMAC_KEY = "kid-17", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
BOUND = Account(ACCOUNT.directory, ACCOUNT.email, KEY_ID, HMAC_KEY)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeMachine:
    machine = played(tmp_path, monkeypatch)
    machine.next_certificate(*NAMES)
    return machine


def obtained(machine: EdgeMachine, account: Account = ACCOUNT, names: list[str] = NAMES) -> list[str]:
    """Return the words that certbot was called with."""
    obtain(machine.certbot, machine.layout, names, account)
    return machine.noted("words").splitlines()


def value(words: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == option]


def settings(machine: EdgeMachine) -> str:
    return machine.certbot.settings(machine.layout).read_text()


# What certbot requests


def test_certbot_gets_every_answer_it_would_ask_for(machine: EdgeMachine) -> None:
    words = obtained(machine)
    assert words[0] == "certonly"
    assert value(words, "--server") == [ACCOUNT.directory]
    assert value(words, "--email") == ["ops@example.org"]
    assert value(words, "--webroot-path") == [str(machine.certbot.webroot)]
    assert value(words, "--cert-name") == ["shop"]
    assert value(words, "--domain") == NAMES
    assert {
        "--webroot",
        "--non-interactive",
        "--agree-tos",
        "--no-eff-email",
        "--renew-with-new-domains",
        "--keep-until-expiring",
    } <= set(words)
    assert not {"--force-renewal", "--register-unsafely-without-email"} & set(words)
    assert machine.certbot.webroot.is_dir()


def test_without_an_email_address_the_account_has_none(machine: EdgeMachine) -> None:
    words = obtained(machine, Account(ACCOUNT.directory))
    assert "--register-unsafely-without-email" in words
    assert "--email" not in words


def test_the_external_account_key_is_in_a_root_only_file_and_no_argument(machine: EdgeMachine) -> None:
    words = obtained(machine, BOUND)
    assert not [word for word in words if HMAC_KEY in word or KEY_ID in word]
    assert machine.noted("options") == f"eab-kid = {KEY_ID}\neab-hmac-key = {HMAC_KEY}\n"
    assert machine.noted("options-mode") == "600\n"


def test_the_external_account_key_file_is_removed_afterwards(machine: EdgeMachine) -> None:
    (path,) = value(obtained(machine, BOUND), "--config")
    assert not Path(path).parent.exists()
    (machine.state / "refuses").write_text("no\n")
    with pytest.raises(GreenlightError):
        obtained(machine, BOUND)
    (path,) = value(machine.noted("words").splitlines(), "--config")
    assert not Path(path).parent.exists()


def test_without_an_external_account_the_options_file_is_empty(machine: EdgeMachine) -> None:
    obtained(machine)
    assert machine.noted("options") == ""
    assert machine.noted("options-mode") == "600\n"


def test_certbot_uses_the_trust_store_of_the_host(machine: EdgeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/home/ada/mine.pem")
    obtained(machine)
    assert machine.noted("trust").splitlines() == [str(machine.root / "etc/ssl/certs/ca-certificates.crt")] * 2


def test_a_valid_certificate_from_the_same_server_is_kept(machine: EdgeMachine) -> None:
    obtained(machine)
    words = obtained(machine, names=[*NAMES, "new.example.org"])
    assert "--keep-until-expiring" in words
    assert "--force-renewal" not in words


def test_a_changed_acme_server_issues_a_new_certificate_at_once(machine: EdgeMachine) -> None:
    obtained(machine)
    words = obtained(machine, Account("https://other.example.org/directory"))
    assert "--force-renewal" in words
    assert "--keep-until-expiring" not in words


# Existing certificates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "server", "days", "expected"),
    [
        (NAMES, ACCOUNT.directory, 90, True),
        (NAMES[::-1], ACCOUNT.directory, 0.5, True),
        (NAMES, ACCOUNT.directory, -0.5, False),
        (NAMES[:1], ACCOUNT.directory, 90, False),
        ([*NAMES, "more.example.org"], ACCOUNT.directory, 90, False),
        (NAMES, "https://other.example.org/directory", 90, False),
    ],
)
def test_only_a_valid_certificate_for_these_names_and_server_counts(
    machine: EdgeMachine, names: list[str], server: str, days: float, expected: bool
) -> None:
    machine.next_certificate(*names, days=days + 1, since_days=1)
    assert issued(machine.certbot, machine.layout, NAMES, ACCOUNT) is False
    obtained(machine, Account(server))
    assert issued(machine.certbot, machine.layout, NAMES, ACCOUNT) is expected


@pytest.mark.parametrize("part", ["fullchain.pem", "privkey.pem", "settings"])
def test_an_incomplete_lineage_does_not_count(machine: EdgeMachine, part: str) -> None:
    obtained(machine)
    lineage = machine.certbot.lineage(machine.layout)
    (machine.certbot.settings(machine.layout) if part == "settings" else lineage / part).unlink()
    assert issued(machine.certbot, machine.layout, NAMES, ACCOUNT) is False


# A refusal


def refused(machine: EdgeMachine, text: str, account: Account = ACCOUNT) -> Finding:
    (machine.state / "refuses").write_text(text)
    with pytest.raises(Refused) as caught:
        obtained(machine, account)
    assert all_named(caught) == [("no-certificate", "shop.example.org")]
    return caught.value.findings[0]


def test_a_refusal_names_server_and_domains_and_quotes_certbot(machine: EdgeMachine) -> None:
    told = refused(machine, "Domain: shop.example.org\nDetail: DNS problem: NXDOMAIN\n")
    for fact in (ACCOUNT.directory, "shop.example.org, www.shop.example.org"):
        assert fact in told.what.splitlines()[0]
    for variable in ("flask_app_server_names", "flask_app_acme_directory"):
        assert variable in told.fix
    assert told.what.endswith("\nDomain: shop.example.org\nDetail: DNS problem: NXDOMAIN")
    assert "letsencrypt.log" not in str(told)


def test_a_refusal_masks_the_key_and_is_truncated(machine: EdgeMachine) -> None:
    told = refused(machine, "noise\n" * 100 + f"malformed: the key {HMAC_KEY} is unknown, {HMAC_KEY}\n", BOUND)
    assert HMAC_KEY not in str(told)
    assert told.what.endswith("malformed: the key ******** is unknown, ********")
    assert told.what.count("noise") == 19


def test_a_missing_certbot_is_reported(machine: EdgeMachine) -> None:
    (machine.root / "bin/certbot").unlink()
    with pytest.raises(GreenlightError, match="certbot is not installed on this host"):
        obtained(machine)


def test_a_hanging_certbot_is_reported(machine: EdgeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acme, "CERTBOT_SECONDS", 0.1)
    (machine.root / "bin/certbot").write_text("#!/bin/sh\nexec sleep 5\n")
    with pytest.raises(GreenlightError, match=r"certbot took longer than 0\.1 seconds"):
        obtained(machine)


# Renewal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "before", "hourly"),
    [
        (6, "72 hours", True),
        (9.9, "119 hours", True),
        (10.1, "81 hours", False),
        (40, "320 hours", False),
        (44.9, "359 hours", False),
        (45.1, None, False),
        (90, None, False),
    ],
)
def test_a_certificate_is_renewed_in_time_whatever_its_life(
    machine: EdgeMachine, days: float, before: str | None, hourly: bool
) -> None:
    machine.next_certificate(*NAMES, days=days)
    obtained(machine)
    plain = settings(machine)
    assert keep_renewed(machine.certbot, machine.layout) is True  # the hook is new
    assert settings(machine) == (f"renew_before_expiry = {before}\n" if before else "") + plain
    assert machine.certbot.timer.exists() is hourly
    orders = machine.calls("systemctl")
    assert ("systemctl daemon-reload" in orders) is hourly
    assert ("systemctl restart certbot.timer" in orders) is hourly
    assert keep_renewed(machine.certbot, machine.layout) is False
    assert machine.calls("systemctl")[len(orders) :] == ["systemctl is-enabled --quiet certbot.timer"]


def test_a_shorter_lifetime_changes_only_the_renewal_setting(machine: EdgeMachine) -> None:
    for days, before in ((40, "320 hours"), (6, "72 hours")):
        machine.next_certificate(*NAMES, days=days)
        obtained(machine)
        plain = settings(machine).replace("renew_before_expiry = 320 hours\n", "")
        keep_renewed(machine.certbot, machine.layout)
        assert settings(machine) == f"renew_before_expiry = {before}\n{plain}"
        assert "[renewalparams]" in plain


def test_a_longer_lifetime_returns_to_the_default_rule_of_certbot(machine: EdgeMachine) -> None:
    """Certbot keeps its settings: a certificate of 90 days would be renewed three days before its end."""
    machine.next_certificate(*NAMES, days=6)
    obtained(machine)
    keep_renewed(machine.certbot, machine.layout)
    machine.next_certificate(*NAMES, days=90)
    obtained(machine, Account("https://other.example.org/directory"))
    assert "renew_before_expiry = 72 hours" in settings(machine)
    assert keep_renewed(machine.certbot, machine.layout) is True
    assert "\nrenew_before_expiry" not in f"\n{settings(machine)}"
    assert keep_renewed(machine.certbot, machine.layout) is False


def test_a_renewal_setting_made_by_hand_is_kept(machine: EdgeMachine) -> None:
    obtained(machine)
    path = machine.certbot.settings(machine.layout)
    path.write_text(f"renew_before_expiry = 45 days\n{path.read_text()}")
    keep_renewed(machine.certbot, machine.layout)
    assert path.read_text().startswith("renew_before_expiry = 45 days\n")


def test_the_timer_runs_every_hour(machine: EdgeMachine) -> None:
    machine.next_certificate(*NAMES, days=6)
    obtained(machine)
    keep_renewed(machine.certbot, machine.layout)
    # The empty one resets Debian's own, to which the next would otherwise be added.
    assert "OnCalendar=\nOnCalendar=hourly\n" in machine.certbot.timer.read_text()


def test_a_disabled_timer_is_enabled(machine: EdgeMachine) -> None:
    obtained(machine)
    keep_renewed(machine.certbot, machine.layout)
    machine.turn("disabled-certbot")
    assert keep_renewed(machine.certbot, machine.layout) is True
    assert machine.calls("systemctl")[-1] == "systemctl enable --quiet --now certbot.timer"
    assert keep_renewed(machine.certbot, machine.layout) is False


# The hook


@pytest.fixture
def hook(machine: EdgeMachine) -> Path:
    obtained(machine)
    keep_renewed(machine.certbot, machine.layout)
    machine.log.write_text("")
    return machine.certbot.hook


def run_hook(hook: Path) -> int:
    """Run the hook like certbot; return its exit code."""
    environment = {**os.environ, "RENEWED_LINEAGE": "/etc/letsencrypt/live/shop"}
    return subprocess.run([hook], env=environment, check=False, capture_output=True, timeout=10).returncode


def test_the_hook_is_executable_and_where_certbot_looks(machine: EdgeMachine, hook: Path) -> None:
    assert hook.parent == machine.root / "etc/letsencrypt/renewal-hooks/deploy"
    assert hook.stat().st_mode & 0o777 == 0o755
    hook.chmod(0o644)
    assert keep_renewed(machine.certbot, machine.layout) is True
    assert hook.stat().st_mode & 0o777 == 0o755


def test_nginx_is_reloaded_after_a_renewal(machine: EdgeMachine, hook: Path) -> None:
    assert run_hook(hook) == 0
    assert machine.calls() == [f"nginx test {machine.tree.etc}", "systemctl reload nginx"]


def test_a_broken_configuration_is_logged_and_not_loaded(machine: EdgeMachine, hook: Path) -> None:
    write(machine.tree.etc / "sites-enabled/theirs.conf", "bad\n")
    assert run_hook(hook) == 1
    assert machine.calls("systemctl") == []
    assert machine.calls("logger") == [
        "logger --priority daemon.err --tag greenlight /etc/letsencrypt/live/shop was renewed, but Nginx serves the"
        " old one:"
        f" nginx: [emerg] unknown directive in {machine.tree.etc}/sites-enabled/theirs.conf:1"
    ]


def test_a_failed_reload_is_logged(machine: EdgeMachine, hook: Path) -> None:
    machine.turn("reload-fails")
    assert run_hook(hook) == 1
    assert machine.calls("logger") == [
        "logger --priority daemon.err --tag greenlight /etc/letsencrypt/live/shop was renewed, but Nginx serves the"
        " old one:"
        " systemctl reload nginx failed"
    ]


# Deleting the lineage


def test_a_lineage_is_deleted_only_if_it_exists(machine: EdgeMachine) -> None:
    assert forget(machine.certbot, machine.layout) is False
    assert machine.calls("certbot") == []
    obtained(machine)
    assert forget(machine.certbot, machine.layout) is True
    assert machine.noted("words").split() == ["delete", "--non-interactive", "--cert-name", "shop"]
    assert forget(machine.certbot, machine.layout) is False
    assert machine.calls("certbot") == ["certbot certonly", "certbot delete"]


def test_a_dry_run_reports_the_lineage_without_deleting_it(machine: EdgeMachine) -> None:
    assert forget(machine.certbot, machine.layout, dry=True) is False
    obtained(machine)
    before = machine.files()
    assert forget(machine.certbot, machine.layout, dry=True) is True
    assert machine.files() == before


def test_a_lineage_that_certbot_cannot_delete_is_reported(machine: EdgeMachine) -> None:
    obtained(machine)
    (machine.root / "bin/certbot").write_text("#!/bin/sh\necho 'Another instance of Certbot is running.' >&2; exit 1\n")
    with pytest.raises(GreenlightError, match=r"(?s)certbot delete --cert-name shop failed.*Another instance"):
        forget(machine.certbot, machine.layout)
