# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with Nginx, systemd and certbot, each simulated by a small script; files in ``state`` are its switches."""

from __future__ import annotations

import hashlib
import shutil
import ssl
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate as _certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge import nginx as _nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.acme import Certbot
from ansible_collections.greenlight.flask.plugins.module_utils._edge.certificate import CHAIN, KEY, Certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge
from cryptography import x509

from tests.support import certificates
from tests.unit.fakes import contents

NGINX = """\
#!/bin/sh
# Plays "nginx -t": refuses a tree in which a file holds "bad", or names a certificate that is not there.
conf={etc}/nginx.conf
[ "$2" = -c ] && conf=$3
tree=${{conf%/nginx.conf}}
echo "nginx test $tree" >>{log}
refuse() {{ echo "nginx: [emerg] $1" >&2; exit 1; }}
[ -e {state}/live-bad ] && [ "$tree" = {etc} ] && refuse "live tree refused"
for found in $(grep -rowE 'bad|/[^ ]+[.]pem' "$tree"); do
    case ${{found#*:}} in
        bad) refuse "unknown directive in ${{found%%:*}}:1" ;;
        *) [ -s "${{found#*:}}" ] || refuse "cannot load ${{found#*:}}" ;;
    esac
done
"""
SYSTEMCTL = """\
#!/bin/sh
# Plays systemd. Nginx reads its sites and certificate when it starts and when it is reloaded, and at no other time.
echo "systemctl $*" >>{log}
load() {{
    echo >>{state}/workers
    : >{state}/served.pem
    for site in {etc}/sites-enabled/*; do
        while read -r line; do
            case $line in *fullchain.pem*) cat {live}/fullchain.pem >{state}/served.pem ;; esac
        done <"$site"
    done
    return 0
}}
case "$*" in
    is-active*) [ -e {state}/active ] ;;
    is-enabled*) [ ! -e {state}/disabled-"${{3%.timer}}" ] ;;
    enable*) for unit; do rm -f {state}/disabled-"${{unit%.timer}}"; done ;;
    "reload nginx") [ ! -e {state}/reload-fails ] || exit 1; load ;;
    "start nginx"|"restart nginx")
        if [ -e {state}/restart-fails ]; then rm {state}/restart-fails {state}/active; exit 1; fi
        touch {state}/active; date +%s >{state}/started; load ;;
    "show nginx.service"*)
        echo "NeedDaemonReload=$([ -e {state}/needs-reload ] && echo yes || echo no)"
        echo "ActiveEnterTimestamp=@$(cat {state}/started 2>/dev/null || echo 1)" ;;
    daemon-reload) rm -f {state}/needs-reload ;;
esac
"""
SYSTEMD_RUN = """\
#!/bin/sh
# Plays a sandbox: runs the program, unless it was said that it can't run in there.
echo "systemd-run $*" >>{log}
[ ! -e {state}/sandbox-refuses ] || {{ cat {state}/sandbox-refuses >&2; exit 1; }}
while [ "${{1#/}}" = "$1" ]; do shift; done
exec "$@"
"""

CERTBOT = """\
#!/bin/sh
# Plays certbot: issues the certificate that lies in "next". Of a lineage that was there it tells the hooks.
printf '%s\\n' "$@" >{state}/words
echo "certbot $1" >>{log}
for word; do
    case $option in --cert-name) name=$word ;; --server) server=$word ;; esac
    option=$word
done
lineage={letsencrypt}/live/$name
settings={letsencrypt}/renewal/$name.conf
if [ "$1" = delete ]; then
    rm -r "$lineage" "$settings"
    exit
fi
stat -c %a "$3" >{state}/options-mode
cp "$3" {state}/options
printf '%s\\n' "$REQUESTS_CA_BUNDLE" "$SSL_CERT_FILE" >{state}/trust
readlink {live} >{state}/meanwhile
cp {etc}/sites-enabled/shop.conf {state}/meanwhile-site 2>/dev/null
if [ -e {state}/refuses ]; then
    echo "Saving debug log to /var/log/letsencrypt/letsencrypt.log"
    cat {state}/refuses >&2
    exit 1
fi
old=$([ -d "$lineage" ] && echo yes)
mkdir -p "$lineage" "${{settings%/*}}"
cp {state}/next/*.pem "$lineage"
kept=$(grep -s '^renew_before_expiry' "$settings")
format='%s# renew_before_expiry = 30 days\\n[renewalparams]\\nserver = %s\\nwebroot_path = {webroot},\\n'
printf "$format" "${{kept:+$kept
}}" "$server" >"$settings"
[ -n "$old" ] || exit 0
for hook in {letsencrypt}/renewal-hooks/deploy/*; do
    [ ! -x "$hook" ] || RENEWED_LINEAGE=$lineage "$hook" || echo "hook failed" >&2
done
"""
DPKG_QUERY = """\
#!/bin/sh
cat {state}/conffiles 2>/dev/null
"""
LOGGER = """\
#!/bin/sh
echo "logger $*" >>{log}
"""


