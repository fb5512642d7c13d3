# SPDX-License-Identifier: GPL-3.0-or-later
"""How users reach the app: its Nginx site and certificate, changed together without losing a request.

A certificate from an ACME server needs a site that serves its challenge, and the site needs a certificate to start. So
the site starts with the current or a self-signed certificate, and changes when the right one is issued.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    HeldElsewhere,
    exclusively,
    link,
    make_directory,
    readable,
    remove_unfinished,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.options import options_of

from . import acme, certificate, nginx, shared_site
from .host_lines import Abilities
from .nginx_unit import confine

NGINX_CONF = "nginx.conf"
#: Files of the default servers by port: for TCP, and for HTTP/3.
_SHARED = re.compile(r"00-default-([0-9]+)(-quic)?\.conf\Z")
OWNER = "# Owner: role greenlight.flask.flask_app"
#: Settings for all sites. Nginx rejects a setting that occurs in two files.
HASHES = "conf.d/greenlight.conf"
#: For each app, what others have in its site: ``http`` next to its servers, ``server`` in them, and their ``settings``.
SHARED = "sites-shared"

#: See :class:`Tls`.
Mode: TypeAlias = Literal["none", "self_signed", "provided", "acme"]


@dataclass(frozen=True)
class Tls:
    """Where the certificate comes from.

    Args:
        mode: no TLS, a self-signed certificate, the user's own, or one from an ACME server.
        port: TCP port on which it is served.
        chain: for ``provided``: PEM, the site's certificate first.
        key: for ``provided``: PEM.
        account: for ``acme``.
    """

    mode: Mode
    port: int = 443
    chain: str = ""
    key: str = ""
    account: acme.Account = field(default_factory=lambda: acme.Account(""))


@dataclass(frozen=True)
class Site:
    """What Nginx serves, and with which certificate.

    Args:
        files: path below ``/etc/nginx`` to content; a null content removes the file.
        interim_files: replace some of them until the certificate is issued.
        inside: the app of this host whose site serves this one, with that app's names and certificate. Empty means
            that it has its own site.
        facts: variables that apply to a whole site, by name. An app inside must have the same as the owner.
        server_names: names that no other site may have, and that the certificate must have.
        logs: names of log files below ``/var/log/nginx``, made so that others can't read them.
        main: content of ``nginx.conf``, which replaces Debian's own unless somebody has changed that. Empty means none.
        drop_in: content of a drop-in of Nginx's unit. Empty means none.
        replace_stock_default_site: whether to remove Debian's default site if it is enabled and unchanged.
        tls: where the certificate comes from.
    """

    files: nginx.Change
    interim_files: nginx.Change = field(default_factory=dict)
    inside: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    server_names: Sequence[str] = ()
    logs: Sequence[str] = ()
    main: str = ""
    drop_in: str = ""
    replace_stock_default_site: bool = False
    tls: Tls = field(default_factory=lambda: Tls("none"))

    @classmethod
    def of(cls, options: Mapping[str, Any], root: Path, secrets: Mapping[str, str] | None = None) -> Site:
        """Make a site from a module's options (:data:`SITE`) and the secret parts, for the host at ``root``."""
        private = {"certificate": "", "key": "", "eab_kid": "", "eab_hmac_key": "", **(secrets or {})}
        given = options["tls"]
        account = acme.Account(given["directory"], given["email"], private["eab_kid"], private["eab_hmac_key"])
        mode: Mode = "none" if options.get("inside") else given["mode"]
        tls = Tls(mode, given["port"], private["certificate"], private["key"], account)
        kept = Abilities.of(root).kept
        files = {
            part: {name: text and kept(text) for name, text in options.get(part, {}).items()}
            for part in ("files", "interim_files")
        }
        return cls(**{**options, **files, "tls": tls})

    @property
    def own_names(self) -> Sequence[str]:
        """The names that no other site may have."""
        return [] if self.inside else self.server_names


#: The options of a step that takes a site; its secret parts are passed separately.
SITE = {
    **options_of(Site, "tls"),
    "tls": {
        "type": "dict",
        "options": {
            **options_of(Tls, "chain", "key", "account"),
            **options_of(acme.Account, "eab_kid", "eab_hmac_key"),
        },
        "required": True,
    },
}


