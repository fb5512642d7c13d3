# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that are missing, guessable, or too short to mask in messages."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ansible_collections.greenlight.flask.plugins.module_utils._base.forms import SHORTEST
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets import judge

from ..case import Case
from ..rule import OUTSIDE_DEVELOPMENT, Example, Found, Rule, finds

_RANDOM = "Put a random value there: openssl rand -hex 32."
_KEY = "Zk3v.Q9rT.x7Lw.B2mY.c8Nd.E5pH.s1Gf.Ja6U"
_GOOD = {"SECRET_KEY": _KEY, "DATABASE_URL": "sqlite:////var/lib/shop/shop.db"}

MISSING_SECRET = Rule(
    "missing-secret",
    "flask_app_secrets lacks a name from flask_app_required_secrets.",
    bad=Example({"flask_app_secrets": {"SECRET_KEY": _KEY}}),
    good=Example({"flask_app_secrets": {**_GOOD}}),
)
PLACEHOLDER = Rule(
    "placeholder",
    "A secret is a placeholder such as change-me or your-secret-key, or the key of a tutorial.",
    severity=OUTSIDE_DEVELOPMENT,
    fix=_RANDOM,
    acceptable=True,
    bad=Example({"flask_app_secrets": {**_GOOD, "SECRET_KEY": "change-me"}}),
    good=Example({"flask_app_secrets": {**_GOOD}}),
)
SHORT_KEY = Rule(
    "short-key",
    f"A signing key has fewer than {judge.KEY_CHARACTERS} characters and less than the {judge.KEY_BITS} random bits"
    " that OWASP's ASVS requires.",
    severity=OUTSIDE_DEVELOPMENT,
    fix=_RANDOM,
    acceptable=True,
    bad=Example({"flask_app_secrets": {**_GOOD, "SECRET_KEY": "Zk3vQ9rTx7"}}),
    good=Example({"flask_app_secrets": {**_GOOD}}),
)
WEAK_KEY = Rule(
    "weak-key",
    "A signing key repeats itself, follows a pattern or is made of words.",
    severity=OUTSIDE_DEVELOPMENT,
    fix=_RANDOM,
    acceptable=True,
    bad=Example({"flask_app_secrets": {**_GOOD, "SECRET_KEY": "a very long and very secret key of the shop"}}),
    good=Example({"flask_app_secrets": {**_GOOD}}),
)
SHORT_SECRET = Rule(
    "short-secret",
    f"A secret has no line of at least {SHORTEST} characters: it is easy to guess, and too short to mask in messages.",
    severity=OUTSIDE_DEVELOPMENT,
    fix="Make it longer, or move it to flask_app_env if it isn't a secret.",
    acceptable=True,
    bad=Example({"flask_app_secrets": {**_GOOD, "PIN": "7391"}}),
    good=Example({"flask_app_secrets": {**_GOOD, "PIN": "7391-0284-5518"}}),
)


@finds(MISSING_SECRET)
def missing(case: Case) -> Iterator[Found]:
    """Report all missing secrets at once."""
    secrets, required = case.app_variables["flask_app_secrets"], case["required_secrets"]
    absent = [name for name in required if secrets.get(name) in (None, "")]
    if not absent:
        return
    place = f"inventories/{case['environment']}/group_vars/flask_app"
    left = json.dumps([name for name in required if name not in absent])
    what = f"flask_app_secrets lacks {', '.join(absent)}, listed in flask_app_required_secrets."
    fix = (
        f"Add it to flask_app_secrets in {place}/main.yml, and its value with: ansible-vault edit {place}/vault.yml. If"
        f" the app doesn't need it, set flask_app_required_secrets: {left} in main.yml."
    )
    yield MISSING_SECRET(", ".join(absent), what, fix, variables=("flask_app_secrets", "flask_app_required_secrets"))


@finds(PLACEHOLDER, SHORT_KEY, WEAK_KEY, SHORT_SECRET)
def guessable(case: Case) -> Iterator[Found]:
    for variable, given in case.app_variables.items():
        for name, value in judge.credentials(given, secret=variable == "flask_app_secrets").items():
            signs = name in case.signing_names
            if judge.is_placeholder(value):
                yield PLACEHOLDER(name, f"{variable}: {name} is a placeholder that anyone can guess.")
            elif signs and value and judge.is_short(value):
                what = (
                    f"{variable}: {name} has {len(value)} characters; a signing key needs"
                    f" {judge.KEY_CHARACTERS}, or {judge.KEY_BITS} random bits."
                )
                yield SHORT_KEY(name, what)
            elif signs and value and (why := judge.weakness(value)):
                yield WEAK_KEY(name, f"{variable}: {name} is easy to guess: {why}.")
            elif variable == "flask_app_secrets" and judge.is_unmaskable(value):
                what = (
                    f"{variable}: {name} has no line of at least {SHORTEST} characters: it is easy to guess, and too"
                    " short to mask in messages."
                )
                yield SHORT_SECRET(name, what)
