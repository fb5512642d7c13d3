# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault table: what users notice, row by row, while a deploy goes wrong. A pytest plugin for one scenario.

Each row has load on its servers from before its start to after its end, and counts every request. At the end the rows
become a table on the screen and in ``build/faults.txt``.

GREENLIGHT_FAULTS chooses the rows: ``all`` (the default) tries every row on all servers. ``tenth:N`` tries a tenth of
the killed runs, so that ten of them cover all, and every other row on one server in turns; it skips rows that measure
time, because other scenarios run at the same time. ``step:NAME`` tries the rows that kill that step on the servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.deployed import APP, ROOT, SITE, Played, Server, connect, keep, run_play, servers, ssh
from tests.support.load.load import Load, Result

CHOICE, _, CHOSEN = os.environ.get("GREENLIGHT_FAULTS", "all").partition(":")
#: Requests per second and server: as many as a machine with two processors can send during the deploys of two servers;
#: fewer if another scenario runs too.
RATE = 50.0 if CHOICE == "tenth" else 100.0
TABLE = ROOT / "build/faults.txt"
COLUMNS = ("fault", "server", "requests", "failed", "by a bad release", "answers at the end", "exit", "says", "again")


@dataclass(frozen=True)
class Row:
    """A line of the table; see COLUMNS."""

    cells: tuple[str, ...]


