# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host finds by itself: each id with one sentence for the reference. Rules are what the controller finds."""

from __future__ import annotations

#: Before a deploy changes anything.
PREFLIGHT = {
    "failed-step": "The step that looks at the host broke; the message says how.",
    "lost-stamp": "The app was deployed to this host, and the stamp with its environment is gone.",
    "name-in-use": "flask_app_name is the name of an account, a unit or a directory that isn't this role's.",
    "no-inodes": "The file system of /srv has too few inodes free.",
    "no-python": "No Python interpreter runs at flask_app_python.",
    "no-space": "The file system of /srv has less room than flask_app_free_space_mb.",
    "no-systemd": "systemd doesn't run on this host.",
    "old-python": "The interpreter is older than flask_app_python_minimum, or than what the role supports.",
    "old-systemd": "systemd is older than that of Debian 12.",
    "port-in-use": "Another program listens on a port of the site.",
    "unfit-environment": "flask_app_environment is not a word that a host can be stamped with.",
    "unreachable-python": "The app's account can't reach the interpreter, or the sandbox hides it.",
    "unsupported-system": "The host has no apt-get: it is not a Debian.",
    "wrong-environment": "The host is stamped with another environment than the inventory's.",
}
#: The lock and the app's own state, in each playbook.
STATE = {
    "damaged-release": "A release on the host isn't whole, so nothing is done with it.",
    "damaged-state": "A file or directory of the app isn't what it must be, and only people can repair it.",
    "lock-lost": "This run has lost its lock: somebody broke it, or the host was restarted.",
    "locked": "Another run is at work on the app on this host.",
    "step-at-work": "A step of a run whose lock was broken still works.",
}
#: On the way of a release to its traffic.
RELEASE = {
    "candidate-failed": "A candidate was not proved: it died, didn't answer, or contradicts what it was made for.",
    "front-door-failed": "The live release doesn't keep its contract when it is asked through Nginx.",
    "irreversible-command": "A rollback would go back across a release command that can't be undone.",
    "no-live-release": "The app has no live release on this host.",
    "no-rollback": "There is no release that a rollback can go to, or the one that was asked for is none.",
    "no-signing-key": "The live release has no variable of the name in flask_app_secret_key_variable.",
    "process-failed": "A process of the release that takes work doesn't run.",
    "release-command-failed": "The release command ended with an error, or took too long.",
    "release-runs": "A release that is to be removed still runs.",
    "unproved-release": "A release was never proved, or was found bad, so it gets no traffic.",
}
#: When a site is published.
SITE = {
    "certificate-name-taken": "certbot has a certificate of the app's name that somebody else made.",
    "default-server-taken": "Another site of this host answers for unknown names.",
    "name-taken": "Another site of this host has one of flask_app_server_names.",
    "nginx-busy": "Another app's change of Nginx is at work.",
    "nginx-not-reloaded": "Nginx was asked to reload, and no new worker came.",
    "nginx-sandbox": "Nginx doesn't work within the sandbox of flask_app_nginx_harden.",
    "no-certificate": "The ACME server issued no certificate.",
    "refused-by-nginx": "Nginx refuses the configuration.",
    "shared-path": "Another app of the same site has the same flask_app_url_prefix.",
    "shared-site": "The app can't share the site of flask_app_nginx_site_of: it isn't there, or has other values.",
    "site-taken-back": "A changed site didn't lead to the live release any more.",
}
#: When an app is removed.
REMOVAL = {
    "foreign-process": "The app's account still runs something that isn't the app.",
    "group-in-use": "The app's group is another account's own group.",
    "guest-in-site": "Another app is served in the site of this one.",
    "mounted": "A file system is mounted in a directory of the app.",
    "no-certbot": "certbot is gone, and its certificate would stay.",
    "packaged": "A path of the app belongs to a Debian package.",
    "protected": "A file can't be removed, because of an attribute such as immutable.",
    "read-only": "A directory of the app is on a file system that is read-only.",
    "used-by-nginx": "Another site uses an upstream, a variable or a path of the app.",
}
#: Of the playbook verify: what on the host isn't as the inventory says.
DRIFT = {
    "certificate": "The certificate that is served, or its files, are others than the inventory's.",
    "drop-in": "A drop-in that the role didn't write changes a unit of the app.",
    "environment": "A file in the venv, or the environment of the process, was changed.",
    "file": "A file of a release was edited, or is missing.",
    "history": "The ledger can't be read, or a kept release isn't whole.",
    "host": "The stamp, the account or a directory of the app isn't as it must be.",
    "inventory": "The inventory would make another release of the same code.",
    "live": "No release is live, or the live one isn't linked, proved or running.",
    "lock": "The lock is held, or damaged.",
    "nginx": "The site that Nginx serves is another than the inventory's.",
    "process": "The running process isn't what its release says.",
    "source": "A file of the live release's source was changed.",
    "superfluous": "A release other than the live one runs, or would be started by a reboot.",
    "unfinished": "A run was killed, and left something unfinished.",
    "unit": "A unit isn't active or enabled, or systemd hasn't read its file.",
    "venv": "A file of the live release's venv was changed.",
}
#: All of them, by when they are found.
MOMENTS = {
    "Before a deploy": PREFLIGHT,
    "The lock and the state on a host": STATE,
    "A release on its way": RELEASE,
    "The site": SITE,
    "A removal": REMOVAL,
    "Drift": DRIFT,
}
HOST = {name: docs for found in MOMENTS.values() for name, docs in found.items()}