class EdgeMachine:
    """The state, the settings and the logs of one host's scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout("shop", root)
        self.tree = Tree(root / "etc/nginx", root / "var/lib/greenlight/nginx", str(root / "bin/nginx"))
        self.certbot = Certbot(root)
        self.edge = Edge(self.layout, self.tree, self.certbot)
        self.state, self.log = root / "state", root / "log"
        for directory in (self.tree.etc / "sites-enabled", self.state, root / "bin", root / "var/log/nginx"):
            directory.mkdir(parents=True)
        places = {
            "etc": self.tree.etc,
            "log": self.log,
            "state": self.state,
            "live": self.layout.certificate,
            "letsencrypt": self.certbot.etc,
            "webroot": self.certbot.webroot,
        }
        programs = {
            "nginx": NGINX,
            "systemctl": SYSTEMCTL,
            "systemd-run": SYSTEMD_RUN,
            "certbot": CERTBOT,
            "logger": LOGGER,
        }
        for name, text in {**programs, "dpkg-query": DPKG_QUERY}.items():
            (root / "bin" / name).write_text(text.format(**places))
            (root / "bin" / name).chmod(0o755)
        (self.tree.etc / "nginx.conf").write_text(f"include {self.tree.etc}/sites-enabled/*;\n")
        self.turn("active")

    def turn(self, *switches: str) -> None:
        for switch in switches:
            (self.state / switch).touch()

    def back(self, *switches: str) -> None:
        for switch in switches:
            (self.state / switch).unlink()

    def nginx_is(self, state: str) -> bool:
        return (self.state / "active").exists() if state == "active" else not (self.state / "disabled-nginx").exists()

    def noted(self, name: str) -> str:
        """Return what a program wrote down."""
        path = self.state / name
        return path.read_text() if path.exists() else ""

    def calls(self, start: str = "") -> list[str]:
        """Return the calls of the programs, in order."""
        return [line for line in self.noted("../log").splitlines() if line.startswith(start)]

    def next_certificate(self, *names: str, days: float = 90, since_days: float = 0) -> bytes:
        """Prepare the ACME server's next certificate, valid for ``days`` from ``since_days`` ago; return it as DER."""
        (self.state / "next").mkdir(exist_ok=True)
        put(self.state / "next", *names, begins_days=-since_days, ends_days=days - since_days, issuer="an authority")
        return _certificate.encoded(self.state / "next")

    def served(self) -> bytes:
        """Return the certificate that Nginx has read, as DER."""
        text = self.noted("served.pem")
        return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END") + 25]) if text else b""

    def stock(self, path: Path) -> None:
        """Mark a file as unchanged since Debian's package installed it."""
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        (self.state / "conffiles").write_text(f"\n {path.resolve()} {digest}\n")

    def files(self) -> dict[str, str]:
        """Return all files except those of the scripts."""
        return contents(self.root, ("state", "log", "bin", "var/lib/greenlight/nginx/lock"))


def put(
    directory: Path, *names: str, begins_days: float = -1, ends_days: float = 90, issuer: str = ""
) -> tuple[str, str]:
    """Write a certificate for ``names`` and its key into ``directory``; return both as PEM."""
    private = certificates.key()
    chain = certificates.certificate(private, *names, begins_days=begins_days, ends_days=ends_days, issuer=issuer)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CHAIN).write_text(chain)
    (directory / KEY).write_text(certificates.key_pem(private))
    (directory / KEY).chmod(0o600)
    return chain, (directory / KEY).read_text()


def read_certificate(directory: Path) -> Certificate | None:
    """Do the work of ``inspect`` in a twentieth of openssl-x509's time; other tests cover the real one."""
    try:
        made = x509.load_pem_x509_certificate((directory / CHAIN).read_bytes())
    except (OSError, ValueError):
        return None
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    begins, ends = made.not_valid_before_utc.timestamp(), made.not_valid_after_utc.timestamp()
    found = Certificate(frozenset(names.get_values_for_type(x509.DNSName)), begins, ends)
    return found if (directory / KEY).exists() else None


def played(root: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeMachine:
    """Make the host below ``root``, found through PATH."""
    machine = EdgeMachine(root)
    monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
    monkeypatch.setattr(_nginx, "RELOAD_SECONDS", 0.2)
    # Simple queries need no program; other tests check that systemd answers them.
    monkeypatch.setattr(_nginx, "_is", machine.nginx_is)
    monkeypatch.setattr(_nginx, "_workers", lambda _main: {machine.noted("workers").count("\n")})
    monkeypatch.setattr(_certificate, "inspect", read_certificate)
    monkeypatch.setattr(_certificate, "served", lambda port, name: machine.served())
    monkeypatch.setattr(shutil, "chown", lambda path, user, group: machine.turn(f"{path.name}-{user}-{group}"))
    return machine
