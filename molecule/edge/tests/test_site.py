# SPDX-License-Identifier: GPL-3.0-or-later
"""What visitors, browsers and proxies get from the site in addition to the app's own pages, seen from outside."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.deployed import APP, ROOT, SITE, Server, connect, run_play
from tests.support.load.load import HALVES, Load

#: The name depends on the content, so browsers may keep the file.
FINGERPRINTED = "app.0123456789abcdef.css"
CSS = "body { color: black }\n" * 100
#: Shows a request as the app sees it.
ECHO = """

@pages.get("/echo")
def echo() -> Response:
    return jsonify(headers={**request.headers}, remote=request.remote_addr, scheme=request.scheme, host=request.host)


@pages.post("/header/<int:length>")
def header(length: int) -> Response:
    return Response("done", headers={"X-Long": "x" * length})
"""
HEADERS_ONLY = ("--output", "/dev/null", "--dump-header", "-")
MAINTENANCE = ROOT / "playbooks/maintenance.yml"


def source(directory: Path, *, fingerprinted: bool) -> str:
    """Make the example app with static files of every kind; the second release lacks the fingerprinted one."""
    made = variants.make("good_change", directory, label=f"label {time.time_ns()}")
    with (made / "guestbook/views.py").open("a") as views:
        views.write(ECHO)
    static = made / "guestbook/static"
    (static / "plain.css").write_text(CSS)
    (static / ".hidden").write_text("not for visitors")
    (static / "packed.css").write_text(CSS)
    (static / "packed.css.gz").write_bytes(gzip.compress(CSS.encode()))
    (made / "guestbook/themes").mkdir()
    (made / "guestbook/themes/dark.css").write_text(CSS)
    (static / "themes").symlink_to("../themes")
    (static / "linked.css").symlink_to("themes/dark.css")
    if fingerprinted:
        (static / FINGERPRINTED).write_text(CSS)
    return str(made)


SETTINGS: dict[str, Any] = {
    "flask_app_tls": "self_signed",
    "flask_app_nginx_hsts_seconds": 600,
    "flask_app_nginx_hsts_subdomains": True,
    "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"],
    "flask_app_nginx_headers": {"Permissions-Policy": "", "X-Extra": 'said "so"'},
    "flask_app_nginx_before": "map $arg_x $from_before { default none; ~. $arg_x; }",
    "flask_app_nginx_inside": "location = /inside {\n    default_type text/plain;\n    return 200 $from_before;\n}",
    "flask_app_nginx_after": "server { listen 127.0.0.1:8099; return 204; }",
}


@pytest.fixture(scope="module", autouse=True)
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Deploy two releases, so that one is the previous; restore the inventory's state afterwards."""
    directory = tmp_path_factory.mktemp("app")
    for number, fingerprinted in enumerate((True, False)):
        SETTINGS["flask_app_source_directory"] = source(directory / str(number), fingerprinted=fingerprinted)
        done = run_play(**SETTINGS)
        assert done.code == 0, done.output
    yield SETTINGS
    assert run_play().code == 0


def log(server: Server) -> list[dict[str, Any]]:
    """Return the last lines of the access log."""
    return [json.loads(line) for line in server.root(f"tail -n 20 /var/log/nginx/{APP}.access.log").splitlines()]


# Names and ways in


def test_http_redirects_to_https_and_keeps_method_and_query(server: Server) -> None:
    answer = server.curl("/sign?a=b", "--data", "name=x", scheme="http")
    assert (answer.status, answer.headers["location"]) == (308, f"https://{SITE}/sign?a=b")


def test_http2_works(server: Server) -> None:
    assert server.curl("/", "--http2").headers[":version"] == "HTTP/2"


def test_an_unknown_host_name_gets_no_response_and_no_certificate(server: Server) -> None:
    assert server.curl("/", site="other.test", scheme="http").status == 0
    refused = server.curl("/", site="other.test")
    assert refused.status == 0
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.https_port}", "-servername", "other.test"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "unrecognized name" in done.stderr
    assert "BEGIN CERTIFICATE" not in done.stdout


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_obsolete_tls_is_refused(server: Server, version: str) -> None:
    assert server.curl("/", f"--tlsv{version}", "--tls-max", version, "--ciphers", "ALL:@SECLEVEL=0").status == 0