@dataclass(frozen=True)
class Pending:
    """What a deploy would change in addition to Nginx's files.

    Args:
        kind: ``certificate``, ``drop-in`` of Nginx's unit, or certbot's ``lineage``.
        what: its path or name.
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def unused_defaults(tree: nginx.Tree, app: str, files: nginx.Change) -> list[str]:
    """Return the shared default servers on whose port no site listens any more once ``app`` has ``files``."""
    directory = tree.etc / "sites-enabled"
    known = [path for path in directory.glob("[!.]*") if path.is_file()]  # Debian's have no .conf suffix
    others = [path for path in known if path.name != f"{app}.conf" and not _SHARED.match(path.name)]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in others]
    texts += [text for text in files.values() if text]
    found = []
    for path in sorted(directory.glob("00-default-*.conf")):
        match = _SHARED.match(path.name)
        name = str(path.relative_to(tree.etc))
        if match and name not in files and OWNER in (readable(path) or ""):
            port, quic = match.group(1), bool(match.group(2))
            directive = re.compile(rf"(?:^|[{{;])\s*listen\s+(?:[^\s;]*:)?{port}(?=[\s;])[^;]*(?=;)", re.MULTILINE)
            listens = [line for text in texts for line in directive.findall(text)]
            if not any(("quic" in line) == quic for line in listens):
                found.append(name)
    return found


def without_duplicate_settings(tree: nginx.Tree, name: str, text: str) -> str | None:
    """Return ``text`` of the file ``name`` without settings that another file has; None if no setting is left.

    Nginx rejects a setting that it reads twice.
    """
    others = "\n".join(other for path, other in nginx.included(tree).items() if path != tree.etc / name)
    kept = []
    for line in text.splitlines(keepends=True):
        setting = re.match(r"(\w+)\s", line)
        if not (setting and re.search(rf"(?:^|[{{}};])\s*{setting[1]}\s", others, re.MULTILINE)):
            kept.append(line)
    return "".join(kept) if any(re.match(r"\w", line) for line in kept) else None


def files_of(tree: nginx.Tree, app: str) -> list[str]:
    """Return the existing files of an app's site: its own site, or its parts in the site of another."""
    places = [tree.etc / "sites-enabled", *sorted((tree.etc / SHARED).glob("*/*"))]
    paths = [place / f"{app}.conf" for place in places]
    return [str(path.relative_to(tree.etc)) for path in paths if path.exists() or path.is_symlink()]


def apps_inside(tree: nginx.Tree, app: str) -> list[str]:
    """Return the other apps that are served in the site of ``app``."""
    return sorted(path.stem for path in (tree.etc / SHARED / app).glob("server/[!.]*.conf"))


def remove_empty(tree: nginx.Tree) -> None:
    """Remove the empty directories of :data:`SHARED`, unless another app is changing Nginx."""
    top = tree.etc / SHARED
    if not top.is_dir():
        return
    with contextlib.suppress(HeldElsewhere), exclusively(tree.state / "lock", 1):
        for directory in [*top.glob("*/*"), *top.glob("*"), top]:
            remove_unfinished(directory)
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


