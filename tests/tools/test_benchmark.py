# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own rules: which host it polls, what counts as new traffic, which rows it prints."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from benchmarks.deploy import Benchmark, BenchmarkError, Run, Series, Site, first_change, parse, release_in, report

URL = "http://127.0.0.1:28201"
RECAP = "staging1 : ok=9 changed=4 unreachable=0 failed=0 skipped=0\n"


def test_a_local_url_gives_the_address_of_the_health_page() -> None:
    for words, site in {
        f"{URL}/ --site a.example": Site("127.0.0.1", 28201, "/health", "a.example"),
        f"{URL}/up/health": Site("127.0.0.1", 28201, "/up/health", "127.0.0.1:28201"),
        "http://127.8.0.1": Site("127.8.0.1", 80, "/health", "127.8.0.1"),
        "http://[::1]:8080": Site("::1", 8080, "/health", "[::1]:8080"),
        "http://a.localhost:8080": Site("127.0.0.1", 8080, "/health", "a.localhost:8080"),
    }.items():
        assert parse(["--url", *words.split()]).site == site


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        *((["--url", f"http://{host}"], "is not on this machine") for host in ("192.0.2.1:28201", "0.0.0.0:80", "")),
        *((["--url", f"http://{host}.example.org"], "is not on this machine") for host in ("localhost", "127.0.0.1")),
        (["--url", "http://127.0.0.1@example.org"], "is not of the form"),
        (["--url", "https://127.0.0.1:28201"], "is not of the form"),
        (["--url", "http://127.0.0.1/health?deep=1"], "is not of the form"),
        (["--url", "http://127.0.0.1/a b"], "is not of the form"),
        (["--url", "http://127.0.0.1:port"], "is not a URL"),
        (["--site", "a.example"], "--url, which is missing"),
        (["--url", URL, "--site", "a\r\nX: b"], "can't be a Host header"),
    ],
)
def test_a_site_not_on_this_machine_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err.splitlines()[-1]


def test_the_health_page_is_requested_with_the_name_of_the_site() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        site = Site("127.0.0.1", server.getsockname()[1], "/up", "a.example")
        asked: list[bytes] = []

        def answer() -> None:
            with server.accept()[0] as connection:
                asked.append(connection.recv(4096))
                connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"release": "r1"}')

        thread = threading.Thread(target=answer)
        thread.start()
        assert site.release() == "r1"
        thread.join()
    assert asked[0].startswith(b"GET /up HTTP/1.1\r\n")
    assert b"\r\nHost: a.example\r\n" in asked[0]
    assert site.release() == "", "now nobody listens"


def test_only_a_health_response_with_a_release_identifies_it() -> None:
    for body in (b'{"status": "ok"}', b'{"release": null}', b'["release"]', b"not available", b"\xff\xfe", b""):
        assert release_in(body) == ""


def test_new_traffic_starts_with_the_first_response_of_another_release() -> None:
    answers, instants = ["old", "", "old", "new"], [0.0]

    def ask() -> str:
        instants.append(time.perf_counter())
        return answers.pop(0)

    seen = first_change(ask, "old", threading.Event())
    assert answers == []
    assert seen is not None
    assert instants[-1] <= seen <= time.perf_counter()


def test_one_last_request_follows_the_end_of_the_play() -> None:
    ended, answers = threading.Event(), ["old", "old", "new"]

    def ask() -> str:
        if len(answers) == 2:
            ended.set()
        return answers.pop(0)

    assert first_change(ask, "old", ended) is not None
    answers[:] = ["old", "new"]
    assert first_change(ask, "old", ended) is None
    assert answers == ["new"]


class Host(Benchmark):
    """A host and its site, simulated: what is live, what was done, and how the rollback ends."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        super().__init__(parse(["--rounds", "2", *arguments]), directory)
        self.wanted = self.live = "r0"
        self.previous = ""
        self.done: list[str] = []
        self.rollback_output = RECAP
        self.mute = self.stuck = False

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
        if not self.stuck:
            self.previous, self.live = self.live, self.previous
        return 1000.0, self.rollback_output

    def ledger(self) -> dict[str, float]:
        return {"live": 0.25, "retired": 0.125}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path, "--url", URL)
    monkeypatch.setattr(Site, "release", lambda _: "" if made.mute else made.live)
    return made


def test_each_round_rolls_back_its_change_and_the_next_starts_unchanged(host: Host) -> None:
    series = host.rounds()
    rollback = "playbooks/rollback.yml --limit staging1"
    first = ("nothing", "nothing", "deploy r1", rollback)
    assert host.done == [*first, "deploy r1", "nothing", "deploy r2", rollback]
    assert {name: len(each.runs) for name, each in series.items()} == {"nothing": 2, "change": 2, "rollback": 2}
    for run in series["rollback"].runs:
        assert 0 < run.seconds < 1000, "to new traffic, and not to the end of the play"
        assert (run.candidate_seconds, run.drain_seconds) == (0.25, None)


def test_without_a_url_there_is_no_rollback_and_no_row_for_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    text = report(host.options, {name: each.figures() for name, each in host.rounds().items()})
    assert host.done == ["nothing", "nothing", "deploy r1", "nothing", "deploy r2"]
    assert "code change" in text
    assert "rollback" not in text


def test_a_report_row_relates_a_run_to_its_reference_times() -> None:
    text = report(parse(["--url", URL]), {"rollback": Series([Run(4.0, 0.5)], [1.0], [0.5]).figures()})
    row = next(line for line in text.splitlines() if line.startswith("rollback "))
    assert row.split() == ["rollback", "6.0", "5.0", "4.00", "1.00", "0.500", "0.50", "-"]


def test_a_rollback_without_figures_gives_the_reason_in_one_sentence(host: Host) -> None:
    site = host.options.site
    assert site is not None
    host.stuck = True
    with pytest.raises(BenchmarkError, match=r"^After the rollback http://127.0.0.1:28201/health .* still has r0: "):
        host.rollback(site)
    host.rollback_output = RECAP.replace("staging1", "staging2")
    with pytest.raises(BenchmarkError, match="ran without staging1"):
        host.rollback(site)
    host.done.clear()
    host.mute = True
    with pytest.raises(BenchmarkError, match=r"^No response of http://127.0.0.1:28201/health .* names its release"):
        host.rollback(site)
    assert host.done == [], "without an answer nothing is rolled back"
