# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's name, environment and DEBUG, and what overrides them behind the role's back."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME, is_environment_name
from ansible_collections.greenlight.flask.plugins.module_utils._app.names import RESERVED, reserved
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    UNPROVED_DEBUG as _UNPROVED_DEBUG,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    UNPROVED_ENVIRONMENT as _UNPROVED_ENVIRONMENT,
)

from ..case import Case
from ..process import all_variables, old_keys, reserved_names
from ..rule import DEPLOY, Example, Found, Rule, finds

MALFORMED_NAME = Rule(
    "malformed-name",
    "flask_app_name is not usable as the name of an account, a unit and directories.",
    bad=Example({"flask_app_name": "My Shop"}),
    good=Example({"flask_app_name": "my-shop"}),
)
RESERVED_NAME = Rule(
    "reserved-name",
    "flask_app_name is reserved for the system or the role.",
    bad=Example({"flask_app_name": "nginx"}),
    good=Example({"flask_app_name": "shop"}),
)
UNKNOWN_ENVIRONMENT = Rule(
    "unknown-environment",
    "flask_app_environment is not in flask_app_environments, so it is probably misspelt.",
    bad=Example({"flask_app_environment": "prod"}),
    good=Example({"flask_app_environment": "production"}),
)
MALFORMED_ENVIRONMENT = Rule(
    "malformed-environment",
    "flask_app_environments has a name that is not usable as a host's stamp.",
    fix="Use one word of at most 100 characters, such as pre-prod.",
    bad=Example({"flask_app_environments": ["production", "pre prod"]}),
    good=Example({"flask_app_environments": ["production", "pre-prod"]}),
)
DEBUG = Rule(
    "debug",
    "Outside development, flask_app_debug is true: DEBUG shows code and secrets to every visitor.",
    fix="Remove flask_app_debug from this inventory.",
    bad=Example({"flask_app_debug": True}),
    good=Example({"flask_app_environment": "development", "flask_app_debug": True}),
)
OTHER_ENVIRONMENT = Rule(
    "other-environment",
    "Outside development, a variable such as APP_SETTINGS selects the configuration of another environment.",
    acceptable=True,
    bad=Example({"flask_app_env": {"APP_SETTINGS": "config.DevelopmentConfig"}}),
    good=Example({"flask_app_env": {"APP_SETTINGS": "config.ProductionConfig"}}),
)
FLASK_ENV = Rule(
    "flask-env",
    "Outside development, FLASK_ENV is set: Flask has ignored it since 2.3; older versions switch DEBUG by it.",
    acceptable=True,
    bad=Example({"flask_app_env": {"FLASK_ENV": "production"}}),
    good=Example({"flask_app_env": {"GREETING": "Hello"}}),
)
FLASK_DEBUG = Rule(
    "flask-debug",
    "Outside development, FLASK_DEBUG, DEBUG or TESTING is on.",
    fix="Remove it.",
    acceptable=True,
    bad=Example({"flask_app_env": {"FLASK_DEBUG": "1"}}),
    good=Example({"flask_app_env": {"FLASK_DEBUG": "0"}}),
)
ENVIRONMENT_BY_HAND = Rule(
    "environment-by-hand",
    "A variable that the role sets, such as FLASK_CONFIG, is also set by hand, perhaps in the service's settings.",
    fix="Remove it.",
    bad=Example({"flask_app_env": {"FLASK_CONFIG": "production"}}),
    good=Example({"flask_app_environment_variable": "APP_ENV", "flask_app_env": {"FLASK_CONFIG": "production"}}),
)
UNPROVED_ENVIRONMENT = Rule(
    _UNPROVED_ENVIRONMENT,
    "Outside development, neither the health page nor the workers report which environment a release runs in.",
    acceptable=True,
    needs=(DEPLOY,),
    bad=Example({"flask_app_health_fields": {}, "flask_app_inspect": False}),
    good=Example({"flask_app_health_fields": {"environment": "env"}, "flask_app_inspect": False}),
)
UNPROVED_DEBUG = Rule(
    _UNPROVED_DEBUG,
    "Neither the health page nor the workers report whether DEBUG is on. Only a deploy finds this.",
    acceptable=True,
    needs=(DEPLOY,),
)

#: How much of a name a message shows.
_SHOWN = 60
#: Variables by which apps choose their configuration.
SELECTORS = ("FLASK_CONFIG", "APP_CONFIG", "APP_SETTINGS", "APP_ENV", "CONFIG_NAME", "ENVIRONMENT", "ENV", "STAGE")
#: Values that Flask and apps read as off.
_OFF = ("", "0", "false", "no", "none")
#: Variable of the app's process to the values that turn it off.
DEBUG_VARIABLES = {"FLASK_DEBUG": _OFF} | dict.fromkeys(
    ("DEBUG", "APP_DEBUG", "TESTING", "FLASK_TESTING", "APP_TESTING"), (*_OFF, "off", "n", "f", "null")
)


