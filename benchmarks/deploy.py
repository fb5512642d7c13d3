#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what a deploy costs, in trivial tasks.

Seconds measured on one machine say little about another. So each round also measures, on the same host and with the
same configuration, an empty play and one trivial task. A deploy is reported as (run - empty play) / trivial task: how
many of the cheapest tasks that Ansible can do over SSH take as long.

From the root of the repository::

    .venv/bin/python benchmarks/deploy.py --inventory inventories/staging --host staging1 --rounds 5

With --url, a rollback is measured too: from the start of the command to the first response of the release that it goes
back to.

The host ends with the release of the app as it is in the repository. Exit status: 0; 1 with one sentence that says why
there are no figures; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import ipaddress
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASKS = 10
ROLLBACK = "playbooks/rollback.yml"
POLL_SECONDS = 0.02
ANSWER_SECONDS = 5
LOCALHOST_NAME = re.compile(r"([a-z0-9_-]+\.)*localhost\.?", re.IGNORECASE)
PRINTABLE = re.compile(r"[!-~]+")
RECAP = r"^{host}\s*:\s*ok=\d+\s+changed=(\d+)\s+unreachable=\d+\s+failed=\d+"
MEASUREMENTS = {
    "nothing": "nothing to change",
    "change": "code change",
    "rollback": "rollback",
    "first": "first deploy",
}


class BenchmarkError(Exception):
    """The benchmark has no figures; the message says why in one sentence."""


