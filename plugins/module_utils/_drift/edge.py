# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the app's site and certificate with the inventory."""

from __future__ import annotations

from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, read_facts, readable
from ansible_collections.greenlight.flask.plugins.module_utils._edge import certificate
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Site

from .look import Look, Report, settings
from .units import is_enabled, properties


def edge_of(look: Look, report: Report, site: Site) -> None:
    edge, add = look.edge, report.add
    if not edge.tree.installed:
        add("nginx", edge.tree.nginx, "Nginx is not installed.", look.deploy)
        return
    fault = edge.fault_of_owner(site)
    if fault:
        add("nginx", edge.tree.etc, fault.what, f"{fault.fix} {look.deploy}")
    files, more = edge.pending(site)
    for name, (before, after) in files.items():
        if settings(before) != settings(after) or bool(before) != bool(after):
            path = edge.tree.etc / name
            state = "is missing" if not before else "should not exist" if not after else "differs from the inventory"
            add("nginx", path, f"{path} {state}.", look.deploy)
    for item in more:
        kind = "certificate" if item.kind == "certificate" else "nginx"
        add(kind, item.what, f"The inventory needs another {item.kind}: {item.what}.", look.deploy)
    marker = edge.tree.state / f"{look.layout.app}.json"
    try:
        confirmed = "confirmed" in (read_facts(marker) or {})
    except Damaged:
        confirmed = False
    if not confirmed:
        add("unfinished", marker, "A change of Nginx's configuration was begun but never confirmed.", look.deploy)
    _nginx_unit(report)
    if site.tls.mode != "none" and not any(finding.id == "certificate" for finding in report.findings):
        _certificate(look, report, site)


def _nginx_unit(report: Report) -> None:
    facts = properties("nginx.service")
    if facts.get("ActiveState") != "active":
        what = f"nginx.service is {facts.get('ActiveState', 'inactive')}."
        report.add("unit", "nginx.service", what, "On the host: nginx -t && systemctl start nginx")
    if not is_enabled("nginx.service"):
        what = "nginx.service is not enabled, so a reboot would not start it."
        report.add("unit", "nginx.service", what, "On the host: systemctl enable nginx")


def _certificate(look: Look, report: Report, site: Site) -> None:
    link, add = look.layout.certificate, report.add
    on_disk = certificate.encoded(link)
    if not certificate.is_pair(link):
        again = f"On the host: certbot renew --force-renewal --cert-name {look.layout.app}"
        fix = again if site.tls.mode == "acme" else look.deploy
        add("certificate", link, f"The certificate and the key in {link} don't match, or can't be read.", fix)
    served = certificate.served(site.tls.port, site.server_names[0])
    if site.tls.mode == "provided" and readable(link / certificate.CHAIN) != site.tls.chain:
        add("certificate", link, f"{link / certificate.CHAIN} differs from the inventory's certificate.", look.deploy)
    elif not served:
        what = f"Nginx serves no certificate for {site.server_names[0]} on port {site.tls.port}."
        add("certificate", link, what, "On the host: nginx -t && systemctl reload nginx")
    elif served != on_disk:
        what = f"Nginx serves a different certificate than the one in {link}."
        add("certificate", link, what, "On the host: nginx -t && systemctl reload nginx")
    path = link / certificate.KEY
    if path.exists() and path.stat().st_mode & 0o077:
        add("certificate", path, f"{path} is readable by users other than root.", f"On the host: chmod 0600 {path}")
