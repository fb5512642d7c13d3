# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in plain text, vaults of other environments, and what two environments have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, WARNING
from ansible_collections.greenlight.flask.plugins.plugin_utils._inventory import reader
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import fingerprints

from ..case import Case
from ..rule import EITHER, Example, Found, Rule, finds

_KEY = "Zk3v.Q9rT.x7Lw.B2mY.c8Nd.E5pH.s1Gf.Ja6U"
_HERE, _THERE = "production/group_vars/flask_app", "staging/group_vars/flask_app"
_STAGING = {
    "staging/hosts.yml": "flask_app: {hosts: {staging1: }}\n",
    f"{_THERE}/main.yml": "flask_app_name: shop\nflask_app_environment: staging\n",
}
_VAULT = "$ANSIBLE_VAULT;1.2;AES256;{}\n6162\n"


_OURS = {"flask_app_secrets": {"SECRET_KEY": _KEY, "DATABASE_URL": "sqlite:////var/lib/shop/shop.db"}}


def _secrets(**values: str) -> str:
    return f"flask_app_name: shop\nflask_app_environment: staging\nflask_app_secrets: {values}\n"


PLAIN_TEXT_VAULT = Rule(
    "plain-text-vault",
    "A vault.yml or a vault_… variable is not encrypted, in hosts.yml too. In another inventory it is a warning.",
    severity=EITHER,
    acceptable=True,
    bad=Example(inventory={f"{_HERE}/vault.yml": f"vault_secret_key: {_KEY}\n"}),
    good=Example(inventory={f"{_HERE}/main.yml": "flask_app_keep_releases: 3\n"}),
)
PLAIN_TEXT_SECRET = Rule(
    "plain-text-secret",
    "A secret is in plain text in a file of ordinary variables.",
    severity=WARNING,
    fix='Put the value into the vault.yml next to it, and "{{ vault_… }}" here.',
    acceptable=True,
    bad=Example(inventory={f"{_HERE}/main.yml": f"flask_app_secrets: {{SECRET_KEY: {_KEY}}}\n"}),
    good=Example(inventory={f"{_HERE}/main.yml": 'flask_app_secrets: {SECRET_KEY: "{{ vault_secret_key }}"}\n'}),
)
FOREIGN_VAULT = Rule(
    "foreign-vault",
    "A vault or an encrypted value has another environment's id: anyone with that environment's password can read it.",
    acceptable=True,
    bad=Example(inventory={**_STAGING, f"{_HERE}/vault.yml": _VAULT.format("staging")}),
    good=Example(inventory={**_STAGING, f"{_HERE}/vault.yml": _VAULT.format("production")}),
)
SHARED_SECRET = Rule(
    "shared-secret",
    "A secret has the same value in another environment: anyone who has one has both.",
    fix="Give each environment its own value.",
    acceptable=True,
    bad=Example(_OURS, inventory={**_STAGING, f"{_THERE}/main.yml": _secrets(SECRET_KEY=_KEY)}),
    good=Example(_OURS, inventory={**_STAGING, f"{_THERE}/main.yml": _secrets(SECRET_KEY=_KEY[::-1])}),
)
SHARED_DATABASE = Rule(
    "shared-database",
    "A variable names a database that another environment uses too: same server, database and schema.",
    fix="Give each environment its own database.",
    acceptable=True,
    bad=Example(
        {"flask_app_secrets": {"SECRET_KEY": _KEY, "DATABASE_URL": "postgresql://shop@db.example.org/shop"}},
        inventory={**_STAGING, f"{_THERE}/main.yml": _secrets(DATABASE_URL="postgresql://shop@db.example.org/shop")},
    ),
    good=Example(
        {"flask_app_secrets": {"SECRET_KEY": _KEY, "DATABASE_URL": "postgresql://shop@db.example.org/shop"}},
        inventory={**_STAGING, f"{_THERE}/main.yml": _secrets(DATABASE_URL="postgresql://shop@db.example.org/staging")},
    ),
)
UNREADABLE_INVENTORY = Rule(
    "unreadable-inventory",
    "Another inventory was not compared, or only in part.",
    severity=WARNING,
    acceptable=True,
    bad=Example(inventory={**_STAGING, f"{_THERE}/more.yml": "a: [\n"}),
    good=Example(inventory={**_STAGING}),
)
LOCKED_INVENTORY = Rule(
    "locked-inventory",
    "Another inventory was not compared, or only in part, because its vault password is missing.",
    severity=WARNING,
    acceptable=True,
    warns_deploys=True,
    bad=Example(inventory={**_STAGING, f"{_THERE}/vault.yml": _VAULT.format("staging")}),
    good=Example(inventory={**_STAGING}),
)


