# SPDX-License-Identifier: GPL-3.0-or-later
"""The site in Nginx: names, ports, headers, static files, proxies, paths."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME

from ..case import Case
from ..process import all_variables
from ..rule import Example, Found, Rule, finds
from .reading import MISSING_VALUE, WRONG_TYPE
from .values import MALFORMED_VALUE

_HEADERS = "flask_app_nginx_headers"

NAMED_TWICE = Rule(
    "named-twice",
    "A site name or a header is listed twice.",
    fix="Keep one.",
    bad=Example({"flask_app_server_names": ["shop.example.org", "shop.example.org"]}),
    good=Example({"flask_app_server_names": ["shop.example.org", "www.shop.example.org"]}),
)
SAME_PORT = Rule(
    "same-port",
    "HTTP and HTTPS have the same port.",
    fix="Choose two ports.",
    bad=Example({"flask_app_https_port": 80}),
    good=Example({"flask_app_https_port": 443}),
)
HTTP3_WITHOUT_TLS = Rule(
    "http3-without-tls",
    "flask_app_nginx_http3 is true without TLS.",
    fix="Use another flask_app_tls, or remove flask_app_nginx_http3: HTTP/3 is always encrypted.",
    bad=Example({"flask_app_nginx_http3": True, "flask_app_tls": "none"}),
    good=Example({"flask_app_nginx_http3": True, "flask_app_tls": "acme"}),
)
HSTS_PRELOAD = Rule(
    "hsts-preload",
    "flask_app_nginx_hsts_preload is true, but HSTS doesn't meet the preload list's requirements.",
    bad=Example({"flask_app_nginx_hsts_preload": True}),
    good=Example(
        {
            "flask_app_nginx_hsts_preload": True,
            "flask_app_nginx_hsts_subdomains": True,
            "flask_app_nginx_hsts_seconds": 63072000,
        }
    ),
)
HEADER_SPELLING = Rule(
    "header-spelling",
    "One of the role's headers is spelt differently, so it would be sent twice.",
    bad=Example({_HEADERS: {"x-frame-options": "DENY"}}),
    good=Example({_HEADERS: {"X-Frame-Options": "DENY"}}),
)
HEADER_OF_THE_ROLE = Rule(
    "header-of-the-role",
    "A header has its own variable, or Nginx sets it for each request. Strict-Transport-Security: max-age=0 is fine.",
    bad=Example({_HEADERS: {"Strict-Transport-Security": "max-age=300"}}),
    good=Example({"flask_app_nginx_hsts_seconds": 300}),
)
UNUSABLE_HEADER = Rule(
    "unusable-header",
    "Nginx can't read the client's address from the Forwarded header.",
    fix="Name a header that holds only addresses, such as X-Forwarded-For.",
    bad=Example({"flask_app_nginx_client_header": "Forwarded", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}),
    good=Example(
        {"flask_app_nginx_client_header": "CF-Connecting-IP", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
    ),
)
UNTRUSTED_HEADER = Rule(
    "untrusted-header",
    "A header names the client, but no proxy is trusted to send it.",
    fix="List the networks of the proxies that send it. The role ignores it from anyone else.",
    bad=Example({"flask_app_nginx_client_header": "CF-Connecting-IP"}),
    good=Example(
        {"flask_app_nginx_client_header": "CF-Connecting-IP", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
    ),
)
SITE_WITHOUT_PATH = Rule(
    "site-without-path",
    "The app is served in another app's site but has no path there.",
    bad=Example({"flask_app_nginx_site_of": "portal"}),
    good=Example({"flask_app_nginx_site_of": "portal", "flask_app_url_prefix": "/shop"}),
)
INEFFECTIVE_DIRECTIVE = Rule(
    "ineffective-directive",
    "flask_app_nginx_inside has a directive that has no effect for an app in another app's site.",
    bad=Example(
        {
            "flask_app_nginx_site_of": "portal",
            "flask_app_url_prefix": "/shop",
            "flask_app_nginx_inside": "return 404;",
        }
    ),
    good=Example(
        {
            "flask_app_nginx_site_of": "portal",
            "flask_app_url_prefix": "/shop",
            "flask_app_nginx_inside": "client_max_body_size 20m;",
        }
    ),
)
WILDCARD_HOSTS = Rule(
    "wildcard-hosts",
    "Outside development, ALLOWED_HOSTS or TRUSTED_HOSTS has *, or every address is a trusted proxy.",
    acceptable=True,
    bad=Example({"flask_app_env": {"ALLOWED_HOSTS": "*"}}),
    good=Example({"flask_app_env": {"ALLOWED_HOSTS": "shop.example.org"}}),
)

_SERVER_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[A-Za-z0-9-]+\Z")
#: As in the role's vars/main/nginx.yml; a test compares the two.
DEFAULT_HEADERS = (
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
    "Permissions-Policy",
)
#: Headers that have their own variable, or that Nginx sets for each request.
_OWN = {
    "strict-transport-security": "Set flask_app_nginx_hsts_seconds instead.",
    "cache-control": "Remove it. The app sets it for its pages, the role for static files.",
    "x-request-id": "Remove it: the role sends it.",
    "retry-after": "Remove it: the role sends it while no release answers.",
}
#: Required by hstspreload.org.
PRELOAD_SECONDS = 31536000
#: Segments as RFC 3986 allows them, but without dots that lead elsewhere or hide a name.
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+\Z")
#: Nginx runs these in the location that a request ends in, never in the one around it (ngx_http_rewrite_module).
_REWRITES = ("break", "if", "return", "rewrite", "set")
_NO_DIRECTIVE = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:^|(?<=[\s;{}]))#[^\n]*|\$\{\w+\}""", re.DOTALL | re.MULTILINE
)
_HOST_LISTS = re.compile(r"(^|_)(ALLOWED_HOSTS|TRUSTED_HOSTS)\Z")


