# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own rules: whom it polls, what counts as new traffic, which rows it prints."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.deploy import Benchmark, BenchmarkError, Run, Series, Site, first_change, parse, release_in, report

OLD, NEW = "20261121T110147Z-ba11dccf", "20261121T105900Z-0123abcd"
URL = "http://127.0.0.1:28201"
RECAP = "staging1 : ok=9 changed=4 unreachable=0 failed=0 skipped=0\n"


@pytest.mark.parametrize(
    ("arguments", "site"),
    [
        ([URL], Site("127.0.0.1", 28201, "/health", "127.0.0.1:28201")),
        ([f"{URL}/", "--site", "a.example"], Site("127.0.0.1", 28201, "/health", "a.example")),
        ([f"{URL}/up/health"], Site("127.0.0.1", 28201, "/up/health", "127.0.0.1:28201")),
        (["http://127.8.0.1"], Site("127.8.0.1", 80, "/health", "127.8.0.1")),
        (["http://[::1]:8080"], Site("::1", 8080, "/health", "[::1]:8080")),
        (["http://a.localhost:8080"], Site("127.0.0.1", 8080, "/health", "a.localhost:8080")),
    ],
)
def test_a_url_of_this_machine_says_where_the_health_page_is(arguments: list[str], site: Site) -> None:
    assert parse(["--url", *arguments]).site == site


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://192.0.2.1:28201", "is not on this machine"),
        ("http://example.org", "is not on this machine"),
        ("http://localhost.example.org", "is not on this machine"),
        ("http://127.0.0.1.example.org", "is not on this machine"),
        ("http://0.0.0.0:28201", "is not on this machine"),
        ("http://[2001:db8::1]:80", "is not on this machine"),
        ("http://", "is not on this machine"),
        ("http://127.0.0.1@example.org", "is not of the form"),
        ("https://127.0.0.1:28201", "is not of the form"),
        ("127.0.0.1:28201", "is not of the form"),
        ("http://127.0.0.1/health?deep=1", "is not of the form"),
        ("http://127.0.0.1/a b", "is not of the form"),
        ("http://127.0.0.1:port", "is not a URL"),
        ("http://[::1", "is not a URL"),
    ],
)
def test_any_other_url_is_refused_in_one_sentence(url: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--url", url])
    said = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2
    assert f": error: --url {url!r} {why}" in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--site", "a.example"], "--url, which is missing"),
        (["--url", URL, "--site", "a\r\nX: b"], "can't be a Host header"),
    ],
)
def test_a_site_that_can_not_be_asked_for_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "release"),
    [
        (json.dumps({"status": "ok", "release": NEW}).encode(), NEW),
        (b'{"status": "ok"}', ""),
        (b'{"release": null}', ""),
        (b'["release"]', ""),
        (b"This site is not available right now.\n", ""),
        (b"\xff\xfe\xfd", ""),
        (b"", ""),
    ],
)
def test_only_a_health_answer_that_names_its_release_says_which_one_answers(body: bytes, release: str) -> None:
    assert release_in(body) == release


