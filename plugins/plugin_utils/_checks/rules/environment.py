# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's name, its environment, DEBUG, and what chooses another one behind the role's back."""

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
    "flask_app_name can't be the name of an account, a unit and directories.",
    bad=Example({"flask_app_name": "My Shop"}),
    good=Example({"flask_app_name": "my-shop"}),
)
RESERVED_NAME = Rule(
    "reserved-name",
    "flask_app_name belongs to the system, or to the role.",
    bad=Example({"flask_app_name": "nginx"}),
    good=Example({"flask_app_name": "shop"}),
)
UNKNOWN_ENVIRONMENT = Rule(
    "unknown-environment",
    "flask_app_environment is none of flask_app_environments, so it is misspelt.",
    bad=Example({"flask_app_environment": "prod"}),
    good=Example({"flask_app_environment": "production"}),
)
MALFORMED_ENVIRONMENT = Rule(
    "malformed-environment",
    "flask_app_environments has a name that a host can't be stamped with.",
    fix="Use one word of at most 100 characters, such as pre-prod.",
    bad=Example({"flask_app_environments": ["production", "pre prod"]}),
    good=Example({"flask_app_environments": ["production", "pre-prod"]}),
)
DEBUG = Rule(
    "debug",
    "flask_app_debug is true outside development: DEBUG shows code and secrets to every visitor.",
    fix="Remove flask_app_debug from this inventory.",
    bad=Example({"flask_app_debug": True}),
    good=Example({"flask_app_environment": "development", "flask_app_debug": True}),
)
OTHER_ENVIRONMENT = Rule(
    "other-environment",
    "A variable such as APP_SETTINGS chooses, outside development, the configuration of another environment.",
    acceptable=True,
    bad=Example({"flask_app_env": {"APP_SETTINGS": "config.DevelopmentConfig"}}),
    good=Example({"flask_app_env": {"APP_SETTINGS": "config.ProductionConfig"}}),
)
FLASK_ENV = Rule(
    "flask-env",
    "FLASK_ENV is set outside development: Flask has ignored it since 2.3, and switched DEBUG by it before.",
    acceptable=True,
    bad=Example({"flask_app_env": {"FLASK_ENV": "production"}}),
    good=Example({"flask_app_env": {"GREETING": "Hello"}}),
)
FLASK_DEBUG = Rule(
    "flask-debug",
    "FLASK_DEBUG, DEBUG or TESTING is on outside development.",
    fix="Remove it.",
    acceptable=True,
    bad=Example({"flask_app_env": {"FLASK_DEBUG": "1"}}),
    good=Example({"flask_app_env": {"FLASK_DEBUG": "0"}}),
)
ENVIRONMENT_BY_HAND = Rule(
    "environment-by-hand",
    "A variable that the role itself sets, such as FLASK_CONFIG, is set by hand, also in settings of the service.",
    fix="Remove it.",
    bad=Example({"flask_app_env": {"FLASK_CONFIG": "production"}}),
    good=Example({"flask_app_environment_variable": "APP_ENV", "flask_app_env": {"FLASK_CONFIG": "production"}}),
)
UNPROVED_ENVIRONMENT = Rule(
    _UNPROVED_ENVIRONMENT,
    "Outside development, neither the health page nor the workers say which environment a release runs in.",
    acceptable=True,
    needs=(DEPLOY,),
    bad=Example({"flask_app_health_fields": {}, "flask_app_inspect": False}),
    good=Example({"flask_app_health_fields": {"environment": "env"}, "flask_app_inspect": False}),
)
UNPROVED_DEBUG = Rule(
    _UNPROVED_DEBUG,
    "Neither the health page nor the workers say whether DEBUG is on; found by a deploy.",
    acceptable=True,
    needs=(DEPLOY,),
)

#: Letters of a name that a message shows.
_SHOWN = 60
#: Variables by which apps choose their configuration.
SELECTORS = ("FLASK_CONFIG", "APP_CONFIG", "APP_SETTINGS", "APP_ENV", "CONFIG_NAME", "ENVIRONMENT", "ENV", "STAGE")
#: What Flask, and apps themselves, take for off.
_OFF = ("", "0", "false", "no", "none")
#: Variable of the app's process to what means that it is off.
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
        what = f"flask_app_environment is {chosen!r}, which is none of {', '.join(names)}."
        fix = f"{hint}A name of your own goes into flask_app_environments."
        yield UNKNOWN_ENVIRONMENT("flask_app_environment", what, fix, variables=("flask_app_environments",))
    for each in names:
        if not is_environment_name(each):
            what = f"flask_app_environments has {each[:_SHOWN]!r}, which a host can't be stamped with."
            yield MALFORMED_ENVIRONMENT("flask_app_environments", what)
    if case["debug"] and case.outside_development:
        what = f"flask_app_debug is true, and flask_app_environment is {chosen}: DEBUG shows code and secrets."
        yield DEBUG("flask_app_debug", what, variables=("flask_app_environment",))


@finds(ENVIRONMENT_BY_HAND)
def by_hand(case: Case) -> Iterator[Found]:
    """The role's own variables, among those of the process and where nobody looks for them."""
    names = reserved_names(case)
    for owner, given in {**all_variables(case), "flask_app_secret_key_fallbacks": old_keys(case)}.items():
        for each in given:
            if each in names:
                what = f"{owner} sets {each}, which the role itself sets."
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
        what = f"{owner} sets {each} to the configuration of another environment than {chosen}."
        fix = f"Remove it; let the app choose by {own}, or set flask_app_environment_variable."
        yield OTHER_ENVIRONMENT(each, what, fix)
    if each == "FLASK_ENV":
        what = f"{owner} sets FLASK_ENV in {chosen}: Flask has ignored it since 2.3, before it switched DEBUG."
        yield FLASK_ENV(each, what, f"Remove it; the app gets its environment as {own}.")
    if each in DEBUG_VARIABLES and text.lower() not in DEBUG_VARIABLES[each]:
        why = "TESTING lets errors and checks through" if "TESTING" in each else "DEBUG shows code and secrets"
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
    """Releases that would not have to say which environment they run in."""
    told = case["health_fields"].get("environment")
    asked = case["inspect"] and case["inspect_environment_keys"]
    if case.outside_development and not (told or asked):
        what = "no release has to prove its environment: neither the health answer nor the app itself is asked for it."
        fix = "Give flask_app_health_fields an environment, or set flask_app_inspect: true with the config's key."
        yield UNPROVED_ENVIRONMENT("flask_app_health_fields", what, fix)
