# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates from an ACME server (RFC 8555), with Debian's certbot, which renews them with its own timer.

Nginx serves the challenge from a directory (HTTP-01, webroot): nothing is stopped, none of our files is edited. The
lineage, as certbot(1) calls it, has the app's name; its settings are in ``/etc/letsencrypt/renewal/<app>.conf``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import make_directory, readable, write
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused

from . import certificate

#: Seconds that certbot may take, including its polling.
CERTBOT_SECONDS = 300
#: For shorter lifetimes, certbot's own rule (30 days before the end) would renew each time its timer runs.
SHORT_DAYS = 45
#: For shorter lifetimes, the timer must run hourly, because it may be up to 24 hours late.
HOURLY_DAYS = 10
#: Variables with the authorities that Python trusts. The timer uses the host's, so the first request must do so, too.
_TRUST = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
HOOK = """\
#!/bin/sh
# Owner: role greenlight.flask.flask_app
# After each renewal: let Nginx load the new certificate, unless its configuration is broken; certbot doesn't do that.
if refused=$(nginx -t 2>&1); then
    systemctl reload nginx && exit 0
    refused='systemctl reload nginx failed'
fi
logger --priority daemon.err --tag greenlight "$RENEWED_LINEAGE was renewed, but Nginx serves the old one: $refused"
exit 1
"""
TIMER = """\
# Owner: role greenlight.flask.flask_app
# A certificate on this host is valid for a few days only.
[Timer]
OnCalendar=
OnCalendar=hourly
RandomizedDelaySec=10min
"""


@dataclass(frozen=True)
class Account:
    """The ACME server and the account to use.

    Args:
        directory: URL of the ACME server's directory.
        email: contact address for the ACME server; empty for none.
        eab_kid: id of the external account's key (RFC 8555, section 7.3.4); empty if none is needed.
        eab_hmac_key: that key, base64url.
    """

    directory: str
    email: str = ""
    eab_kid: str = ""
    eab_hmac_key: str = ""


@dataclass(frozen=True)
class Certbot:
    """Where certbot and its lineages are on this host."""

    root: Path = Path("/")

    @property
    def etc(self) -> Path:
        return self.root / "etc/letsencrypt"

    def lineage(self, layout: Layout) -> Path:
        return self.etc / "live" / layout.app

    def settings(self, layout: Layout) -> Path:
        return self.etc / "renewal" / f"{layout.app}.conf"

    @property
    def hook(self) -> Path:
        return self.etc / "renewal-hooks/deploy/greenlight"

    @property
    def timer(self) -> Path:
        return self.root / "etc/systemd/system/certbot.timer.d/greenlight.conf"

    @property
    def trusted(self) -> Path:
        """The authorities that the host trusts (update-ca-certificates(8))."""
        return self.root / "etc/ssl/certs/ca-certificates.crt"

    @property
    def webroot(self) -> Path:
        """Where Nginx finds the answers to challenges, for all apps of the host."""
        return self.root / "var/lib/greenlight/acme"


def issued(certbot: Certbot, layout: Layout, names: Sequence[str], account: Account) -> bool:
    """Say whether there is a valid certificate for exactly ``names`` from this server, with its key."""
    found = certificate.inspect(certbot.lineage(layout)) if is_ours(certbot, layout) else None
    return bool(
        found
        and found.names == frozenset(names)
        and found.days_left() > 0
        and certificate.is_pair(certbot.lineage(layout))
        and _setting(certbot, layout, "server") == account.directory
    )