@finds(MISSING_VALUE, MALFORMED_VALUE, NAMED_TWICE, guards=True)
def server_names(case: Case) -> Iterator[Found]:
    variable, listed = "flask_app_server_names", list(case["server_names"])
    if not listed:
        yield MISSING_VALUE(variable, f"{variable} is empty.", "List the host names that visitors use.")
    elif wrong := [name for name in listed if not _SERVER_NAME.match(str(name))]:
        what = f"{variable} holds {', '.join(map(repr, wrong))}."
        yield MALFORMED_VALUE(variable, what, "Use plain host names in lower case.")
    elif twice := sorted({name for name in listed if listed.count(name) > 1}):
        yield NAMED_TWICE(variable, f"{variable} holds {', '.join(map(repr, twice))} twice.")


@finds(SAME_PORT, HTTP3_WITHOUT_TLS, guards=True)
def ports(case: Case) -> Iterator[Found]:
    if case["tls"] != "none" and case["http_port"] == case["https_port"]:
        what = "flask_app_http_port and flask_app_https_port are the same."
        yield SAME_PORT("flask_app_http_port", what, variables=("flask_app_https_port",))
    if case["nginx_http3"] and case["tls"] == "none":
        what = "flask_app_nginx_http3 is true, but flask_app_tls is none."
        yield HTTP3_WITHOUT_TLS("flask_app_nginx_http3", what, variables=("flask_app_tls",))