@pytest.fixture
def asked() -> Iterator[tuple[Site, list[tuple[str, str | None]]]]:
    """A site that answers from NEW, and what it was asked: path and Host header."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Host"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"release": NEW}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site("127.0.0.1", server.server_port, "/up", "a.example"), seen
        server.shutdown()
        thread.join()


def test_the_health_page_is_asked_for_by_the_name_of_the_site(
    asked: tuple[Site, list[tuple[str, str | None]]],
) -> None:
    site, seen = asked
    assert site.release() == NEW
    assert seen == [("/up", "a.example")]


def test_a_site_where_nobody_listens_names_no_release(asked: tuple[Site, list[tuple[str, str | None]]]) -> None:
    nobody = dataclasses.replace(asked[0], address="127.0.0.2")
    assert nobody.release() == ""


def test_new_traffic_is_the_first_answer_of_another_release_and_no_silence() -> None:
    answers = iter([OLD, "", OLD, NEW])
    instants = []

    def ask() -> str:
        instants.append(time.perf_counter())
        return next(answers)

    seen = first_change(ask, OLD, threading.Event())
    assert len(instants) == 4
    assert seen is not None
    assert instants[-1] <= seen <= time.perf_counter()


def test_a_play_that_has_ended_is_followed_by_one_last_question() -> None:
    ended = threading.Event()
    answers = [OLD, OLD, NEW]

    def ask() -> str:
        if len(answers) == 2:
            ended.set()
        return answers.pop(0)

    assert first_change(ask, OLD, ended) is not None
    answers[:] = [OLD, NEW]
    assert first_change(ask, OLD, ended) is None
    assert answers == [NEW]


class Host(Benchmark):
    """A host and its site without a machine: what is live, what was done, and how the rollback ends."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        super().__init__(parse(["--rounds", "2", *arguments]), directory)
        self.wanted = self.live = "r0"
        self.previous = ""
        self.done: list[str] = []
        self.rollback_error: BenchmarkError | None = None
        self.rollback_output = RECAP
        self.mute = self.stuck = False

    def answer(self) -> str:
        return "" if self.mute else self.live

    def change_code(self) -> None:
        self.round += 1
        self.wanted = f"r{self.round}"

    def reference(self, series: Series) -> None:
        series.empty.append(1.0)
        series.task.append(0.5)

    def deploy(self, *, original: bool = False) -> tuple[float, int]:
        changed = self.live != self.wanted
        if changed:
            self.previous, self.live = self.live, self.wanted
        self.done.append(f"deploy {self.live}" if changed else "nothing")
        return 4.0, int(changed)

    def play(self, playbook: str | Path, *extra: str) -> tuple[float, str]:
        self.done.append(" ".join([str(playbook), *extra]))
        if self.rollback_error:
            raise self.rollback_error
        if not self.stuck:
            self.previous, self.live = self.live, self.previous
        return 1000.0, self.rollback_output

    def ledger(self) -> dict[str, float]:
        return {"live": 0.25, "retired": 0.125}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path, "--url", URL)
    monkeypatch.setattr(Site, "release", lambda _: made.answer())
    return made


def test_each_round_rolls_its_code_change_back_and_the_next_begins_with_nothing_to_change(host: Host) -> None:
    series = host.rounds()
    rollback = "playbooks/rollback.yml --limit staging1"
    assert host.done == [
        *("nothing", "nothing", "deploy r1", rollback),
        *("deploy r1", "nothing", "deploy r2", rollback),
    ]
    assert host.live == "r1"
    assert {name: (len(each.runs), each.figures()["trivial_task_seconds"]) for name, each in series.items()} == {
        "nothing": (2, 0.5),
        "change": (2, 0.5),
        "rollback": (2, 0.5),
    }


def test_without_a_url_nothing_is_rolled_back_and_there_is_no_row_of_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    series = host.rounds()
    assert host.done == ["nothing", "nothing", "deploy r1", "nothing", "deploy r2"]
    text = report(host.options, {name: each.figures() for name, each in series.items()})
    assert "code change" in text
    assert "rollback" not in text


def test_a_rollback_lasts_to_new_traffic_and_has_a_start_but_no_drain(host: Host) -> None:
    host.live, host.previous = "r1", "r0"
    assert host.options.site is not None
    run = host.rollback(host.options.site)
    assert 0 < run.seconds < 1000, "the play's own seconds, to its end"
    assert (run.candidate_seconds, run.drain_seconds) == (0.25, None)


def test_a_rollback_is_read_by_the_empty_play_the_trivial_task_and_the_start(tmp_path: Path) -> None:
    series = Series([Run(4.0, 0.5)], [1.0], [0.5])
    text = report(parse(["--url", URL]), {"rollback": series.figures()})
    row = next(line for line in text.splitlines() if line.startswith("rollback "))
    assert row.split() == ["rollback", "6.0", "5.0", "4.00", "1.00", "0.500", "0.50", "-"]


def test_a_rollback_without_figures_says_why_in_one_sentence(host: Host) -> None:
    site = host.options.site
    assert site is not None
    host.stuck = True
    with pytest.raises(BenchmarkError, match=r"^After the rollback http://127.0.0.1:28201/health .* is still r0: "):
        host.rollback(site)
    host.rollback_output = RECAP.replace("staging1", "staging2")
    with pytest.raises(BenchmarkError, match="ran without staging1"):
        host.rollback(site)
    host.rollback_error = BenchmarkError("This failed")
    with pytest.raises(BenchmarkError, match=r"^This failed$"):
        host.rollback(site)
    host.done.clear()
    host.mute = True
    with pytest.raises(BenchmarkError, match=r"^No answer of http://127.0.0.1:28201/health .* says which release"):
        host.rollback(site)
    assert host.done == [], "without an answer nothing is rolled back"