def obtain(certbot: Certbot, layout: Layout, names: Sequence[str], account: Account) -> None:
    """Have a certificate for ``names`` issued.

    Raises:
        GreenlightError: the server refused; the text quotes certbot.
    """
    if certbot.settings(layout).exists() and not is_ours(certbot, layout):
        what = f"certbot already has a certificate named {layout.app}, which this role did not make."
        fix = f"Choose another flask_app_name, or remove it: certbot delete --cert-name {layout.app}"
        raise refused("certificate-name-taken", layout.app, what, fix)
    if not certificate.is_pair(certbot.lineage(layout)):
        forget(certbot, layout)  # or certbot would keep it until it expires, even with damaged files
    for directory in (certbot.webroot.parent, certbot.webroot):  # Nginx must get there, whatever the umask
        make_directory(directory)
    with tempfile.TemporaryDirectory(prefix="greenlight-acme-") as scratch:
        # In a file: the command line would be in the process list and in certbot's log.
        options = Path(scratch) / "options.ini"
        binding = {"eab-kid": account.eab_kid, "eab-hmac-key": account.eab_hmac_key}
        write(options, "".join(f"{name} = {value}\n" for name, value in binding.items() if value), 0o600)
        contact = ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
        other_server = _setting(certbot, layout, "server") not in ("", account.directory)
        command: list[str | Path] = ["certbot", "certonly", "--config", options, "--non-interactive", "--agree-tos"]
        command += ["--no-eff-email", *contact, "--server", account.directory, "--webroot"]
        command += ["--webroot-path", certbot.webroot, "--cert-name", layout.app, "--renew-with-new-domains"]
        command += ["--force-renewal" if other_server else "--keep-until-expiring"]
        for name in names:
            command += ["--domain", name]
        done = run(command, seconds=CERTBOT_SECONDS, environment=dict.fromkeys(_TRUST, str(certbot.trusted)))
    if done.code != 0:
        raise _refusal(done.output, names, account)


def keep_renewed(certbot: Certbot, layout: Layout) -> bool:
    """Make certbot's timer renew the certificate in time and Nginx load it; say whether anything changed."""
    changed = write(certbot.hook, HOOK, 0o755)
    found = certificate.inspect(certbot.lineage(layout))
    days = found.lifetime / certificate.DAY_SECONDS if found else 90
    if days < SHORT_DAYS:
        hours = max(1, round(days * 24 / (2 if days < HOURLY_DAYS else 3)))
        changed |= _set(certbot, layout, "renew_before_expiry", f"{hours} hours")
    elif _setting(certbot, layout, "renew_before_expiry").endswith(" hours"):
        changed |= _set(certbot, layout, "renew_before_expiry", "")  # ours, from an earlier server with short lifetimes
    if days < HOURLY_DAYS and write(certbot.timer, TIMER):
        require(["systemctl", "daemon-reload"], "systemctl daemon-reload")
        require(["systemctl", "restart", "certbot.timer"], "systemctl restart certbot.timer")
        changed = True
    if run(["systemctl", "is-enabled", "--quiet", "certbot.timer"]).code != 0:
        require(["systemctl", "enable", "--quiet", "--now", "certbot.timer"], "systemctl enable certbot.timer")
        changed = True
    return changed


def forget(certbot: Certbot, layout: Layout, *, dry: bool = False) -> bool:
    """Remove the app's lineage, so that certbot doesn't try to renew it; say whether Greenlight had made one."""
    if not is_ours(certbot, layout):
        return False
    if not dry:
        command = ["certbot", "delete", "--non-interactive", "--cert-name", layout.app]
        require(command, f"certbot delete --cert-name {layout.app}")
    return True


def is_ours(certbot: Certbot, layout: Layout) -> bool:
    """Say whether there is a lineage with the app's name that this role made."""
    return str(certbot.webroot) in (readable(certbot.settings(layout)) or "")


def _setting(certbot: Certbot, layout: Layout, name: str) -> str:
    match = re.search(rf"^{name} = (.*)$", readable(certbot.settings(layout)) or "", re.MULTILINE)
    return match.group(1).strip() if match else ""


def _set(certbot: Certbot, layout: Layout, name: str, value: str) -> bool:
    """Write a setting that certbot has no option for, before the first section; remove it if ``value`` is empty."""
    text = readable(certbot.settings(layout), "surrogateescape") or ""
    rest = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
    return write(certbot.settings(layout), f"{name} = {value}\n{rest}" if value else rest)


def _refusal(output: str, names: Sequence[str], account: Account) -> Refused:
    masked = output.replace(account.eab_hmac_key, "********") if account.eab_hmac_key else output
    lines = [line for line in masked.splitlines() if line.strip() and "letsencrypt.log" not in line]
    what = f"{account.directory} issued no certificate for {', '.join(names)}. Output of certbot:"
    fix = (
        "Make sure that each of flask_app_server_names points to this host and that the ACME server"
        " (flask_app_acme_directory) can reach its port 80."
    )
    return refused("no-certificate", names[0], "\n".join([what, *lines[-20:]]), fix)