@finds(HEADER_SPELLING, NAMED_TWICE, HEADER_OF_THE_ROLE, MALFORMED_VALUE, WRONG_TYPE, guards=True)
def headers(case: Case) -> Iterator[Found]:
    spellings = Counter(str(name).lower() for name in case["nginx_headers"])
    for name, value in case["nginx_headers"].items():
        text = "" if value is None else str(value)
        lower = str(name).lower()
        known = {default.lower(): default for default in DEFAULT_HEADERS}.get(lower, name)
        if known != name:
            yield HEADER_SPELLING(_HEADERS, f"{_HEADERS} has {name}.", f"Write it {known}, as the role does.")
        if spellings[lower] > 1:
            yield NAMED_TWICE(_HEADERS, f"{_HEADERS} has {name} in two spellings.")
        withdrawn = lower == "strict-transport-security" and text.strip() == "max-age=0"
        if lower in _OWN and not withdrawn:
            yield HEADER_OF_THE_ROLE(_HEADERS, f"{_HEADERS} has {name}.", _OWN[lower])
        if not _TOKEN.match(str(name)):
            yield MALFORMED_VALUE(_HEADERS, f"{_HEADERS} has the name {name!r}.", "Use letters, digits and dashes.")
        if not isinstance(value, (str, int, float, type(None))):
            yield WRONG_TYPE(_HEADERS, f"{_HEADERS}: the value of {name} isn't a text.", "Write it as a text.")
        elif re.search(r"[\x00-\x1f\x7f$\\]", text):
            what = f"{_HEADERS}: the value of {name} holds a line break, a $ or a backslash."
            yield MALFORMED_VALUE(_HEADERS, what, "Remove that character: Nginx can't send it.")


@finds(MALFORMED_VALUE, guards=True)
def static(case: Case) -> Iterator[Found]:
    """Check the form of paths and directories; :func:`.source.take` checks that the source has them."""
    variable = "flask_app_nginx_static"
    for prefix, directory in case["nginx_static"].items():
        path = PurePosixPath(str(directory))
        if not re.match(r"/([A-Za-z0-9._~-]+/)+\Z", str(prefix)):
            what = f"{variable} has the path {prefix!r}."
            yield MALFORMED_VALUE(variable, what, "Start and end it with a slash, as in /static/.")
        below = path.parts and ".." not in path.parts and not path.is_absolute()
        if not below or not re.match(r"[A-Za-z0-9._/-]+\Z", str(directory)):
            what = f"{variable}: {directory!r} is not a directory below the source."
            yield MALFORMED_VALUE(variable, what, "Name it relative to the source, as in guestbook/static.")


@finds(MALFORMED_VALUE, guards=True)
def networks(case: Case) -> Iterator[Found]:
    for variable in ("flask_app_nginx_trusted_proxies", "flask_app_nginx_health_networks"):
        for network in case.values[variable]:
            try:
                zone = "%" in ipaddress.ip_network(network).exploded  # any text may follow it
            except ValueError as error:
                what = f"{variable} holds {network!r}: {error}."
                yield MALFORMED_VALUE(variable, what, "Use an address or a network, as in 10.0.0.0/8.")
            else:
                if zone:
                    yield MALFORMED_VALUE(
                        variable, f"{variable} holds {network!r}.", "Write it without the % and the zone."
                    )


@finds(MALFORMED_VALUE, UNUSABLE_HEADER, UNTRUSTED_HEADER, guards=True)
def client_header(case: Case) -> Iterator[Found]:
    variable, header = "flask_app_nginx_client_header", case["nginx_client_header"]
    if not _TOKEN.match(header):
        fix = "Name one header, as in CF-Connecting-IP: letters, digits and dashes."
        yield MALFORMED_VALUE(variable, f"{variable} is {header!r}.", fix)
    elif header.lower() == "forwarded":
        yield UNUSABLE_HEADER(variable, f"{variable} is Forwarded, and Nginx can't read an address from it.")
    elif header.lower() != "x-forwarded-for" and not case["nginx_trusted_proxies"]:
        what = f"{variable} is {header}, but flask_app_nginx_trusted_proxies is empty."
        yield UNTRUSTED_HEADER(variable, what, variables=("flask_app_nginx_trusted_proxies",))


