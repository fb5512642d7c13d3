# SPDX-License-Identifier: GPL-3.0-or-later
"""A notification arrives, or becomes a warning that names variable, reason and host, and no more of the secret URL."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import BadStatusLine, InvalidURL
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from ansible_collections.greenlight.flask.plugins.plugin_utils import _notification
from ansible_collections.greenlight.flask.plugins.plugin_utils._notification import body, flaw, send

from tests.repository import repository

#: The URL after the host; no text may contain a part of it, in any case.
TOKEN = "/services/T0HUNTER2/B0hunter3/hunter4hunter4?key=hunter5&x=hunter6#hunter7"
HUNTED = re.compile("hunter", re.IGNORECASE)
CONTENT = body("guestbook is live.", {"app": "guestbook"})

Play = Callable[[BaseHTTPRequestHandler], object]


def status(code: int, **headers: str) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return play


@dataclass
class Webhook:
    """A real HTTP server: what it received, and its response by the first part of the path, by default success."""

    port: int = 0
    received: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    plays: dict[str, Play] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, scheme: str = "http", token: str = TOKEN) -> str:
        return f"{scheme}://127.0.0.1:{self.port}{token}"

    def sends(self, play: Play, seconds: float = 5) -> str:
        self.plays["services"] = play
        return send(self.url(), CONTENT, seconds)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            hook.received.append((self.command, self.path, dict(self.headers), content))
            hook.plays.get(self.path.split("/")[1], status(200))(self)

        do_POST = do_GET = answer  # noqa: N815  # as http.server looks for them

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield hook
        hook.over.set()
        server.shutdown()
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypass proxies: the webhook of these tests is on this machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    # These servers have no certificates, and loading this machine's authorities each time takes long.
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda context: None)


# What arrives


@pytest.mark.parametrize("code", [200, 202, 204])
def test_a_notification_arrives_as_json_at_the_full_url(webhook: Webhook, code: int) -> None:
    assert webhook.sends(status(code)) == ""
    [(method, path, headers, content)] = webhook.received
    assert (method, path) == ("POST", TOKEN.partition("#")[0])
    assert headers["Content-Type"] == "application/json"
    assert json.loads(content) == {"text": "guestbook is live.", "facts": {"app": "guestbook"}}


def test_without_facts_a_notification_has_only_a_text() -> None:
    assert json.loads(body("It is live.", {})) == {"text": "It is live."}


def test_a_notification_contains_control_characters_only_escaped() -> None:
    content = body("two\nlines\x1b[31m\0\u2028", {"a\r\n": "b\r\n"})
    assert re.search(rb"[^ -~]", content) is None
    assert json.loads(content) == {"text": "two\nlines\x1b[31m\0\u2028", "facts": {"a\r\n": "b\r\n"}}


def test_facts_keep_their_types_and_a_date_is_text() -> None:
    facts = {"text": "x", "whole": 1, "part": 0.5, "yes": True, "nothing": None}
    assert json.loads(body("", facts))["facts"] == facts
    assert json.loads(body("", {"day": datetime.date(2026, 11, 21)}))["facts"] == {"day": "2026-11-21"}


def test_a_long_message_is_visibly_truncated_and_one_that_fits_is_not() -> None:
    assert json.loads(body("é" * 3000, {}))["text"] == "é" * 3000
    assert json.loads(body("é" * 3001, {}))["text"] == "é" * 2999 + "…"


def test_user_and_password_of_the_url_are_sent_without_a_challenge(webhook: Webhook) -> None:
    assert send(webhook.url().replace("//", "//hunter:hunter2@"), CONTENT) == ""
    [(_, _, headers, _)] = webhook.received
    assert headers["Authorization"] == "Basic aHVudGVyOmh1bnRlcjI="


def test_passwords_of_other_programs_are_not_sent(
    webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password hunter9\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert send(webhook.url(), CONTENT) == ""
    assert "Authorization" not in webhook.received[0][2]


# What doesn't


@pytest.mark.parametrize("code", [400, 404, 429, 503])
def test_an_unsuccessful_response_is_reported_with_its_status(webhook: Webhook, code: int) -> None:
    assert webhook.sends(status(code)) == f"HTTP {code} from 127.0.0.1"
    assert len(webhook.received) == 1


@pytest.mark.parametrize(
    ("code", "location"),
    [
        *((code, "/elsewhere/hunter8") for code in (301, 302, 303, 307, 308)),
        *((302, location) for location in ("file:///etc/hunter8", "ftp://127.0.0.1/hunter8", "gopher:hunter8")),
    ],
)
def test_a_redirect_is_reported_and_not_followed(webhook: Webhook, code: int, location: str) -> None:
    reason = webhook.sends(status(code, Location=location))
    assert reason == f"HTTP {code} from 127.0.0.1, a redirect, which is not followed"
    assert len(webhook.received) == 1


def test_a_webhook_that_closes_without_a_response_is_reported(webhook: Webhook) -> None:
    reason = webhook.sends(lambda handler: handler.connection.shutdown(socket.SHUT_RDWR))
    assert reason == "127.0.0.1: Remote end closed connection without response"
    assert len(webhook.received) == 1


def test_a_hanging_webhook_times_out(webhook: Webhook) -> None:
    began = time.monotonic()
    assert webhook.sends(lambda handler: webhook.over.wait(60), 0.2) == ("127.0.0.1: no answer within 0.2 seconds")
    assert time.monotonic() - began < 30
    assert len(webhook.received) == 1


def test_a_response_that_is_not_http_is_reported_without_its_content(webhook: Webhook) -> None:
    reason = webhook.sends(lambda handler: handler.wfile.write(f"you asked {handler.path}\r\n\r\n".encode()))
    assert reason == "127.0.0.1: its answer is not HTTP"


def test_a_missing_webhook_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but nothing listens
        assert send(f"http://127.0.0.1:{taken.getsockname()[1]}{TOKEN}", CONTENT) == "127.0.0.1: Connection refused"


def test_a_webhook_without_tls_is_reported(webhook: Webhook) -> None:
    reason = send(webhook.url("https"), CONTENT)
    assert reason.startswith("127.0.0.1: [SSL")
    assert not HUNTED.search(reason)
    assert webhook.received == []


@pytest.mark.parametrize(
    "failure",
    [
        lambda url: ValueError(f"unknown url type: {url!r}"),
        lambda url: InvalidURL(f"URL can't contain control characters. {url.partition('127.0.0.1')[2]!r}"),
        BadStatusLine,
        lambda url: OSError(f"Tunnel to {url} failed"),
        lambda url: OSError(1, f"refused {url.partition('://')[2]}"),
        lambda url: URLError(f"no host in <{url}>"),
        lambda url: URLError(OSError(f"can't reach {url.partition('?')[0]}")),
        lambda url: KeyError(url.split("/")[-2]),
        lambda url: RuntimeError("unexpected", *re.split(r"[/?=&#@:]", url)),
        TimeoutError,
    ],
)
def test_a_library_error_is_reported_without_the_url(
    monkeypatch: pytest.MonkeyPatch, failure: Callable[[str], Exception]
) -> None:
    def fails(url: str, **_: object) -> None:
        raise failure(url)

    monkeypatch.setattr(_notification, "open_url", fails)
    reason = send(f"https://hunter:hunter2@127.0.0.1{TOKEN}", CONTENT)
    assert not HUNTED.search(reason)
    assert re.match(r"127\.0\.0\.1: \S", reason)


@pytest.mark.parametrize("shown", ["{}", "what is at {}?", "<{}>"])
@pytest.mark.parametrize(
    "part", ["https://user:pw@hooks.example.org/v1/k1/t2?s=q3", "/v1/k1/t2?s=q3", "/v1/k1/t2", "user:pw"]
)
def test_short_parts_of_a_url_are_masked_as_a_whole(monkeypatch: pytest.MonkeyPatch, part: str, shown: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError(shown.format(part))

    monkeypatch.setattr(_notification, "open_url", fails)
    reason = send("https://user:pw@hooks.example.org/v1/k1/t2?s=q3", CONTENT)
    assert reason == f"hooks.example.org: {shown.format('********')}"


def test_the_host_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(1, "the certificate is not valid for hooks.example.org")

    monkeypatch.setattr(_notification, "open_url", fails)
    reason = send(f"https://hooks.example.org{TOKEN}", CONTENT)
    assert reason == "hooks.example.org: the certificate is not valid for hooks.example.org"


# Invalid URLs


@pytest.mark.parametrize("port", ["", ":8443"])
@pytest.mark.parametrize("host", ["hooks.example.org", "HOOKS.example.org", "my_host", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_a_usable_url_has_no_flaw(scheme: str, host: str, port: str) -> None:
    assert flaw(f"{scheme}://{host}{port}{TOKEN}") == ""
    assert flaw(f"{scheme}://hunter:hunter2@{host}{port}") == ""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://hooks.example.org/hunter", "neither http nor https"),
        ("file:///etc/hunter", "neither http nor https"),
        ("hooks.example.org/services/hunter", "neither http nor https"),
        ("hunter", "neither http nor https"),
        ("http:/hooks.example.org/hunter", "malformed"),
        ("https:///services/hunter", "malformed"),
        ("https://hooks.example.org\\services\\hunter", "malformed"),
        ("https://hooks.example.org%2Fhunter", "malformed"),
        ("https://hooks.example.org:hunter", "malformed"),
        ("https://user:hunter/2@hooks.example.org", "malformed"),
        ("https://[hunter/", "malformed"),
        ("https://hunter\u2100@hooks.example.org/", "malformed"),
        ("https://hooks.example.org/hunter 2", "malformed"),
        ("https://hooks.example.org/hunter\n2", "malformed"),
        ("https://hooks.example.org/hünter", "malformed"),
        (["https://hooks.example.org/hunter"], "not text"),
        (2, "not text"),
    ],
)
def test_an_unusable_url_is_reported_without_any_part_of_it(url: Any, told: str) -> None:
    reason = flaw(url)
    assert reason == f"the URL is {told}"
    assert not HUNTED.search(reason)


# As a task


PLAY = """\
- hosts: shop
  gather_facts: false
  vars_files: [variables.json]
  tasks:
"""
TASK = """\
    - name: {name}
      greenlight.flask.notify:
        url_from: "{value}"
        message: It is live.
        facts: {{host: "{{{{ inventory_hostname }}}}", number: 1}}
      check_mode: {check}
      register: outcome
    - name: See {name}
      ansible.builtin.assert:
        that: [outcome is not changed, outcome is not failed, outcome.sent == {sent}, outcome is {skipped} skipped]
"""


@pytest.mark.slow
def test_a_play_continues_after_a_failed_notification_and_shows_no_url(webhook: Webhook, tmp_path: Path) -> None:
    webhook.plays["gone"] = status(404)
    variables = {
        "good": f"{webhook.url()}\n",
        "gone": "{{ vault_gone }}",
        "vault_gone": webhook.url(token=f"/gone{TOKEN}"),
        "malformed": webhook.url("https").replace("/", "\\"),
        "unreadable": f"{{{{ '{webhook.url()}' | no_such_filter }}}}",
        "incomplete": f"{webhook.url()}{{{{ vault_missing }}}}",
        "empty": "",
        "blank": " \n",
        "none": None,
    }
    cases = [
        ("good", False, True, False),
        ("good", True, False, False),
        ("gone", False, False, False),
        ("malformed", True, False, False),
        ("unreadable", False, False, False),
        ("incomplete", False, False, False),
        ("empty", False, False, True),
        ("blank", False, False, True),
        ("none", True, False, True),
        ("undefined", False, False, True),
    ]
    tasks = [
        TASK.format(name=name, value=name, check=check, sent=sent, skipped="" if skipped else "not")
        for name, check, sent, skipped in cases
    ]
    # This one sets a variable, so the play ends there.
    tasks.append(TASK.format(name="wrong", value="{{ good }}", check=False, sent=False, skipped="not"))
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    (tmp_path / "play.yml").write_text(PLAY + "".join(tasks))
    # The host is unreachable, but nothing connects to it.
    done = play("-vvvv", directory=tmp_path)
    said = " ".join(f"{done.stdout} {done.stderr}".split())
    assert (done.returncode, said.count("TASK [See "), said.count("failed=1")) == (2, len(cases), 1), said
    assert "TASK [wrong]" in said
    assert "url_from must be the name of a variable" in said
    assert not HUNTED.search(said.replace(" ", ""))  # Ansible breaks long words
    warnings = re.findall(r"\[WARNING\]: the notification was not sent: (.*?; check \w+)", said)
    assert set(warnings) == {
        "HTTP 404 from 127.0.0.1; check gone",
        "the URL is malformed; check malformed",
        "the URL can't be read (AnsibleTemplateSyntaxError); check unreadable",
        "vault_missing is undefined; check incomplete",
    }
    content = {"text": "It is live.", "facts": {"host": "shop", "number": 1}}
    received = [(path, json.loads(content)) for _, path, _, content in webhook.received]
    path = TOKEN.partition("#")[0]
    assert received == [(path, content), (f"/gone{path}", content)]


def play(*words: str, directory: Path) -> Any:
    return repository.run(
        repository.tool("ansible-playbook"),
        "--inventory=shop,",
        *words,
        "play.yml",
        directory=directory,
        ANSIBLE_COLLECTIONS_PATH=str(repository.ROOT / "collections"),
    )