# Headers


def test_security_headers_are_sent_and_can_be_changed_or_removed(server: Server) -> None:
    headers = server.curl("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert headers["x-extra"] == 'said "so"'
    assert "permissions-policy" not in headers
    assert headers["strict-transport-security"] == "max-age=600; includeSubDomains"
    assert headers["server"] == "nginx"


def test_security_headers_are_on_responses_from_nginx_itself(server: Server) -> None:
    for path in ("/static/plain.css", "/inside", "/nothing-here"):
        assert server.curl(path).headers["x-content-type-options"] == "nosniff", path


def test_a_header_from_the_app_takes_precedence(server: Server) -> None:
    """The health page sets its own Cache-Control; Nginx adds no second one."""
    answer = server.curl("/health")
    assert answer.headers["cache-control"] == "no-store"


# Client addresses and request ids


def test_a_request_id_is_generated_passed_on_logged_and_returned(server: Server) -> None:
    made = server.curl("/").headers["x-request-id"]
    assert len(made) == 32
    own = server.curl("/", "--header", "X-Request-ID: my-own-id-1").headers["x-request-id"]
    assert own == "my-own-id-1"
    hostile = server.curl("/", "--header", 'X-Request-ID: "}<script>').headers["x-request-id"]
    assert "script" not in hostile
    assert [line["request_id"] for line in log(server)][-3:] == [made, own, hostile]


def echo(server: Server, *claims: str) -> dict[str, Any]:
    """Return what the app sees of a request with these headers."""
    options = [word for claim in claims for word in ("--header", claim)]
    found: dict[str, Any] = server.curl("/echo", *options).json
    return found


def test_the_app_gets_the_request_id(server: Server) -> None:
    assert echo(server, "X-Request-ID: my-own-id-1")["headers"]["X-Request-Id"] == "my-own-id-1"


def test_the_app_sees_the_client_that_a_trusted_proxy_reports(server: Server) -> None:
    seen = echo(server, "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http")
    assert (seen["remote"], seen["scheme"]) == ("203.0.113.9", "http")
    assert echo(server, "X-Forwarded-For: 203.0.113.9")["scheme"] == "https"


def test_a_candidate_cannot_be_reached_by_guessing(server: Server) -> None:
    answer = server.curl("/health", "--header", "X-Greenlight-Rehearsal: candidate")
    assert (answer.status, answer.json["release"]) == (200, server.live)
    word = server.root(f"cut -d '\"' -f 2 /etc/{APP}/rehearsal.map")
    assert server.curl("/health", "--header", f"X-Greenlight-Rehearsal: {word}").status == 502  # no candidate now


def test_the_client_address_comes_from_a_trusted_proxy(server: Server) -> None:
    server.curl("/", "--header", "X-Forwarded-For: 203.0.113.9")
    assert log(server)[-1]["client"] == "203.0.113.9"


def test_the_access_log_is_valid_json_with_release_and_times(server: Server) -> None:
    server.curl('/?q="quote"\\', "--header", 'User-Agent: "agent"')
    line = log(server)[-1]
    assert line["release"] == server.live
    assert (line["status"], line["method"], line["tls"]) == (200, "GET", "TLSv1.3")
    assert float(line["upstream_seconds"]) <= line["request_seconds"] + 0.01
    assert line["user_agent"] == '"agent"'


def test_a_client_cannot_break_the_log_format(server: Server) -> None:
    """Try bytes that are not text, a control character above ASCII, and one that reverses the text direction."""
    for more in ("\udcff", "\udc9b31m", "\x9b31m", "\u202e", "\x1b[2J", "\x7f"):
        server.curl("/", "--http1.1", "--header", f"User-Agent: agent{more}", "--header", f"Referer: http://x/{more}")
        line = log(server)[-1]
        assert line["user_agent"] == "agent [cut]"
        assert line["referer"] == "http://x/ [cut]"


def test_the_error_log_contains_no_terminal_control_characters(server: Server, tmp_path: Path) -> None:
    """A body that is too large is an error; Nginx logs it with the request, its Host and its Referer."""
    path = f"/var/log/nginx/{APP}.error.log"
    (tmp_path / "body").write_bytes(b"x" * (17 * 2**20))
    large = ("--http1.1", "--data-binary", f"@{tmp_path}/body")
    before = int(server.root(f"stat -c %s {path}"))
    assert server.curl("/?seen", *large, "--header", "Referer: http://x/é").status == 413
    for options in (large, ("--http2",)):
        for more in ("\x1b[2J", "\x01", "\x7f", "\x9b31m"):
            answer = server.curl("/?hidden", *options, "--header", f"Referer: http://x/{more}")
            assert answer.status == 400, (options, more)
    assert server.curl("/?hidden\x9b31m", *large).status == 400
    assert server.curl("/static/%1b%5b2J").status == 404
    written = server.root(f"tail -c +{before + 1} {path}")
    assert ("/?seen" in written, "hidden" in written) == (True, False)
    assert not set(written) & {*map(chr, range(9)), *map(chr, range(11, 32)), *map(chr, range(127, 160))}


def test_a_rotated_log_stays_private_and_logging_continues(server: Server) -> None:
    path = f"/var/log/nginx/{APP}.access.log"
    server.curl("/?before")
    server.root("logrotate --force /etc/logrotate.d/nginx")
    server.curl("/?after")
    assert "/?before" in server.root(f"cat {path}.1")
    assert [line["uri"] for line in log(server)] == ["/?after"]
    assert server.root(f"stat -c '%a %U:%G' {path}") == "640 www-data:adm"


# Static files


def test_a_fingerprinted_file_of_the_previous_release_is_served_for_a_year(server: Server) -> None:
    assert server.host.run(f"ls /srv/{APP}/live/source/guestbook/static/{FINGERPRINTED}").rc != 0
    answer = server.curl(f"/static/{FINGERPRINTED}")
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert log(server)[-1]["upstream_status"] == ""


def test_other_static_files_are_revalidated_on_each_request(server: Server) -> None:
    answer = server.curl("/static/style.css")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
    again = server.curl("/static/style.css", "--header", f"If-None-Match: {answer.headers['etag']}")
    assert again.status == 304
    assert "x-release" not in answer.headers  # not from the app


@pytest.mark.parametrize(
    ("path", "asked"), [("/static/none.css", True), ("/static/.hidden", False), ("/static/a/.git/config", False)]
)
def test_a_missing_static_path_goes_to_the_app_unless_it_is_hidden(server: Server, path: str, asked: bool) -> None:
    answer = server.curl(path)
    assert (answer.status, "x-release" in answer.headers) == (404, asked)


def test_nothing_outside_the_static_directories_is_served(server: Server) -> None:
    for path in ("/static/../config.py", "/static/%2e%2e/config.py", "/static/..%2fconfig.py", "/live/release.json"):
        answer = server.curl(path, "--path-as-is")
        assert answer.status in (400, 404), path


def test_links_within_the_release_are_served_and_links_out_of_it_are_not(server: Server) -> None:
    """A source with a link that leads out never gets here: molecule/default/tests/test_inputs.py tests its refusal."""
    for path in ("/static/linked.css", "/static/themes/dark.css"):
        answer = server.curl(path)
        assert (answer.status, answer.body, "x-release" in answer.headers) == (200, CSS, False), path
    links = (
        # The excluded link is the role's own, to the app's state; see the next test.
        f"find /srv/{APP}/sources -type l -not -path '*/instance'"
    )
    leading = f"{links} -exec realpath --canonicalize-missing {{}} +"
    found = server.root(leading).splitlines()
    assert found
    assert [path for path in found if not path.startswith(f"/srv/{APP}/sources/")] == []
    assert server.host.run(f"find /srv/{APP}/sources -not -user root -o -perm /022 -not -type l | grep .").rc == 1


@pytest.fixture
def links_out(server: Server) -> Iterator[str]:
    """Make links that only root can make, and world-readable files of the app's account; yield their path."""
    static, state = f"/srv/{APP}/live/source/guestbook/static", f"/var/lib/{APP}"
    mode = server.root(f"stat -c %a {state}")
    server.root(
        f"ln -s ../../instance {static}/state && ln -s /etc/passwd {static}/passwd && chmod 755 {state}"
        f" && echo kept >{state}/kept.css && ln -s /etc/passwd {state}/passwd.css"
        f" && chown --no-dereference {APP}: {state}/kept.css {state}/passwd.css"
    )
    yield "/static"
    server.root(f"rm {static}/state {static}/passwd {state}/kept.css {state}/passwd.css && chmod {mode} {state}")


def test_a_file_not_owned_by_root_is_not_served(server: Server, links_out: str) -> None:
    """Nginx hands such a path to the app, which may answer with whatever it can read itself."""
    for path in ("state/kept.css", "state/passwd.css", "state/"):
        server.curl(f"{links_out}/{path}")
        assert log(server)[-1]["upstream_status"] != "", path
    # Nginx follows links from root to root, so that sources may have links; the check of the source refuses this one.
    assert server.curl(f"{links_out}/passwd").body.startswith("root:")
    assert log(server)[-1]["upstream_status"] == ""


def test_precompressed_files_are_used(server: Server) -> None:
    answer = server.curl("/static/packed.css", *HEADERS_ONLY, "--header", "Accept-Encoding: gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(gzip.compress(CSS.encode()))


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_text_responses_are_compressed(server: Server, coding: str) -> None:
    for path in ("/static/plain.css", "/"):
        answer = server.curl(path, *HEADERS_ONLY, "--header", f"Accept-Encoding: {coding}")
        assert answer.headers["content-encoding"] == coding, path
        assert "Accept-Encoding" in answer.headers["vary"].split(", "), path


# Limits, and access to the health page


def test_a_body_above_the_limit_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * (17 * 2**20))
    assert server.curl("/upload", "--data-binary", f"@{tmp_path}/body").status == 413
    (tmp_path / "body").write_bytes(b"x" * (15 * 2**20))
    answer = server.curl("/upload", "--data-binary", f"@{tmp_path}/body", "--header", "Expect:")
    assert (answer.status, answer.json["length"]) == (200, 15 * 2**20)


@pytest.mark.parametrize(("length", "status"), [(30_000, 200), (40_000, 502)])
def test_a_long_response_header_arrives_and_a_lost_response_is_a_502(server: Server, length: int, status: int) -> None:
    answer = server.curl(f"/header/{length}", "--data", "a=b")
    assert (answer.status, "retry-after" in answer.headers) == (status, False)


# The user's own snippets


def test_snippets_are_included_before_inside_and_after_the_server(server: Server) -> None:
    assert server.curl("/inside?x=hello").body == "hello"
    assert server.curl("/inside").body == "none"
    done = server.root("python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8099/\").status)'")
    assert done == "204"


#: Answers instead of the app, even for its health page.
CLOSED = "if ($uri !~ ^/static/) {\n    return 403;\n}"


def test_a_site_that_loses_the_app_is_reverted_within_seconds(deployed: dict[str, Any], one_server: Server) -> None:
    files = "find /etc/nginx -type f -exec sha256sum {} + | sort"
    before = (one_server.live, one_server.root(files))
    with Load(one_server.https_url, SITE, 50, mix=HALVES[1], max_seconds=280) as load:
        done = run_play(**{**deployed, "flask_app_nginx_inside": CLOSED}, limit=one_server.name)
        assert one_server.curl("/").status == 200
    assert done.code != 0
    assert done.finds(f"site-taken-back:{APP}"), done.output
    assert ("flask_app_nginx_inside" in done.prose, "403" in done.prose) == (True, True), done.output
    assert (one_server.live, one_server.root(files)) == before
    assert one_server.curl("/inside?x=hello").body == "hello"
    assert load.result.failures.keys() <= {"status"}, str(load.result)
    assert load.result.failed <= 50 * 3, str(load.result)  # seconds, on a busy machine
    done = run_play(**deployed, limit=one_server.name)
    assert (done.code, done.count("changed")) == (0, 0), done.output


# Maintenance


def test_maintenance_shows_a_page_without_affecting_health_or_deploys(
    deployed: dict[str, Any], one_server: Server
) -> None:
    page = "<p>Back at noon</p>"
    done = run_play(playbook=MAINTENANCE, limit=one_server.name, flask_app_maintenence=False)
    assert (done.code != 0, "flask_app_maintenance" in done.prose) == (True, True)
    assert one_server.curl("/").status == 200
    begun = {"flask_app_maintenance": True, "flask_app_maintenance_page": page}
    done = run_play(playbook=MAINTENANCE, limit=one_server.name, **begun)
    assert done.code == 0, done.output
    for options in ((), ("--data", "a=b")):
        answer = one_server.curl("/", *options)
        assert (answer.status, answer.body) == (503, page)
        assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("10", "no-store")
    assert one_server.curl("/health").json["status"] == "ok"
    assert run_play(**deployed, limit=one_server.name).code == 0
    assert one_server.curl("/").status == 503
    for changed in (1, 0):
        done = run_play(playbook=MAINTENANCE, limit=one_server.name, flask_app_maintenance=False)
        assert (done.code, done.count("changed")) == (0, changed), done.output
    assert one_server.curl("/").status == 200


# The site with other settings, on one of the servers, from here to the end of this file

OTHER_SETTINGS: dict[str, Any] = {
    "flask_app_nginx_http3": True,
    "flask_app_nginx_trusted_proxies": [],
    "flask_app_nginx_health_networks": [],
    "flask_app_nginx_rate_limit": 5,
}


@pytest.fixture(scope="module")
def reconfigured(deployed: dict[str, Any]) -> Server:
    """Reinstall Nginx after somebody removed it. By hand that fails, because its package starts it without Brotli."""
    server = connect("debian13")
    assert server.curl("/health").status == 200
    apt = "DEBIAN_FRONTEND=noninteractive apt-get --yes --no-install-recommends"
    server.root(f"{apt} remove nginx")
    assert server.host.run(f"{apt} install nginx libnginx-mod-http-brotli-filter").rc != 0
    done = run_play(**{**deployed, **OTHER_SETTINGS}, limit=server.name)
    assert done.code == 0, done.output
    assert server.root("dpkg --audit") == ""
    return server


# This test is first: the limit has counted no request yet.
def test_requests_above_the_rate_limit_get_429_except_static_files(reconfigured: Server) -> None:
    answers = [reconfigured.curl("/").status for _ in range(40)]
    assert answers[:10] == [200] * 10  # the burst is twice the rate
    assert 429 in answers
    assert {reconfigured.curl("/static/plain.css").status for _ in range(20)} == {200}


def test_http3_works_if_nginx_supports_it(reconfigured: Server) -> None:
    reconfigured.root("DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends curl >/dev/null")
    assert reconfigured.curl("/").headers["alt-svc"] == 'h3=":443"; ma=86400'
    said = reconfigured.root(f"curl -sik --http3-only --resolve {SITE}:443:127.0.0.1 https://{SITE}/ | head -n 1")
    assert said.startswith("HTTP/3 200")


def test_forged_proxy_headers_of_a_client_do_not_reach_the_app(reconfigured: Server) -> None:
    forged = ["X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Real-Ip", "Forwarded"]
    claims = [f"{name}: forged" for name in forged]
    seen = echo(reconfigured, "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", *claims)
    assert (seen["remote"] != "203.0.113.9", seen["scheme"]) == (True, "https")
    assert set(forged).isdisjoint(seen["headers"])


def test_a_client_address_from_an_untrusted_peer_is_ignored(reconfigured: Server) -> None:
    reconfigured.curl("/", "--header", "X-Forwarded-For: 203.0.113.9")
    assert log(reconfigured)[-1]["client"].startswith("10.")


def test_the_health_page_is_limited_to_the_listed_networks(reconfigured: Server) -> None:
    assert reconfigured.curl("/health").status == 403