@finds(MALFORMED_NAME, RESERVED_NAME, guards=True)
def name(case: Case) -> Iterator[Found]:
    given = case["name"]
    if given in RESERVED or given.startswith("greenlight-"):
        known = reserved(given)
        yield RESERVED_NAME(known.subject, known.what, known.fix)
    elif not APP_NAME.match(given):
        rule = "lower-case letters, digits and dashes, a letter first, at most 31 characters"
        what = f"flask_app_name is {given!r}; it names an account, a unit and directories."
        yield MALFORMED_NAME("flask_app_name", what, f"Use {rule}.")


@finds(UNKNOWN_ENVIRONMENT, MALFORMED_ENVIRONMENT, DEBUG)
def environment(case: Case) -> Iterator[Found]:
    chosen, names = case["environment"], case["environments"]
    if chosen not in names:
        near = [each for each in names if chosen and each.startswith(chosen.lower())]
        near = near or difflib.get_close_matches(chosen, names, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]}? " if near else ""
        what = f"flask_app_environment is {chosen!r}, which is not one of {', '.join(names)}."
        fix = f"{hint}To use a name of your own, add it to flask_app_environments."
        yield UNKNOWN_ENVIRONMENT("flask_app_environment", what, fix, variables=("flask_app_environments",))
    for each in names:
        if not is_environment_name(each):
            what = f"flask_app_environments has {each[:_SHOWN]!r}, which is not usable as a host's stamp."
            yield MALFORMED_ENVIRONMENT("flask_app_environments", what)
    if case["debug"] and case.outside_development:
        what = f"flask_app_debug is true, but flask_app_environment is {chosen}: DEBUG shows code and secrets."
        yield DEBUG("flask_app_debug", what, variables=("flask_app_environment",))


@finds(ENVIRONMENT_BY_HAND)
def by_hand(case: Case) -> Iterator[Found]:
    """Find the role's own variables, also where nobody looks for them."""
    names = reserved_names(case)
    for owner, given in {**all_variables(case), "flask_app_secret_key_fallbacks": old_keys(case)}.items():
        for each in given:
            if each in names:
                what = f"{owner} sets {each}, which the role sets itself."
                yield ENVIRONMENT_BY_HAND(each, what, variables=(owner,))


@finds(OTHER_ENVIRONMENT, FLASK_ENV, FLASK_DEBUG)
def variables(case: Case) -> Iterator[Found]:
    if not case.outside_development:
        return
    for owner, given in all_variables(case).items():
        for each, value in given.items():
            yield from _chosen_by(case, owner, each, value)


def _chosen_by(case: Case, owner: str, each: str, value: Any) -> Iterator[Found]:
    chosen, text, own = case["environment"], str(value).strip(), case["environment_variable"]
    if each != own and each in SELECTORS and _means(text, case["environments"]) not in ("", chosen):
        what = f"{owner} sets {each} to the configuration of an environment other than {chosen}."
        fix = f"Remove it and let the app select by {own}, or set flask_app_environment_variable."
        yield OTHER_ENVIRONMENT(each, what, fix)
    if each == "FLASK_ENV":
        what = f"{owner} sets FLASK_ENV in {chosen}: Flask has ignored it since 2.3; before, it switched DEBUG."
        yield FLASK_ENV(each, what, f"Remove it. The app gets its environment in {own}.")
    if each in DEBUG_VARIABLES and text.lower() not in DEBUG_VARIABLES[each]:
        why = "TESTING disables error handling and checks" if "TESTING" in each else "DEBUG shows code and secrets"
        yield FLASK_DEBUG(each, f"{owner} sets {each} in {chosen}: {why}.")


def _means(text: str, environments: list[str]) -> str:
    """Return the environment that a value such as ``config.DevelopmentConfig`` means, or nothing."""
    last = re.split(r"[.:/]", text)[-1]
    word = re.sub(r"[_-]?(config|configuration|settings)\Z", "", last, flags=re.IGNORECASE).lower()
    short = {"dev": "development", "prod": "production", "stage": "staging"}
    word = short.get(word, word)
    return word if word in environments or word in short.values() else ""


@finds(UNPROVED_ENVIRONMENT)
def unproved(case: Case) -> Iterator[Found]:
    """Find settings under which a release need not prove its environment."""
    by_page = case["health_fields"].get("environment")
    by_workers = case["inspect"] and case["inspect_environment_keys"]
    if case.outside_development and not (by_page or by_workers):
        what = "no release has to prove its environment: neither the health page nor the workers have to report it."
        fix = "Set environment in flask_app_health_fields, or flask_app_inspect: true with the key in app.config."
        yield UNPROVED_ENVIRONMENT("flask_app_health_fields", what, fix)