@finds(PLAIN_TEXT_VAULT, PLAIN_TEXT_SECRET)
def plain_text(case: Case) -> Iterator[Found]:
    mine, place = case.inventory, case.place
    if not mine:
        return
    # A directory of playbooks may hold inventories of all environments.
    shared = reader.blocks(reader.Inventory(place.playbook), lists_hosts=False) if place.playbook else []
    groups = [(ERROR, reader.plain_text([*reader.blocks(mine), *shared], []))]
    groups += [(WARNING, reader.plain_text(reader.blocks(other), shared)) for other in case.neighbours]
    seen: set[Path] = set()
    for severity, plain in ((severity, plain) for severity, found in groups for plain in found):
        if plain.path.resolve() not in seen:
            seen.add(plain.path.resolve())
            yield from _in_plain_text(plain, place.shown(plain.path), severity)


def _in_plain_text(plain: reader.Plain, shown: str, severity: str) -> Iterator[Found]:
    if plain.vault:
        what = f"{shown} has {', '.join(plain.vault)} in plain text."
        fix = f"Encrypt it (ansible-vault encrypt {shown}). If it was ever committed, change the values."
        if plain.lists_hosts:
            fix = (
                "Move them into the group_vars/flask_app/vault.yml next to it (ansible-vault edit). If the file was"
                " ever committed, change the values."
            )
        yield PLAIN_TEXT_VAULT(shown, what, fix, severity=severity)
    parts = [f"{', '.join(plain.secrets)} of flask_app_secrets"] if plain.secrets else []
    parts += [f"{name}, which is {secret} in flask_app_secrets" for name, secret in sorted(plain.variables.items())]
    if parts:
        what = f"{shown} has {', and '.join(parts)}{',' if plain.variables else ''} in plain text."
        yield PLAIN_TEXT_SECRET(shown, what)


@finds(FOREIGN_VAULT)
def vaults(case: Case) -> Iterator[Found]:
    """Find vaults with the id of another environment's inventory: copied from there, or encrypted by mistake."""
    mine = case.inventory
    if not mine:
        return
    other_environments = [other for other, _ in case.other_environments]
    foreign = {other.name for other in other_environments} - {mine.name}
    theirs = {path for other in other_environments for path in (*other.variable_files(), *other.files())}
    for path, vault_id, whole in reader.vault_ids(mine):
        if vault_id not in foreign or path in theirs:
            continue
        shown = case.place.shown(path)
        part = "is" if whole else "has a value that is"
        what = f"{shown} {part} encrypted for {vault_id}: anyone with the {vault_id} vault password can read it."
        anew = (
            f"ansible-vault rekey --new-vault-id {mine.name}@script/vault-password-client {shown}"
            if whole
            else f"ansible-vault encrypt_string --encrypt-vault-id {mine.name}"
        )
        fix = (
            f"Remove {'it' if whole else 'that value'} and make new secrets: script/secrets {mine.name}. If no other"
            f" environment has these values, encrypt them again: {anew}"
        )
        yield FOREIGN_VAULT(shown, what, fix)


@finds(SHARED_SECRET, SHARED_DATABASE, UNREADABLE_INVENTORY, LOCKED_INVENTORY)
def compared(case: Case) -> Iterator[Found]:
    """Find what other environments' inventories share with this one, and which of them can't be read."""
    key = fingerprints.new_key()
    given = case.app_variables
    mine = fingerprints.fingerprints(given["flask_app_env"], given["flask_app_secrets"], key)
    for other, views in case.other_environments:
        shown = case.place.shown(other.path)
        theirs, reasons = [], []
        for view in views:
            env, why = view.variables.mapping("flask_app_env")
            secret, more = view.variables.mapping("flask_app_secrets")
            reasons += [*why, *more]
            theirs.append(fingerprints.fingerprints(env, secret, key))
        secrets, databases = fingerprints.in_common(mine, fingerprints.combined(theirs))
        for name, same in secrets:
            also = "" if name == same else f", as {same}"
            what = f"{name} has the same value in {shown}{also}: anyone who has one has both."
            yield SHARED_SECRET(name, what)
        for name, same in databases:
            also = "" if name == same else f", as {same}"
            yield SHARED_DATABASE(name, f"{name} names the same database in {shown}{also}.")
        # An unreadable file explains each undefined variable, so these reasons are left out.
        yield from _unread(shown, [error for view in views for error in view.unreadable] or reasons)


def _unread(shown: str, reasons: Iterable[reader.UnreadableError]) -> Iterator[Found]:
    listed = list(reasons)
    if listed:
        why = "; ".join(dict.fromkeys(map(str, listed)))
        fix = " ".join(dict.fromkeys(error.fix for error in listed))
        rule = LOCKED_INVENTORY if any(error.locked for error in listed) else UNREADABLE_INVENTORY
        yield rule(shown, f"{shown} was not compared, or only in part: {why}.", fix)
