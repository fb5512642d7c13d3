# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wrong input of the edge is reported before anything is touched, with its fix and no part of a key."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules.nginx import DEFAULT_HEADERS
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import certificates
from tests.unit import cases
from tests.unit.cases import SPEC

ROLE = Path(__file__).resolve().parents[2] / "roles/flask_app"
NAMES = ["shop.example.org", "www.shop.example.org"]
HMAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def problems(**changed: Any) -> list[Finding]:
    """Return the findings for a site with these variables changed."""
    given = {f"flask_app_{name}": value for name, value in changed.items()}
    assert given.keys() <= SPEC.keys()
    case = Case(cases.values(**{"flask_app_server_names": NAMES, "flask_app_tls": "none", **given}))
    found = [*cases.of("nginx", case), *cases.of("tls", case), *cases.of("acme", case)]
    return [each for each in found if not registry.known()[each.id].acceptable]


def one(found: list[Finding]) -> Finding:
    """Return the only finding, which is about each variable that its text names."""
    (problem,) = found
    assert {*re.findall(r"flask_app_\w+", problem.what)} <= {problem.subject, *problem.variables}
    assert problem.fix
    return problem


def named(problem: Finding) -> tuple[str, str]:
    return problem.id, problem.subject.removeprefix("flask_app_")


@pytest.mark.parametrize("mode", ["none", "self_signed", "acme"])
def test_the_defaults_of_the_role_are_accepted(mode: str) -> None:
    assert problems(tls=mode) == []


# A certificate provided by the user


def openssl(*words: str | Path) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


class Own:
    """A certificate for both names, its key, and its issuer's key and certificate."""

    def __init__(self) -> None:
        self.private, self.upper_private = certificates.key(), certificates.key()
        self.key = certificates.key_pem(self.private)
        self.chain = self.certificate(*NAMES)
        self.upper = certificates.certificate(self.upper_private, "an authority", issuer="the root")
        self.root = certificates.certificate(certificates.key(), "the root")

    def certificate(self, *names: str, begins_days: float = -1, ends_days: float = 90) -> str:
        return certificates.certificate(
            self.private, *names, begins_days=begins_days, ends_days=ends_days, issuer="an authority"
        )


@pytest.fixture(scope="module")
def own() -> Own:
    return Own()


def provided(chain: str, key: str, **changed: object) -> list[Finding]:
    """Return the findings for a certificate, none of which may quote the PEM text."""
    found = problems(tls="provided", tls_certificate=chain, tls_key=key, **changed)
    told = " ".join(map(str, found))
    assert "-----" not in told
    for line in f"{chain}\n{key}".splitlines():
        assert len(line) < 10 or line not in told
    return found


def test_a_certificate_with_its_key_is_accepted(own: Own) -> None:
    assert provided(own.chain, own.key) == []
    assert provided(own.chain + own.upper, own.key) == []
    assert provided(own.chain + own.upper + own.root, own.key) == []
    assert provided(f"subject=CN = shop\n{own.chain}\n{own.upper}", f"\n{own.key}\n") == []


def test_an_unused_certificate_is_not_checked(own: Own) -> None:
    assert problems(tls="self_signed", tls_certificate="nonsense", tls_key="nonsense") == []


@pytest.mark.parametrize(
    ("chain", "key", "missing"),
    [
        ("", "", ["tls_certificate", "tls_key"]),
        ("x", " \n", ["tls_key"]),
        ("", "x", ["tls_certificate"]),
    ],
)
def test_a_missing_certificate_is_reported_with_a_file_lookup(chain: str, key: str, missing: list[str]) -> None:
    problem = one(provided(chain, key))
    assert named(problem) == ("missing-value", missing[0])
    assert [name for name in ("tls_certificate", "tls_key") if name in problem.what] == missing
    assert "lookup('ansible.builtin.file'" in problem.fix


def begin(kind: str, text: str) -> str:
    body = base64.b64encode(text.encode()).decode()
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