ROWS: list[Row] = []
#: Lines below the table.
NOTES: list[str] = []
#: The servers of the current row; between rows, and in module fixtures, all of them.
_AT_WORK: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "killed: one of the many rows in which a run is killed")
    config.addinivalue_line("markers", "both: a row that needs all servers")
    config.addinivalue_line("markers", "alone: measures time, so nothing else may run beside it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the rows that GREENLIGHT_FAULTS selects. A tenth is a block of rows, because neighbors share a fixture."""
    if CHOICE == "tenth":
        killed = [item for item in items if item.get_closest_marker("killed")]
        start, end = (len(killed) * (int(CHOSEN) + more) // 10 for more in (0, 1))
        others = [*killed[:start], *killed[end:]]
        keep(items, config, lambda item: item not in others and not item.get_closest_marker("alone"))
    elif CHOICE == "step":
        keep(items, config, lambda item: CHOSEN in (_parameters(item).get("host_step"), _marked_step(item)))


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


def _marked_step(item: pytest.Item) -> str:
    marker = item.get_closest_marker("killed")
    return str(marker.kwargs.get("host_step", "")) if marker else ""


def at_work() -> list[str]:
    """Return the names of the current row's servers."""
    return _AT_WORK or list(servers())


@pytest.fixture(autouse=True)
def _servers_of_the_row(request: pytest.FixtureRequest) -> Iterator[None]:
    if CHOICE == "tenth" and not any(map(request.node.get_closest_marker, ("both", "killed"))):
        names = list(servers())
        number = request.session.items.index(request.node) + int(CHOSEN)
        _AT_WORK[:] = [names[number % len(names)]]
    yield
    _AT_WORK.clear()


@dataclass
class Trial:
    """One fault, tried.

    Attributes:
        fault: its name in the table.
        before: the release live at the start, by server.
        results: the counts of the load, by server; present after the ``users`` block.
        runs: the runs of plays under load.
    """

    fault: str
    before: dict[str, str] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)
    runs: list[Played] = field(default_factory=list)

    def run(self, *options: str, **variables: Any) -> Played:
        """Run the play once; the table shows the first run, and the last one as the repetition."""
        self.runs.append(run_play(*options, **{**limit(), **variables}))
        return self.runs[-1]

    @contextmanager
    def users(self) -> Iterator[None]:
        """Put load on all servers during the block and for a second longer, so that late failures are seen."""
        with ExitStack() as stack:
            loads = {name: stack.enter_context(Load(connect(name).url, SITE, RATE)) for name in at_work()}
            yield
            time.sleep(1)
        for name, load in loads.items():
            self.results.setdefault(name, []).append(load.result)

    def expect(
        self,
        *,
        live: str,
        code: int | None = None,
        finds: str = "",
        says: str = "",
        again: int | None = None,
        may_fail: Callable[[Result], int] = lambda _result: 0,
    ) -> None:
        """Add the row and compare it with what is expected.

        Args:
            live: ``old`` or ``new``: the release that must answer at the end.
            code: exit code of the first run, None if there was none.
            finds: the finding it must have: ``id``, or ``id:subject``.
            says: further text that it must print.
            again: exit code of the last run.
            may_fail: returns how many failures of a result are unavoidable with this fault.
        """
        wrong = []
        for name in at_work():
            server = connect(name)
            now = server.ask().json["release"]
            good = {self.before[name], now} if live == "new" else {self.before[name]}
            counted = self.results[name]
            sent, failed = sum(each.sent for each in counted), sum(each.failed for each in counted)
            bad = sum(seen.count for each in counted for id_, seen in each.by_release.items() if id_ not in {*good, ""})
            first = self.runs[0] if self.runs else None
            last = self.runs[-1] if len(self.runs) > 1 else None
            ROWS.append(
                Row(
                    (
                        self.fault,
                        name,
                        str(sent),
                        str(failed),
                        str(bad),
                        "the release before" if now == self.before[name] else "the new release",
                        str(first.code) if first else "-",
                        " ".join(filter(None, (finds, says))) or "-",
                        str(last.code) if last else "-",
                    )
                )
            )
            allowed = sum(map(may_fail, counted))
            checks = {
                f"{failed} requests failed": failed <= allowed,
                f"{bad} requests were answered by a bad release": bad == 0,
                "no requests were sent": sent > 0,
                f"{now} answers at the end": (now != self.before[name]) == (live == "new"),
                f"{server.live} is linked, but {now} answers": server.live == now,
                f"exit {first.code if first else None}": code is None or bool(first and _same(first.code, code)),
                f"the finding {finds} is missing": not finds or bool(first and first.finds(finds)),
                f"the text {says!r} is missing": not says or bool(first and says in first.prose),
                f"again: exit {last.code if last else None}": again is None or bool(last and _same(last.code, again)),
            }
            wrong += [f"{name}: {fault}" for fault, holds in checks.items() if not holds]
            wrong += [f"{name}: {each}" for each in counted if each.failed > may_fail(each)]
        outputs = "\n\n".join(f"--- exit {run.code}\n{run.output}" for run in self.runs)
        assert not wrong, "\n".join(wrong) + "\n" + outputs


def _same(code: int, wanted: int) -> bool:
    """Compare exit codes; all except 0 are failures."""
    return bool(code) == bool(wanted)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """The trial of this test, named after the parameter or the function."""
    name = request.node.callspec.id if hasattr(request.node, "callspec") else request.node.name.removeprefix("test_")
    return Trial(name.replace("_", " "), live())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print and save the table."""
    if not ROWS and not NOTES:
        return
    text = table()
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text)
    terminalreporter.write_line("")
    terminalreporter.write_line(text)


def table() -> str:
    """Format the rows as aligned lines, with totals."""
    lines = [COLUMNS, *(row.cells for row in ROWS)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    said = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    sent = sum(int(row.cells[2]) for row in ROWS)
    failed = sum(int(row.cells[3]) for row in ROWS)
    bad = sum(int(row.cells[4]) for row in ROWS)
    total = f"{len(ROWS)} rows, {sent} requests, {failed} failed, {bad} answered by a bad release"
    return "\n".join([*said, "", total, *NOTES, ""])


# --- how to disturb a run --------------------------------------------------------------------------------------------


def limit() -> dict[str, str]:
    """Return the option that limits a play to the row's servers."""
    return {"limit": ",".join(at_work())}


def all_servers() -> list[Server]:
    """Return the current row's servers."""
    return [connect(name) for name in at_work()]


def live() -> dict[str, str]:
    """Return the live release of each server."""
    return {server.name: server.live for server in all_servers()}


def on_all(command: str) -> None:
    """Run a shell command as root on all servers at once."""
    threads = [threading.Thread(target=server.root, args=(command,)) for server in all_servers()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- killing a step on the server ------------------------------------------------------------------------------------

PLACE = "/usr/lib/python3/dist-packages"
ORDER = "/run/greenlight-kill.json"
COUNTS = "/run/greenlight-kill.counts"
KILLER = (ROOT / "tests/on_server/killer.py").read_text(encoding="utf-8")


@contextmanager
def killer(step: str, change: int) -> Iterator[None]:
    """Kill this step of the collection on all servers, before its ``change``-th change to the host (0: only count)."""
    for server in all_servers():
        server.write(f"{PLACE}/greenlight_killer.py", KILLER, umask="022")
        server.write(ORDER, json.dumps({"step": step, "change": change}), umask="022")
        server.write(f"{PLACE}/greenlight_killer.pth", "import greenlight_killer\n", umask="022")
    try:
        yield
    finally:
        on_all(f"rm -f {PLACE}/greenlight_killer.pth {PLACE}/greenlight_killer.py {ORDER}")


def changes_of(steps: list[str], run: Callable[[], Played]) -> dict[str, int]:
    """Count the changes that each of these steps makes during a run."""
    on_all(f"rm -f {COUNTS}")
    with killer("", 0):
        done = run()
    assert done.code == 0, done.output
    counts = dict.fromkeys(steps, 0)
    for line in all_servers()[0].root(f"cat {COUNTS}").splitlines():
        step, _, count = line.partition(" ")
        if step in counts:
            counts[step] = max(counts[step], int(count))
    return counts


def state(server: Server, skipped: int = -1) -> list[str]:
    """Return everything that a run left on a server, comparable with what another one left.

    Args:
        skipped: the number of ledger lines to leave out; -1: all before the live release's first line.
    """
    script = (ROOT / "tests/on_server/state.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [*ssh(server.name), f"sudo python3 - {APP} {skipped}"], input=script.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return sorted(line for line in done.stdout.decode(errors="replace").splitlines() if line)