@dataclasses.dataclass(frozen=True)
class Site:
    """The site's health page on this machine; `name` is the Host header."""

    address: str
    port: int
    path: str
    name: str

    @classmethod
    def of(cls, url: str, name: str = "") -> Site:
        """Read a URL such as http://127.0.0.1:28201; the default path is /health.

        No name is resolved. Raises BenchmarkError for a URL on another machine, which is not ours to poll.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname or "", 80 if parts.port is None else parts.port
        except ValueError as exc:
            raise BenchmarkError(f"--url {url!r} is not a URL: {exc}.") from exc
        path = parts.path if parts.path not in ("", "/") else "/health"
        is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        if parts.scheme != "http" or not is_plain or not PRINTABLE.fullmatch(path):
            raise BenchmarkError(f"--url {url!r} is not of the form http://<loopback address>:<port>.")
        address = "127.0.0.1" if LOCALHOST_NAME.fullmatch(host) else host
        if not _is_loopback(address):
            raise BenchmarkError(
                f"--url {url!r} is not on this machine: only 127.0.0.0/8, ::1 and names under localhost are polled."
            )
        name = name or parts.netloc
        if not PRINTABLE.fullmatch(name):
            raise BenchmarkError(f"--site {name!r} can't be a Host header.")
        return cls(address, port, path, name)

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}{self.path} (Host: {self.name})"

    def release(self) -> str:
        """Return the release that answers now; empty if no response names one."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", self.path, headers={"Host": self.name})
            return release_in(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()


@dataclasses.dataclass(frozen=True)
class Options:
    """The parsed command line."""

    inventory: str
    host: str
    playbook: str
    rounds: int
    first_deploys: int
    reset: str
    app: str
    app_source: Path
    change_file: str
    change_text: str
    site: Site | None
    as_json: bool


@dataclasses.dataclass(frozen=True)
class Run:
    """One deploy or rollback: its seconds, and what the host's ledger reports (None if it reports nothing)."""

    seconds: float
    candidate_seconds: float | None = None
    drain_seconds: float | None = None


@dataclasses.dataclass
class Series:
    """The rounds of one measurement, in seconds: the deploys, and the reference plays to compare them with."""

    runs: list[Run] = dataclasses.field(default_factory=list)
    empty: list[float] = dataclasses.field(default_factory=list)
    task: list[float] = dataclasses.field(default_factory=list)

    def figures(self) -> dict[str, float | int | None]:
        """Return the medians and their ratios; `besides_start` leaves out the candidate's own start-up."""
        seconds = statistics.median(run.seconds for run in self.runs)
        empty, task = statistics.median(self.empty), statistics.median(self.task)
        if task <= 0:
            raise BenchmarkError(
                "The trivial task took no measurable time: the machine is too busy, or use more --rounds."
            )
        candidate = _median([run.candidate_seconds for run in self.runs])
        return {
            "trivial_tasks": (seconds - empty) / task,
            "besides_start": None if candidate is None else (seconds - empty - candidate) / task,
            "seconds": seconds,
            "fastest_seconds": min(run.seconds for run in self.runs),
            "slowest_seconds": max(run.seconds for run in self.runs),
            "empty_play_seconds": empty,
            "trivial_task_seconds": task,
            "candidate_seconds": candidate,
            "drain_seconds": _median([run.drain_seconds for run in self.runs]),
            "rounds": len(self.runs),
        }


def _median(values: list[float | None]) -> float | None:
    """Return the median of the values, or None if one is missing."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if values and len(known) == len(values) else None


def changed_tasks(output: str, host: str) -> int:
    """Read from the recap how many tasks changed the host. Raises BenchmarkError if the recap lacks the host."""
    found = re.search(RECAP.format(host=re.escape(host)), output, re.MULTILINE)
    if not found:
        raise BenchmarkError(f"The play ran without {host}: is it in the inventory, in the playbook's group?")
    return int(found[1])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def release_in(body: bytes) -> str:
    """Read the field `release` of a health response; empty if it has none."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    release = document.get("release") if isinstance(document, dict) else None
    return release if isinstance(release, str) else ""


def first_change(ask: Callable[[], str], before: str, ended: threading.Event) -> float | None:
    """Poll every 20 ms until a release other than `before` answers; return that instant of time.perf_counter().

    Return None if `ended` is set before that; one more request is made after it is set.
    """
    while True:
        last = ended.is_set()
        asked = time.perf_counter()
        release = ask()
        answered = time.perf_counter()
        if release not in ("", before):
            return answered
        if last:
            return None
        ended.wait(max(0.0, asked + POLL_SECONDS - answered))


class Benchmark:
    """The measurements on one host, with a directory for the plays and the changed copy of the app."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options = options
        self.copy = directory / options.app_source.name
        self.plays = directory / "playbooks"
        self.round = 0
        self.touched = False
        self.programs = Path(sys.executable).parent

    def prepare(self) -> None:
        """Write the reference plays, and copy the app as git sees it, without ignored files."""
        self.plays.mkdir()
        # Ansible finds the root group_vars next to the playbook: the connection is the same as the deploy's.
        (self.plays / "group_vars").symlink_to(ROOT / "group_vars")
        for name, count in {"empty": 0, "one": 1, "many": TASKS + 1}.items():
            play: dict[str, object] = {"hosts": self.options.host, "gather_facts": False}
            if count:
                play["tasks"] = [{"name": f"Ping {n}", "ansible.builtin.ping": {}} for n in range(count)]
            (self.plays / f"{name}.yml").write_text(json.dumps([play]), encoding="utf-8")
        source = self.options.app_source
        listing = subprocess.run(
            ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listing.returncode != 0:
            raise BenchmarkError(f"{source} is not in a git checkout, which must list the app's files.")
        for name in filter(None, listing.stdout.split("\0")):
            if (source / name).is_file():  # git still lists a removed file
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, self.copy / name)
        self._changed_file()

    def _changed_file(self) -> Path:
        path = self.copy / self.options.change_file
        if not path.is_file() or self.options.change_text not in path.read_text(encoding="utf-8"):
            raise BenchmarkError(
                f"{self.options.app_source / self.options.change_file} doesn't hold the text "
                f"{self.options.change_text!r}: name another with --change-file and --change-text."
            )
        return path

    def change_code(self) -> None:
        """Change one line of the copy to text that no earlier round had."""
        self.round += 1
        text = self.options.change_text
        original = self.options.app_source / self.options.change_file
        changed = original.read_text(encoding="utf-8").replace(text, f"{text} ({time.time_ns()})", 1)
        self._changed_file().write_text(changed, encoding="utf-8")

    def play(self, playbook: str | Path, *extra: str) -> tuple[float, str]:
        """Run ansible-playbook from the root of the repository; return its seconds and output."""
        command = [
            str(self.programs / "ansible-playbook"),
            "-i",
            self.options.inventory,
            str(playbook),
            *extra,
        ]
        return self._run(command)

    def _run(self, command: list[str], *, quiet: bool = False) -> tuple[float, str]:
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        except OSError as exc:
            raise BenchmarkError(f"{command[0]} can't be run: {exc.strerror}.") from exc
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            if not quiet:
                sys.stderr.write(done.stdout)
            raise BenchmarkError(f"This command failed; see its output above: {shlex.join(command)}")
        return seconds, done.stdout

    def connect(self) -> None:
        """Open the connection to the host, so that no measurement includes it."""
        changed_tasks(self.play(self.plays / "one.yml")[1], self.options.host)

    def reference(self, series: Series) -> None:
        """Measure an empty play and a trivial task: (a play of eleven - a play of one) / 10."""
        series.empty.append(self.play(self.plays / "empty.yml")[0])
        one = self.play(self.plays / "one.yml")[0]
        series.task.append((self.play(self.plays / "many.yml")[0] - one) / TASKS)

    def deploy(self, *, original: bool = False) -> tuple[float, int]:
        """Deploy the copy, or the app itself; return the seconds and the number of changed tasks."""
        self.touched = True
        source = [] if original else ["-e", json.dumps({"flask_app_source_directory": str(self.copy)})]
        seconds, output = self.play(self.options.playbook, "--limit", self.options.host, *source)
        return seconds, changed_tasks(output, self.options.host)

    def rollback(self, site: Site) -> Run:
        """Roll back; the seconds end with the first response of the earlier release, while the play continues."""
        before = site.release()
        if not before:
            raise BenchmarkError(f"No response of {site} names its release: check --url and --site.")
        ended = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as beside:
            started = time.perf_counter()
            change = beside.submit(first_change, site.release, before, ended)
            try:
                output = self.play(ROLLBACK, "--limit", self.options.host)[1]
            finally:
                ended.set()
        changed_tasks(output, self.options.host)
        answered = change.result()
        if answered is None:
            raise BenchmarkError(
                f"After the rollback {site} still has {before}: is it the site of {self.options.host}?"
            )
        # The drain follows the first response, so these seconds don't include it.
        return Run(answered - started, self.ledger().get("live"))

    def ledger(self) -> dict[str, float]:
        """Return the seconds by event of the last deploy or rollback, from the host's ledger; empty if unreadable.

        ``live`` has the seconds of the app's own start, ``retired`` those of the old release's drain.
        """
        ledger = f"/srv/{self.options.app}/ledger.jsonl"
        command = [str(self.programs / "ansible"), self.options.host, "-i", self.options.inventory, "-b"]
        try:
            output = self._run([*command, "-m", "ansible.builtin.command", "-a", f"tail -n2 {ledger}"], quiet=True)[1]
            entries = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
            return {entry["event"]: float(entry.get("start_seconds", entry.get("seconds"))) for entry in entries}
        except (BenchmarkError, ValueError, KeyError, TypeError):
            return {}

    def measured_run(self, seconds: float) -> Run:
        """Return a deploy that made a release, with what the ledger reports about it."""
        events = self.ledger()
        return Run(seconds, events.get("live"), events.get("retired"))

    def reset_command(self) -> str:
        """Return the user's --reset command, or the one that recreates a throwaway server."""
        if self.options.reset:
            return self.options.reset
        servers = json.loads(self._run([sys.executable, "script/demo-servers"])[1])
        if self.options.host not in [server["name"] for server in servers]:
            raise BenchmarkError(
                f"{self.options.host} is not a throwaway server: give the command that empties it with --reset."
            )
        container = shlex.quote(f"greenlight-demo-{self.options.host}")
        playbook = shlex.quote(str(self.programs / "ansible-playbook"))
        remove = f"script/podman/podman rm --force --volumes {container}"
        return f"{remove} && {playbook} playbooks/throwaway_servers.yml"

    def first_deploys(self) -> Series:
        """Measure first deploys, each on a host that was emptied before."""
        series, reset = Series(), self.reset_command()
        for number in range(self.options.first_deploys):
            _say(f"first deploy, round {number + 1} of {self.options.first_deploys}: resetting the host")
            self._run(["sh", "-c", reset])
            self.connect()
            seconds, changed = self.deploy()
            if not changed:
                raise BenchmarkError(f"The first deploy changed nothing: {reset!r} did not remove the app.")
            series.runs.append(self.measured_run(seconds))
            self.reference(series)
        return series

    def rounds(self) -> dict[str, Series]:
        """Measure in each round the reference plays, a run with nothing to change, a code change and a rollback.

        Without --url there is no rollback, and so no series for it.
        """
        nothing, change, rollback = Series(), Series(), Series()
        _say("deploying, so that there is nothing to change")
        self.deploy()
        for number in range(self.options.rounds):
            _say(f"round {number + 1} of {self.options.rounds}")
            if rollback.runs:
                self.deploy()  # Redeploy what was rolled back, so that there is nothing to change.
            self.reference(nothing)
            seconds, changed = self.deploy()
            if changed:
                raise BenchmarkError(f"The run with nothing to change has changed={changed} on {self.options.host}.")
            nothing.runs.append(Run(seconds))
            self.change_code()
            seconds, changed = self.deploy()
            if not changed:
                raise BenchmarkError("The code change changed nothing: does the playbook use the changed copy?")
            change.runs.append(self.measured_run(seconds))
            if self.options.site:
                rollback.runs.append(self.rollback(self.options.site))
        for series in (change, rollback):
            series.empty, series.task = nothing.empty, nothing.task
        return {"nothing": nothing, "change": change, **({"rollback": rollback} if rollback.runs else {})}

    def restore(self) -> None:
        """Deploy the app as it is in the repository, if anything else was deployed."""
        if self.touched:
            _say(f"deploying {self.options.app_source.name} as it was")
            self.deploy(original=True)
            self.touched = False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(options: Options, figures: dict[str, dict[str, float | int | None]]) -> str:
    """Format the figures for people: ratios first, then seconds."""

    def cell(value: float | int | None, digits: int = 2) -> str:
        return f"{'-' if value is None else f'{value:.{digits}f}':>13}"

    heads = [
        "trivial tasks",
        "besides start",
        "seconds",
        "empty play",
        "trivial task",
        "app's start",
        "drain",
    ]
    names = [
        "trivial_tasks",
        "besides_start",
        "seconds",
        "empty_play_seconds",
        "trivial_task_seconds",
        "candidate_seconds",
        "drain_seconds",
    ]
    lines = [
        f"{options.host} of {options.inventory}, medians",
        f"{'':18}" + "".join(f"{head:>15}" for head in heads),
    ]
    for name, values in figures.items():
        digits = [1, 1, 2, 2, 3, 2, 2]
        cells = "".join(f"  {cell(values[key], count)}" for key, count in zip(names, digits, strict=True))
        lines.append(f"{MEASUREMENTS[name]:18}{cells}")
    lines.append("trivial tasks = (seconds - empty play) / trivial task; besides start: without the app's own start-up")
    if "rollback" in figures:
        lines.append("rollback: to the first answer of the release rolled back to, not to the end of the play")
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure what a deploy costs, in trivial tasks.")
    parser.add_argument("--inventory", default="inventories/staging", help="(default: %(default)s)")
    parser.add_argument("--host", default="staging1", help="one host of it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of no change and code change (default: 5)")
    parser.add_argument("--playbook", default="site.yml", help="playbook that deploys (default: %(default)s)")
    parser.add_argument(
        "--first-deploy",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="ROUNDS",
        help="measure first deploys too, on a host emptied by --reset before each (default: none; 1 if bare)",
    )
    parser.add_argument(
        "--reset",
        default="",
        help="shell command that empties the host (default: recreates its throwaway server)",
    )
    parser.add_argument("--app", default="guestbook", help="its name on the host (default: %(default)s)")
    parser.add_argument("--app-source", type=Path, default=ROOT / "examples" / "guestbook", help="its directory")
    parser.add_argument("--change-file", default="guestbook/views.py", help="(default: %(default)s)")
    parser.add_argument("--change-text", default="Please give a name and a message that fit.", help="text in that file")
    parser.add_argument(
        "--url",
        default="",
        help="URL of the site, on this machine, e.g. http://127.0.0.1:28201: measure a rollback too (default: don't)",
    )
    parser.add_argument("--site", default="", help="the site's name, for the Host header (default: that of --url)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.first_deploy < 0:
        parser.error("--rounds is at least 1 and --first-deploy at least 0")
    if given.site and not given.url:
        parser.error("--site names a site at --url, which is missing")
    try:
        site = Site.of(given.url, given.site) if given.url else None
    except BenchmarkError as exc:
        parser.error(str(exc))
    return Options(
        inventory=given.inventory,
        host=given.host,
        playbook=given.playbook,
        rounds=given.rounds,
        first_deploys=given.first_deploy,
        reset=given.reset,
        app=given.app,
        app_source=given.app_source.resolve(),
        change_file=given.change_file,
        change_text=given.change_text,
        site=site,
        as_json=given.json,
    )


def measure(options: Options) -> dict[str, dict[str, float | int | None]]:
    """Run all measurements, and leave the host as the repository has it. Raises BenchmarkError."""
    with tempfile.TemporaryDirectory(prefix="greenlight-benchmark-") as directory:
        benchmark = Benchmark(options, Path(directory))
        benchmark.prepare()
        try:
            series: dict[str, Series] = {}
            if options.first_deploys:
                series["first"] = benchmark.first_deploys()
            else:
                benchmark.connect()
            series.update(benchmark.rounds())
        except BaseException:
            try:
                benchmark.restore()
            except BenchmarkError as exc:
                _say(f"The host was not restored: {exc}")
            raise
        benchmark.restore()
    return {name: series[name].figures() for name in MEASUREMENTS if name in series}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parse(arguments)
    try:
        figures = measure(options)
    except BenchmarkError as exc:
        _say(f"benchmarks/deploy.py: {exc}")
        return 1
    except KeyboardInterrupt:
        _say("benchmarks/deploy.py: stopped, without figures.")
        return 1
    if options.as_json:
        print(json.dumps({"host": options.host, "inventory": options.inventory, "measurements": figures}, indent=2))
    else:
        print(report(options, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