@pytest.mark.parametrize("kind", ["path", "cut", "nonsense", "key", "umlaut"])
def test_an_unreadable_certificate_is_reported(own: Own, kind: str) -> None:
    chain = {
        "path": "/etc/ssl/certs/shop.example.org.pem",
        "cut": own.chain[:300],
        "nonsense": begin("CERTIFICATE", "this is not a certificate at all"),
        "key": begin("PUBLIC KEY", "this is not a certificate at all"),
        "umlaut": "Zertifikat für shop.example.org",
    }[kind]
    problem = one(provided(chain, own.key))
    assert named(problem) == ("unreadable-certificate", "tls_certificate")
    assert "lookup('ansible.builtin.file'" in problem.fix


@pytest.mark.parametrize("kind", ["path", "cut", "nonsense", "certificate"])
def test_an_unreadable_key_is_reported(own: Own, kind: str) -> None:
    key = {
        "path": "/etc/ssl/private/shop.example.org.pem",
        "cut": own.key[:100],
        "nonsense": begin("PRIVATE KEY", "this is not a key at all, whatever it says"),
        "certificate": own.chain,
    }[kind]
    assert named(one(provided(own.chain, key))) == ("unreadable-key", "tls_key")


def test_a_key_with_a_passphrase_is_reported_with_the_fix(own: Own) -> None:
    problem = one(provided(own.chain, certificates.key_pem(own.private, "open sesame")))
    assert named(problem) == ("encrypted-key", "tls_key")
    assert "openssl pkey" in problem.fix


def test_an_unknown_kind_of_key_is_reported(own: Own, tmp_path: Path) -> None:
    key = tmp_path / "key"
    openssl("ecparam", "-name", "prime239v1", "-genkey", "-noout", "-out", key)
    chain = openssl("req", "-x509", "-key", key, "-subj", "/CN=shop.example.org", "-days", "1")
    assert one(provided(chain, own.key)).id == "unreadable-certificate"
    private = openssl("pkcs8", "-topk8", "-nocrypt", "-in", key)
    assert one(provided(own.chain, private)).id == "unreadable-key"


def test_the_key_of_another_certificate_is_reported(own: Own) -> None:
    problem = one(provided(own.chain, certificates.key_pem(certificates.key())))
    assert named(problem) == ("mismatched-key", "tls_key")
    assert "first" not in problem.fix
    other_curve = certificates.key_pem(ec.generate_private_key(ec.SECP384R1()))
    assert one(provided(own.chain, other_curve)) == problem


def test_a_chain_that_begins_with_the_ca_is_reported(own: Own) -> None:
    found = provided(own.upper + own.chain, own.key)
    assert named(found[0]) == ("mismatched-key", "tls_key")
    assert "first" in found[0].fix
    assert named(found[-1]) == ("certificate-order", "tls_certificate")


@pytest.mark.parametrize("order", ["the root first", "one is missing"])
def test_a_chain_in_the_wrong_order_is_reported_once(own: Own, order: str) -> None:
    chain = own.chain + (own.root + own.upper if order == "the root first" else own.root)
    assert named(one(provided(chain, own.key))) == ("certificate-order", "tls_certificate")


def test_an_expired_certificate_is_reported_with_its_date(own: Own) -> None:
    problem = one(provided(own.certificate(*NAMES, begins_days=-30, ends_days=-0.01), own.key))
    assert named(problem) == ("expired-certificate", "tls_certificate")
    assert re.search(r"20\d\d-\d\d-\d\d", problem.what)
    assert provided(own.certificate(*NAMES, ends_days=0.01), own.key) == []


def test_a_not_yet_valid_certificate_is_reported_with_its_time(own: Own) -> None:
    problem = one(provided(own.certificate(*NAMES, begins_days=0.1), own.key))
    assert named(problem) == ("future-certificate", "tls_certificate")
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", problem.what)


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        (NAMES, NAMES, ""),
        (["*.example.org"], ["shop.example.org", "www.example.org"], ""),
        (["shop.example.org", "*.shop.example.org"], NAMES, ""),
        (["*.example.org"], NAMES, "www.shop.example.org"),
        (["*.shop.example.org"], NAMES, "shop.example.org"),
        (["other.example.org"], NAMES, "shop.example.org, www.shop.example.org"),
    ],
)
def test_names_not_covered_by_the_certificate_are_reported(
    own: Own, held: list[str], wanted: list[str], missing: str
) -> None:
    found = provided(own.certificate(*held), own.key, server_names=wanted)
    assert list(map(named, found)) == [("uncovered-name", "tls_certificate")] * bool(missing)
    for problem in found:
        assert problem.what.index(missing) < problem.what.index(", ".join(sorted(held)))


