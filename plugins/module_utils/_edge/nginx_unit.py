# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox of Nginx's unit, a drop-in (systemd.unit(5)).

Nginx may serve other sites, too. So test the drop-in before writing it, and let a running Nginx use it from its next
start. Restart Nginx for it only if it serves no site yet.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.command import require, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import readable, remove, write
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused

from .nginx import Tree, stock_default_site

#: Prefixes of settings that aren't part of the sandbox.
_NO_SANDBOX = ("Exec", "Restart", "Timeout")


def confine(path: Path, drop_in: str, tree: Tree) -> bool:
    """Write the drop-in to ``path``; say whether anything was done.

    Raises:
        GreenlightError: the configuration of this host doesn't work in the sandbox. Nothing was changed.
    """
    before = readable(path, "surrogateescape")
    if before != drop_in:
        _try(drop_in, tree)
        write(path, drop_in)
    facts = _facts()
    if before != drop_in or facts.get("NeedDaemonReload") == "yes":
        require(["systemctl", "daemon-reload"], "systemctl daemon-reload")
    started = facts.get("ActiveEnterTimestamp", "").removeprefix("@")
    if started.isdigit() and int(started) < int(path.stat().st_mtime) and _serves_no_site(tree):
        done = run(["systemctl", "restart", "nginx"])
        if done.code != 0:
            if before is None:
                remove(path)
            else:
                write(path, before)
            run(["systemctl", "daemon-reload"])
            run(["systemctl", "restart", "nginx"])
            raise _refusal(done.output)
        return True
    return before != drop_in


def _try(drop_in: str, tree: Tree) -> None:
    lines = [line for line in drop_in.partition("[Service]")[2].splitlines() if line and not line.startswith("#")]
    settings = [word for line in lines if not line.startswith(_NO_SANDBOX) for word in ("--property", line)]
    done = run(["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *settings, tree.nginx, "-t"])
    if done.code != 0:
        raise _refusal(done.output)


def _refusal(said: str) -> Refused:
    what = f"Nginx does not work in the sandbox of flask_app_nginx_harden, so its unit was left unchanged:\n{said}"
    fix = "Correct the configuration, or set flask_app_nginx_harden: false."
    return refused("nginx-sandbox", "flask_app_nginx_harden", what, fix)


def _facts() -> dict[str, str]:
    names = "NeedDaemonReload,ActiveEnterTimestamp"
    done = run(["systemctl", "show", "nginx.service", "--timestamp=unix", f"--property={names}"])
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def _serves_no_site(tree: Tree) -> bool:
    """Say whether no site is enabled, except Debian's own default one."""
    enabled = {path.name for name in ("sites-enabled", "conf.d") for path in (tree.etc / name).glob("[!.]*")}
    return not enabled - ({"default"} if stock_default_site(tree) else set())