@dataclass(frozen=True)
class Edge:
    """The edge of one app on this host: its site and its certificate."""

    layout: Layout
    tree: nginx.Tree = field(default_factory=nginx.Tree)
    certbot: acme.Certbot = field(default_factory=acme.Certbot)

    @property
    def drop_in(self) -> Path:
        return self.layout.units / "nginx.service.d/greenlight.conf"

    def change(self, site: Site) -> nginx.Change:
        """Return the files of ``site``, including Debian's files that they replace."""
        change = dict(site.files)
        moved = [
            name for name in files_of(self.tree, self.layout.app) if OWNER in (readable(self.tree.etc / name) or "")
        ]
        change = {**dict.fromkeys(moved), **change}
        if site.replace_stock_default_site and nginx.stock_default_site(self.tree):
            change = {"sites-enabled/default": None, **change}
        if change.get(HASHES):
            change[HASHES] = without_duplicate_settings(self.tree, HASHES, str(change[HASHES]))
        if site.main and (
            OWNER in (readable(self.tree.etc / NGINX_CONF) or "") or nginx.stock(self.tree.etc / NGINX_CONF)
        ):
            change[NGINX_CONF] = site.main
        return {**dict.fromkeys(unused_defaults(self.tree, self.layout.app, site.files)), **change}

    def fault_of_owner(self, site: Site) -> Finding | None:
        """Return why this app can't share its site with the others in it, or None."""
        return (self._fault_of_owner(site) if site.inside else None) or self._fault_of_path(site)

    def _fault_of_owner(self, site: Site) -> Finding | None:
        owner, this = site.inside, f"flask_app_nginx_site_of is {site.inside}"

        def fault(what: str, fix: str) -> Finding:
            return Finding("shared-site", ERROR, "flask_app_nginx_site_of", f"{this}, {what}.", fix)

        mine = apps_inside(self.tree, self.layout.app)
        if mine:
            what = f"but this app's own site serves other apps: {', '.join(mine)}"
            return fault(what, "Leave it empty, or first deploy these with another flask_app_nginx_site_of.")
        path = self.tree.etc / "sites-enabled" / f"{owner}.conf"
        text = readable(path) or ""
        first = f"Deploy {owner} first, without this app (--limit with the hosts of {owner})."
        if f"/{SHARED}/{owner}/" not in text:
            return fault(f"which has no site on this host ({path})", first)
        theirs = shared_site.facts_in(text)
        if shared_site.COMPARED - theirs.keys():
            return fault(f"whose site lacks the settings that all apps in it share ({path})", first)
        found = list(shared_site.differences(owner, site.facts, theirs))
        if found:
            sentences, fixes = zip(*found, strict=True)
            what = f"whose site on this host has different values: {'; '.join(sentences)}"
            same = f"Set the values of {owner} ({'; '.join(fixes)})."
            return fault(what, f"{same} To give {owner} the values of this app instead: {first}")
        return None

    def _fault_of_path(self, site: Site) -> Finding | None:
        """Return which other app of the site has the same path; Nginx would only name the file that it reads later."""
        owner, prefix = site.inside or self.layout.app, site.facts.get(shared_site.PREFIX)
        files = {
            app: self.tree.etc / SHARED / owner / "server" / f"{app}.conf" for app in apps_inside(self.tree, owner)
        }
        files[owner] = self.tree.etc / "sites-enabled" / f"{owner}.conf"
        for app, path in files.items():
            taken = shared_site.facts_in(readable(path) or "").get(shared_site.PREFIX)
            if prefix and app != self.layout.app and taken == prefix:
                what = f"{shared_site.PREFIX} is {prefix}, which {app} in the same site already uses."
                return Finding("shared-path", ERROR, shared_site.PREFIX, what, "Choose another path for one of them.")
        return None

    def check(self, site: Site) -> None:
        """Test what :meth:`publish` would do, with a temporary certificate.

        Raises:
            GreenlightError: Nginx rejects it; or the app can't share its site with the others in it.
        """
        fault = self.fault_of_owner(site)
        if fault:
            raise Refused(fault, closing=["Nothing was changed."])
        with tempfile.TemporaryDirectory(prefix="greenlight-certificate-") as scratch:
            pointer = None
            if site.tls.mode != "none":
                if not shutil.which("openssl"):
                    return
                certificate.make_self_signed(Path(scratch), site.server_names)
                pointer = nginx.Pointer(self.layout.certificate, Path(scratch))
            nginx.check(self.tree, self.change(site), site.own_names, pointer)

    def pending(self, site: Site) -> tuple[dict[str, tuple[str, str]], list[Pending]]:
        """Return the files that would change (before and after), and what else would change."""
        more = []
        waiting = site.tls.mode == "acme" and not self._issued(site)
        target = None if waiting and self._keeps(site) else self._certificate(site, dry=True)
        if target and not nginx.Pointer(self.layout.certificate, target).moved:
            more.append(Pending("certificate", str(target)))
        if waiting:
            more.append(Pending("certificate", f"from {site.tls.account.directory}"))
        if site.drop_in and readable(self.drop_in) != site.drop_in:
            more.append(Pending("drop-in", str(self.drop_in)))
        if site.tls.mode != "acme" and acme.forget(self.certbot, self.layout, dry=True):
            more.append(Pending("lineage", f"{self.layout.app}, which is removed from certbot"))
        return nginx.pending(self.tree, self.change(site)), more

    def publish(self, site: Site, watch: nginx.Watch | None = None) -> bool:
        """Publish the site and its certificate; say whether anything was done.

        Raises:
            GreenlightError: Nginx, the ACME server or ``watch`` rejects it. The previous site is still served, or the
                text says what is.
        """
        fault = self.fault_of_owner(site)
        if fault:
            raise Refused(fault, closing=["Nothing was changed."])
        changed = bool(site.drop_in) and confine(self.drop_in, site.drop_in, self.tree)
        for name in site.logs:
            self._make_log(name)
        if site.tls.mode == "acme" and not self._issued(site):
            if self._keeps(site):
                self._obtain(site)
                self._serve(site, self._certificate(site), watch)
            else:
                self._obtain_by_interim(site, watch)
            changed = True
        else:
            changed |= self._serve(site, self._certificate(site), watch)
        if site.tls.mode == "acme":
            changed |= acme.keep_renewed(self.certbot, self.layout)
        else:
            changed |= acme.forget(self.certbot, self.layout)
        certificate.tidy(self.layout, self._pointed() if site.tls.mode != "none" else None)
        return changed

    def _keeps(self, site: Site) -> bool:
        """Say whether Nginx can stay unchanged while a certificate is issued: it serves the challenge and visitors.

        It may still have a certificate in memory whose files are damaged.
        """
        return nginx.confirmed(self.tree, self.layout.app, self.change(site)) and certificate.holds(
            certificate.served(site.tls.port, site.server_names[0])
        )

    def _obtain(self, site: Site) -> None:
        """Have a certificate issued while Nginx stays unchanged."""
        try:
            acme.obtain(self.certbot, self.layout, site.server_names, site.tls.account)
        except GreenlightError as refused:
            raise refused.closed_by(self._still_served()) from refused

    def _still_served(self) -> str:
        said = "For now, the previous site is still served"
        pointed = self._pointed()
        if not pointed or certificate.is_pair(pointed):
            return f"{said}."
        return (
            f"{said}, but only until Nginx is reloaded or restarted: it has the certificate in memory, and the files"
            f" are damaged or missing ({pointed}). Fix: correct what certbot reports, and deploy again before Nginx or"
            " this host restarts. If that takes long, deploy with flask_app_tls: self_signed or provided until then."
        )

    def _obtain_by_interim(self, site: Site, watch: nginx.Watch | None) -> None:
        """Have a certificate issued and serve it; until then, use an interim site that serves the challenge.

        The interim site doesn't redirect visitors to a certificate that browsers don't trust.
        """
        before = {name: readable(self.tree.etc / name, "surrogateescape") for name in self.change(site)}
        paths = [self.tree.etc / name for name in before]
        targets = {path: str(path.readlink()) for path in paths if path.is_symlink()}
        pointed, page = self._pointed(), nginx.noted_page(self.tree, self.layout.app)
        interim = replace(site, files={**site.files, **site.interim_files})
        self._serve(interim, self._certificate(site), watch)
        try:
            acme.obtain(self.certbot, self.layout, site.server_names, site.tls.account)
            self._serve(site, self._certificate(site), watch)
        except GreenlightError as refused:
            # If the previous certificate can't be read any more, the interim site is the best option.
            back = not pointed or certificate.is_pair(pointed)
            if back:
                try:
                    self._go_back(before, targets, pointed, page)
                except GreenlightError:  # it would hide the cause; the next run checks again
                    back = False
            said = self._still_served() if back else self._interim_served()
            raise refused.closed_by(said) from refused

    def _interim_served(self) -> str:
        return (
            "The previous site can't be restored. Until a deploy succeeds, the site is served with the certificate in"
            f" {self._pointed()}, which browsers may reject, and without a redirect to HTTPS."
        )

    def _pointed(self) -> Path | None:
        return self.layout.certificate.readlink() if self.layout.certificate.is_symlink() else None

    def _go_back(
        self, before: nginx.Change, targets: Mapping[Path, str], pointed: Path | None, page: Mapping[str, str]
    ) -> None:
        """Restore the previous site: the new one may have names for which there is no certificate yet."""
        pointer = nginx.Pointer(self.layout.certificate, pointed) if pointed else None
        nginx.apply(self.tree, self.layout.app, before, [], pointer, watch=nginx.Watch(page))
        for path, target in targets.items():
            link(path, target)  # restore links: we replace Debian's default site only if it is one

    def _serve(self, site: Site, target: Path | None, watch: nginx.Watch | None) -> bool:
        if target:
            make_directory(self.layout.tls)  # a certbot lineage may exist before it
        pointer = nginx.Pointer(self.layout.certificate, target) if target else None
        # If the reload after a renewal failed, Nginx still has the old certificate.
        stale = bool(target) and certificate.served(site.tls.port, site.server_names[0]) not in (
            b"",
            certificate.encoded(self.layout.certificate),
        )
        try:
            return nginx.apply(
                self.tree, self.layout.app, self.change(site), site.own_names, pointer, stale=stale, watch=watch
            )
        finally:
            remove_empty(self.tree)

    def _issued(self, site: Site) -> bool:
        return acme.issued(self.certbot, self.layout, site.server_names, site.tls.account)

    def _certificate(self, site: Site, *, dry: bool = False) -> Path | None:
        """Return the directory of the certificate to serve now; make it if it is missing."""
        tls = site.tls
        if tls.mode == "none":
            return None
        if tls.mode == "provided":
            return certificate.provided(self.layout, tls.chain, tls.key, dry=dry)
        if tls.mode == "acme":
            lineage = self.certbot.lineage(self.layout) if acme.is_ours(self.certbot, self.layout) else None
            for directory in (lineage, self._pointed()):
                found = certificate.inspect(directory) if directory else None
                if directory and found and found.days_left() > 0 and certificate.is_pair(directory):
                    return directory
        return certificate.self_signed(self.layout, site.server_names, dry=dry)

    def _make_log(self, name: str) -> None:
        path = self.layout.root / "var/log/nginx" / name
        if path.parent.is_dir() and not path.exists():
            write(path, "", 0o640)
            shutil.chown(path, "www-data", "adm")