def test_a_common_name_alone_covers_no_name(own: Own, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(own.key)
    chain = openssl("req", "-x509", "-key", tmp_path / "key", "-subj", "/CN=shop.example.org", "-days", "9")
    assert named(one(provided(chain, own.key, server_names=NAMES[:1]))) == ("uncovered-name", "tls_certificate")


def test_a_private_key_among_the_certificates_is_reported(own: Own) -> None:
    problem = one(provided(own.chain + own.key, own.key))
    assert named(problem) == ("key-in-certificate", "tls_certificate")
    assert one(provided(own.key + own.chain, own.key)) == problem


def test_several_certificate_faults_are_reported_together(own: Own) -> None:
    chain = own.certificate("other.example.org", begins_days=-30, ends_days=-1)
    assert len(provided(chain, certificates.key_pem(certificates.key()))) == 3


# An ACME server


@pytest.mark.parametrize(
    "directory",
    [
        "http://acme.example.org/directory",
        "acme.example.org/directory",
        "https:///directory",
        "https://acme.example.org/direc tory",
        "https://acme.example.org/directory\n",
        "https://[acme/directory",
        "",
    ],
)
def test_an_acme_directory_that_is_not_an_https_url_is_reported(directory: str) -> None:
    problem = one(problems(tls="acme", acme_directory=directory))
    assert named(problem) == ("malformed-value", "acme_directory")
    assert repr(directory) in problem.what
    assert "https://acme-v02.api.letsencrypt.org/directory" in problem.fix
    assert problems(tls="self_signed", acme_directory=directory) == []


@pytest.mark.parametrize("directory", ["https://ca.internal:9000/acme/acme/directory", "https://[fd00::1]/directory"])
def test_any_https_url_is_accepted_as_acme_directory(directory: str) -> None:
    assert problems(tls="acme", acme_directory=directory) == []


def test_acme_with_a_port_other_than_80_is_reported(own: Own) -> None:
    assert named(one(problems(tls="acme", http_port=8080))) == ("acme-port", "http_port")
    assert problems(tls="self_signed", http_port=8080) == []


def test_a_name_without_a_domain_is_reported() -> None:
    problem = one(problems(tls="acme", server_names=["shop", "shop.example.org", "intranet"]))
    assert named(problem) == ("name-without-domain", "server_names")
    assert "shop, intranet" in problem.what
    assert "self_signed" in problem.fix
    assert problems(tls="self_signed", server_names=["shop"]) == []


def test_an_incomplete_external_account_is_reported_without_its_key() -> None:
    for half in ({"acme_eab_kid": "kid-17"}, {"acme_eab_hmac_key": HMAC_KEY}):
        problem = one(problems(tls="acme", **half))
        assert named(problem) == ("incomplete-account", "acme_eab_kid")
        assert HMAC_KEY not in str(problem)
    assert problems(tls="acme", acme_eab_kid="kid-17", acme_eab_hmac_key=HMAC_KEY) == []


@pytest.mark.parametrize(
    "text", ["x\npre-hook = touch /root/x", "x\ry", "[x]", '"x"', "x y", "x;y", "x#y", "x=é"], ids=ascii
)
@pytest.mark.parametrize("name", ["acme_eab_kid", "acme_eab_hmac_key"])
def test_an_account_that_certbot_would_read_as_an_option_is_refused(name: str, text: str) -> None:
    given = {"acme_eab_kid": "kid-17", "acme_eab_hmac_key": HMAC_KEY, name: text}
    problem = one(problems(tls="acme", **given))
    assert named(problem) == ("malformed-value", name)
    assert text not in str(problem)


@pytest.mark.parametrize(
    "email", ["ops", "ops@example", "ops @example.org", "@example.org", "a@b.c\n", "a@b@c.d", "-a@b.c"]
)
def test_an_invalid_email_address_is_reported(email: str) -> None:
    problem = one(problems(tls="acme", acme_email=email))
    assert named(problem) == ("malformed-value", "acme_email")
    assert repr(email) in problem.what
    assert "ops@example.org" in problem.fix


@pytest.mark.parametrize("email", ["", "ops@example.org", "ada+tls@mail.example.org"])
def test_a_valid_email_address_or_none_is_accepted(email: str) -> None:
    assert problems(tls="acme", acme_email=email) == []


# Headers


@pytest.mark.parametrize("name", ["X Frame", "X-Frame:", "", "X_Frame", "Überschrift", "X-Frame\n", "X-Frame;"])
def test_an_invalid_header_name_is_reported(name: str) -> None:
    problem = one(problems(nginx_headers={name: "DENY"}))
    assert named(problem) == ("malformed-value", "nginx_headers")
    assert repr(name) in problem.what


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "$host", 'a\\"b', "a\x00b", "a\x1bb", "a\x7fb"])
def test_a_header_value_that_nginx_cannot_send_is_reported_without_it(value: str) -> None:
    problem = one(problems(nginx_headers={"X-Token": value}))
    assert named(problem) == ("malformed-value", "nginx_headers")
    assert "X-Token" in problem.what
    assert value not in str(problem)


