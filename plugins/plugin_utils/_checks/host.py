# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of the steps on a host, each id with one sentence for the reference. The controller's are rules."""

from __future__ import annotations

#: Before a deploy changes anything.
PREFLIGHT = {
    "failed-step": "The step that examines the host failed; its message has the reason.",
    "lost-stamp": "The app was deployed to this host, but the stamp with its environment is gone.",
    "name-in-use": "flask_app_name is the name of an account, a unit or a directory that this role didn't make.",
    "no-inodes": "The file system of /srv has too few free inodes.",
    "no-python": "No Python interpreter runs at flask_app_python.",
    "no-space": "The file system of /srv has less free space than flask_app_free_space_mb.",
    "no-systemd": "systemd doesn't run on this host.",
    "old-python": "The interpreter is older than flask_app_python_minimum, or too old for the role.",
    "old-systemd": "systemd is older than Debian 12's.",
    "port-in-use": "A program other than Nginx listens on a port of the site.",
    "unfit-environment": "flask_app_environment can't be a host's stamp. A deploy reports malformed-environment first.",
    "unreachable-python": "The app's account can't reach the interpreter, or the sandbox hides it.",
    "unsupported-system": "The host has no apt-get, so it doesn't run Debian.",
    "wrong-environment": "The host's stamp names an environment other than the inventory's.",
}
#: The lock and the app's own state, in each playbook.
STATE = {
    "damaged-release": "A release on the host is incomplete, so the role doesn't use it.",
    "damaged-state": "A file or directory of the app is damaged, and the role can't repair it.",
    "lock-lost": "This run has lost its lock: somebody broke it, or the host restarted.",
    "locked": "Another run holds the lock on the app on this host.",
    "step-at-work": "A step still runs, although its run's lock was broken.",
}
#: From a release to its traffic.
RELEASE = {
    "candidate-failed": "A candidate was not proved: it died, didn't answer, or broke its contract.",
    "front-door-failed": "The live release breaks its contract when requested through Nginx.",
    "irreversible-command": "A rollback would cross a release command that can't be undone.",
    "no-live-release": "The app has no live release on this host.",
    "no-rollback": "No release can be rolled back to, or the requested one is not a kept good release.",
    "no-signing-key": "The live release doesn't have the variable named by flask_app_secret_key_variable.",
    "process-failed": "A process of the release that takes work is not running.",
    "release-command-failed": "The release command failed or took too long.",
    "release-runs": "A release to be removed is still running.",
    "unproved-release": "A release was never proved, or is marked bad, so it gets no traffic.",
}
#: When a site is published.
SITE = {
    "certificate-name-taken": "certbot has a certificate under the app's name that the role didn't make.",
    "default-server-taken": "Another site on this host answers for unknown names.",
    "name-taken": "Another site on this host has one of flask_app_server_names.",
    "nginx-busy": "Another app's change to Nginx is in progress.",
    "nginx-not-reloaded": "Nginx was asked to reload but started no new worker.",
    "nginx-sandbox": "Nginx doesn't work in the sandbox of flask_app_nginx_harden.",
    "no-certificate": "The ACME server issued no certificate.",
    "refused-by-nginx": "Nginx rejects the configuration.",
    "shared-path": "Another app in the same site has the same flask_app_url_prefix.",
    "shared-site": "The app can't share the site of flask_app_nginx_site_of: it doesn't exist, or its values differ.",
    "site-taken-back": "A changed site no longer reached the live release, so the change was reverted.",
}
#: When an app is removed.
REMOVAL = {
    "foreign-process": "The app's account still runs something that isn't the app.",
    "group-in-use": "The app's group is another account's primary group.",
    "guest-in-site": "Another app is served in this app's site.",
    "mounted": "A file system is mounted in a directory of the app.",
    "no-certbot": "certbot is not installed, so its certificate would stay.",
    "packaged": "A path of the app belongs to a Debian package.",
    "protected": "A file can't be removed, because of an attribute such as immutable.",
    "read-only": "A directory of the app is on a file system that is read-only.",
    "used-by-nginx": "Another site uses an upstream, a variable or a path of the app.",
}
#: Found by playbooks/verify.yml: differences between the host and the inventory.
DRIFT = {
    "certificate": "The served certificate or its files differ from the inventory.",
    "drop-in": "A drop-in that the role didn't write changes a unit of the app.",
    "environment": "A file in the venv, or the environment of the process, was changed.",
    "file": "A file of a release was edited or is missing.",
    "history": "The ledger is unreadable, or a kept release is incomplete.",
    "host": "The stamp, the account or a directory of the app is missing or damaged.",
    "inventory": "The inventory would make a different release from the same code.",
    "live": "No release is live, or the live one isn't linked, proved or running.",
    "lock": "The lock on the app is held by a run, or damaged.",
    "nginx": "The site that Nginx serves differs from the inventory's.",
    "process": "The running process differs from its release.",
    "source": "A file of the live release's source was changed.",
    "superfluous": "A release other than the live one is running, or would start at boot.",
    "unfinished": "A killed run left something unfinished.",
    "unit": "A unit isn't active or enabled, or systemd hasn't read its file.",
    "venv": "A file of the live release's venv was changed.",
}
#: All of these, by when they are found.
MOMENTS = {
    "Before a deploy": PREFLIGHT,
    "The lock and the state on a host": STATE,
    "A release on its way": RELEASE,
    "The site": SITE,
    "A removal": REMOVAL,
    "Drift": DRIFT,
}
HOST = {name: docs for found in MOMENTS.values() for name, docs in found.items()}
