# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app reports about itself beyond its contract, and what only its workers can report."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING
from ansible_collections.greenlight.flask.plugins.module_utils._proof import inspection

from ..case import Case
from ..rule import APP, DEPLOY, Example, Found, Rule, finds

INSECURE_COOKIE = Rule(
    "insecure-cookie",
    "SESSION_COOKIE_SECURE or REMEMBER_COOKIE_SECURE is off, so browsers send the cookie over HTTP. Checked in"
    " production, and with TLS or a trusted proxy in each environment but development.",
    severity=WARNING,
    acceptable=True,
    needs=(APP,),
    bad=Example(says={"session_cookie_secure": False}),
    good=Example(says={"session_cookie_secure": True}),
)
INSECURE_SCHEME = Rule(
    "insecure-scheme",
    "PREFERRED_URL_SCHEME is not https, so links built outside a request use HTTP. Checked where insecure-cookie is.",
    severity=WARNING,
    fix="Set PREFERRED_URL_SCHEME to https outside development.",
    acceptable=True,
    needs=(APP,),
    bad=Example(says={"preferred_url_scheme": "http"}),
    good=Example(says={"preferred_url_scheme": "https"}),
)
DEBUG_TOOLBAR = Rule(
    inspection.DEBUG_TOOLBAR,
    "Outside development, a debug toolbar is locked as a package or imported by the app.",
    acceptable=True,
    needs=(APP,),
    bad=Example(says={"debuggers": ["flask_debugtoolbar"]}),
    good=Example(says={"debuggers": []}),
)
OTHER_KEY = Rule(
    inspection.OTHER_KEY,
    "app.secret_key differs from the key in flask_app_secret_key_variable. Only a deploy finds this.",
    acceptable=True,
    needs=(DEPLOY,),
)
OTHER_DATABASE = Rule(
    inspection.OTHER_DATABASE,
    "The database in app.config differs from the one in the variables. Only a deploy finds this.",
    acceptable=True,
    needs=(DEPLOY,),
)
APP_UNREACHABLE = Rule(
    "app-unreachable",
    "The doctor could not query the app of the live release.",
    severity=WARNING,
    fix="Fix that, or run the doctor without flask_app_doctor_hosts.",
    acceptable=True,
    needs=(APP,),
)


@finds(INSECURE_COOKIE, INSECURE_SCHEME, DEBUG_TOOLBAR)
def configuration(case: Case) -> Iterator[Found]:
    """Check the flags that need HTTPS. Production always has it somewhere; another plain HTTP site can't use them."""
    says = case.says
    if not says or not case.outside_development:
        return
    encrypted = case["tls"] != "none" or case["nginx_trusted_proxies"]
    if encrypted or case["environment"] == "production":
        for name, good in (
            ("SESSION_COOKIE_SECURE", says["session_cookie_secure"]),
            ("REMEMBER_COOKIE_SECURE", says["remember_cookie_secure"]),
        ):
            if not good:
                what = f"the app runs with {name} off: browsers also send the cookie over plain HTTP."
                yield INSECURE_COOKIE(name, what, f"Set {name} to True outside development.")
        scheme = says["preferred_url_scheme"]
        if scheme != "https":
            what = f"the app runs with PREFERRED_URL_SCHEME {scheme}: links built outside a request use HTTP."
            yield INSECURE_SCHEME("PREFERRED_URL_SCHEME", what)
    for name in says["debuggers"]:
        package = name.replace("_", "-")
        what = f"the app imports {package} in {case['environment']}."
        yield DEBUG_TOOLBAR(package, what, "Import it in development only.")


@finds(APP_UNREACHABLE)
def app_unreachable(case: Case) -> Iterator[Found]:
    if case.app_unreachable:
        what = f"the app of the live release could not be queried: {case.app_unreachable}."
        yield APP_UNREACHABLE("flask_app_doctor_hosts", what)