@pytest.mark.parametrize("value", [["a"], {"a": "b"}], ids=repr)
def test_a_value_that_is_not_a_string_is_refused(value: object) -> None:
    problem = one(problems(nginx_headers={"X-Token": value}))
    assert named(problem) == ("wrong-type", "nginx_headers")
    assert "X-Token" in problem.what


@pytest.mark.parametrize("value", ["", None, 0, True, 'default-src "self"; img-src *', "{}"])
def test_any_other_header_value_is_accepted(value: object) -> None:
    assert problems(nginx_headers={"Content-Security-Policy": value}) == []


def test_a_header_of_the_role_must_have_its_spelling() -> None:
    """Otherwise it would be sent twice."""
    problem = one(problems(nginx_headers={"x-frame-options": "DENY"}))
    assert named(problem) == ("header-spelling", "nginx_headers")
    assert "x-frame-options" in problem.what
    assert "X-Frame-Options" in problem.fix
    assert problems(nginx_headers=dict.fromkeys(DEFAULT_HEADERS, "")) == []


def test_a_header_in_two_spellings_is_reported() -> None:
    found = problems(nginx_headers={"X-Robots-Tag": "none", "X-Robots-tag": "all"})
    assert [
        (problem.id, name in problem.what)
        for problem, name in zip(found, ("X-Robots-Tag", "X-Robots-tag"), strict=True)
    ] == [("named-twice", True)] * 2


@pytest.mark.parametrize("name", ["Strict-Transport-Security", "cache-control", "X-Request-ID", "Retry-After"])
def test_a_header_reserved_for_the_role_is_reported(name: str) -> None:
    problem = one(problems(nginx_headers={name: "x"}))
    assert named(problem) == ("header-of-the-role", "nginx_headers")
    assert name in problem.what


def test_the_default_headers_of_the_role_are_known() -> None:
    variables = yaml.safe_load((ROLE / "vars/main/nginx.yml").read_text())
    own = variables["__flask_app_nginx_headers"].partition("combine")[0]
    assert tuple(re.findall(r"'([A-Z][A-Za-z-]+)':", own)) == DEFAULT_HEADERS


def test_every_header_in_the_template_is_known() -> None:
    template = (ROLE / "templates/etc/nginx/sites-enabled/app.conf.j2").read_text()
    names = set(re.findall(r"add_header ([A-Za-z-]+) ", template)) - {"Alt-Svc"}  # the user's without HTTP/3
    assert len(names) > 3
    for name in names:
        assert len(problems(nginx_headers={name: "x"})) == 1, name


# Static files


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "app/guestbook/static").mkdir(parents=True)
    (tmp_path / "app/guestbook/file").touch()
    return str(tmp_path)