@finds(MALFORMED_VALUE, SITE_WITHOUT_PATH, guards=True)
def prefix(case: Case) -> Iterator[Found]:
    path, owner = case["url_prefix"], case["nginx_site_of"]
    if path and not _PREFIX.match(path):
        fix = "Start it with a slash and end it without one, as in /shop."
        yield MALFORMED_VALUE("flask_app_url_prefix", f"flask_app_url_prefix is {path!r}.", fix)
    if owner and (not APP_NAME.match(owner) or owner == case["name"]):
        fix = "Use the flask_app_name of another app on the same hosts, or leave it empty."
        yield MALFORMED_VALUE("flask_app_nginx_site_of", f"flask_app_nginx_site_of is {owner!r}.", fix)
    if owner and not path:
        what = f"flask_app_nginx_site_of is {owner}, but flask_app_url_prefix is empty."
        fix = "Set flask_app_url_prefix to this app's path in that site, as in /shop."
        yield SITE_WITHOUT_PATH("flask_app_nginx_site_of", what, fix, variables=("flask_app_url_prefix",))


@finds(INEFFECTIVE_DIRECTIVE, guards=True)
def inside(case: Case) -> Iterator[Found]:
    """Find directives that have no effect in the location around the app's own locations."""
    owner, depth, found = case["nginx_site_of"], 0, dict[str, None]()
    bare = _NO_DIRECTIVE.sub(lambda match: "" if match[0].startswith("#") else "x", case["nginx_inside"])
    for part in re.findall(r"[{};]|[^{};]+", bare):
        if part in "{}":
            depth += 1 if part == "{" else -1
        elif depth == 0 and part.split() and part.split()[0] in _REWRITES:
            found[part.split()[0]] = None
    if owner and found:
        what = f"flask_app_nginx_inside has {', '.join(found)}, which has no effect for an app in another app's site."
        fix = f"Put it into its own location below the path, or into {owner}'s flask_app_nginx_inside."
        yield INEFFECTIVE_DIRECTIVE("flask_app_nginx_inside", what, fix, variables=("flask_app_nginx_site_of",))


@finds(HSTS_PRELOAD, guards=True)
def hsts(case: Case) -> Iterator[Found]:
    enough = case["nginx_hsts_subdomains"] and case["nginx_hsts_seconds"] >= PRELOAD_SECONDS
    if case["nginx_hsts_preload"] and not enough:
        what = "flask_app_nginx_hsts_preload is true, but HSTS doesn't meet the preload list's requirements."
        fix = (
            f"Set flask_app_nginx_hsts_subdomains: true and flask_app_nginx_hsts_seconds to {PRELOAD_SECONDS} or more."
        )
        others = ("flask_app_nginx_hsts_subdomains", "flask_app_nginx_hsts_seconds")
        yield HSTS_PRELOAD("flask_app_nginx_hsts_preload", what, fix, variables=others)


@finds(WILDCARD_HOSTS)
def wildcards(case: Case) -> Iterator[Found]:
    if not case.outside_development:
        return
    for variable, given in all_variables(case).items():
        for name, value in given.items():
            if _HOST_LISTS.search(name) and "*" in _listed(value):
                what = f"{variable}: {name} allows every host name, so any client chooses where the app's links lead."
                yield WILDCARD_HOSTS(name, what, "List the hosts, as in flask_app_server_names.")
    for network in case["nginx_trusted_proxies"]:
        try:
            everybody = ipaddress.ip_network(network, strict=False).prefixlen == 0
        except ValueError:  # another rule reports it
            continue
        if everybody:
            what = f"flask_app_nginx_trusted_proxies holds {network}: every visitor may claim any address."
            yield WILDCARD_HOSTS("flask_app_nginx_trusted_proxies", what, "List the networks of your proxies.")


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = re.split(r"[,;\s]+", value)
    return [str(item).strip(" '\"[]()") for item in value] if isinstance(value, list) else [str(value)]