@pytest.mark.parametrize(
    "prefix", ["static/", "/static", "/", "", "//", "/sta tic/", "/a//b/", "/static/\n", "/$x/", "/(a)/"]
)
def test_a_static_path_without_slashes_is_reported(source: str, prefix: str) -> None:
    static = {prefix: "guestbook/static"}
    problem = one(problems(nginx_static=static, source_directory=source, source_subdirectory="app"))
    assert named(problem) == ("malformed-value", "nginx_static")
    assert repr(prefix) in problem.what


@pytest.mark.parametrize(
    "directory",
    ["/srv", "../static", "guestbook/../../static", "..", "", ".", "./", "sta tic", "static;", "$host", "static\n"],
)
def test_a_static_directory_outside_the_source_is_reported(source: str, directory: str) -> None:
    for more in ({}, {"source_directory": source, "source_subdirectory": "app"}):
        problem = one(problems(nginx_static={"/static/": directory}, **more))
        assert named(problem) == ("malformed-value", "nginx_static")
        assert repr(directory) in problem.what


def test_a_static_directory_in_the_source_is_accepted(source: str) -> None:
    static = {"/static/": "guestbook/static", "/assets/v1.2/~ada/": "guestbook/static/", "/all/": "guestbook"}
    assert problems(nginx_static=static, source_directory=source, source_subdirectory="app") == []
    assert problems(nginx_static={"/s/": "app/guestbook"}, source_directory=source) == []


# The client's header


@pytest.mark.parametrize(
    ("header", "proxies", "kind"),
    [
        ("X-Forwarded-For", [], ""),
        ("x-forwarded-for", [], ""),
        ("CF-Connecting-IP", ["10.0.0.0/8"], ""),
        ("X-Real-IP", ["10.0.0.0/8"], ""),
        ("CF-Connecting-IP", [], "untrusted-header"),
        ("Forwarded", ["10.0.0.0/8"], "unusable-header"),
        ("forwarded", ["10.0.0.0/8"], "unusable-header"),
        ("", ["10.0.0.0/8"], "malformed-value"),
        ("proxy_protocol", ["10.0.0.0/8"], "malformed-value"),
        ("X-Client;", ["10.0.0.0/8"], "malformed-value"),
        ("X-Client\n", ["10.0.0.0/8"], "malformed-value"),
        ("$host", ["10.0.0.0/8"], "malformed-value"),
    ],
)
def test_the_client_header_needs_a_trusted_proxy_and_a_valid_name(header: str, proxies: list[str], kind: str) -> None:
    found = problems(nginx_client_header=header, nginx_trusted_proxies=proxies)
    assert list(map(named, found)) == ([(kind, "nginx_client_header")] if kind else [])


# Below a path


@pytest.mark.parametrize("prefix", ["", "/shop", "/a/b-c_d/~e", "/v1.2"])
def test_a_valid_url_prefix_is_accepted(prefix: str) -> None:
    assert problems(url_prefix=prefix) == []


@pytest.mark.parametrize(
    "prefix",
    [
        *("/", "shop", "/shop/", "//shop", "/a//b", "/.well-known", "/a/../b", "/a/."),
        *("/a b", "/a;", "/$x", "/a\n", "/é", "/%2f"),
    ],
)
def test_an_invalid_url_prefix_is_reported(prefix: str) -> None:
    assert named(one(problems(url_prefix=prefix))) == ("malformed-value", "url_prefix")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("if ($http_user_agent ~ bad) { return 403; }", ["if"]),
        ("allow 10.0.0.0/8;\nrewrite ^/shop/old /shop/new; set $x 1;", ["rewrite", "set"]),
        ('add_header X "a; return 1 {";return 403;', ["return"]),
        ("location = /shop/x { if ($a) { return 200; } } # return 403;\nbreak;", ["break"]),
        ("location = /shop/x { return 200 '}; set'; }", []),
        ("# return 403;\nclient_body_timeout 3s;", []),
        ("add_header X-Set ${set}; deny all;", []),
        ("", []),
    ],
)
def test_directives_without_effect_in_a_shared_site_are_reported(text: str, told: list[str]) -> None:
    assert problems(nginx_inside=text) == []
    found = problems(nginx_inside=text, nginx_site_of="blog", url_prefix="/shop")
    assert list(map(named, found)) == [("ineffective-directive", "nginx_inside")] * bool(told)
    assert [", ".join(told) in problem.what for problem in found] == [True] * bool(told)


@pytest.mark.parametrize(
    ("owner", "prefix", "kind"),
    [
        ("blog", "/shop", ""),
        ("blog", "", "site-without-path"),
        ("shop", "/shop", "malformed-value"),
        ("Blog", "/shop", "malformed-value"),
        ("../x", "/shop", "malformed-value"),
    ],
)
def test_an_app_in_a_shared_site_needs_a_url_prefix(owner: str, prefix: str, kind: str) -> None:
    found = problems(nginx_site_of=owner, url_prefix=prefix)
    assert list(map(named, found)) == ([(kind, "nginx_site_of")] if kind else [])


@pytest.mark.parametrize("mode", ["provided", "acme"])
def test_an_app_in_a_shared_site_needs_no_certificate(mode: str) -> None:
    """Neither a given certificate nor the settings to request one are checked."""
    assert problems(tls=mode, nginx_site_of="blog", url_prefix="/shop") == []
    given = {"tls_certificate": "nonsense", "acme_email": "nonsense", "http_port": 8080}
    assert problems(tls=mode, nginx_site_of="blog", url_prefix="/shop", **given) == []
    assert problems(tls=mode, url_prefix="/shop", **given) != []


# Networks


@pytest.mark.parametrize("variable", ["nginx_trusted_proxies", "nginx_health_networks"])
@pytest.mark.parametrize("network", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example.org", "", "fe80::/129", "all"])
def test_an_invalid_network_is_reported(variable: str, network: str) -> None:
    problem = one(problems(**{variable: ["10.0.0.0/8", network]}))
    assert named(problem) == ("malformed-value", variable)
    assert repr(network) in problem.what
    assert "10.0.0.0/8" in problem.fix


@pytest.mark.parametrize("variable", ["nginx_trusted_proxies", "nginx_health_networks"])
@pytest.mark.parametrize("network", ["fe80::1%eth0", "2001:db8::1%x;}server{listen", "2001:db8::1%x y/128"])
def test_a_network_with_a_zone_is_refused(variable: str, network: str) -> None:
    problem = one(problems(**{variable: [network]}))
    assert named(problem) == ("malformed-value", variable)
    assert repr(network) in problem.what


@pytest.mark.parametrize("variable", ["nginx_trusted_proxies", "nginx_health_networks"])
def test_an_address_or_network_is_accepted(variable: str) -> None:
    assert problems(**{variable: ["10.0.0.0/8", "192.0.2.7", "::1", "fd00::/8"]}) == []
    assert problems(**{variable: []}) == []


# Ports, HTTP/3, HSTS


def test_using_one_port_twice_is_reported_only_with_tls() -> None:
    assert named(one(problems(tls="self_signed", http_port=8443, https_port=8443))) == ("same-port", "http_port")
    assert problems(tls="none", http_port=443) == []
    assert problems(tls="self_signed", http_port=8080, https_port=8443) == []


def test_http3_without_tls_is_reported() -> None:
    assert named(one(problems(nginx_http3=True))) == ("http3-without-tls", "nginx_http3")
    assert problems(tls="self_signed", nginx_http3=True) == []


@pytest.mark.parametrize(
    ("seconds", "subdomains", "right"),
    [(31536000, True, True), (63072000, True, True), (31535999, True, False), (63072000, False, False), (0, 1, False)],
)
def test_an_hsts_preload_that_browsers_would_reject_is_reported(seconds: int, subdomains: bool, right: bool) -> None:
    hsts = {"nginx_hsts_seconds": seconds, "nginx_hsts_subdomains": subdomains}
    found = problems(nginx_hsts_preload=True, **hsts)
    assert bool(found) is not right
    if found:
        assert named(one(found)) == ("hsts-preload", "nginx_hsts_preload")
        assert "31536000" in found[0].fix
    assert problems(nginx_hsts_preload=False, **hsts) == []
