# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory: files play systemd, ss and journalctl, so that its state outlives a killed process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app import sandbox as _sandbox
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout, release_of
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import Process
from ansible_collections.greenlight.flask.plugins.module_utils._base import command as _command
from ansible_collections.greenlight.flask.plugins.module_utils._base import http
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, NoAnswer, Target
from ansible_collections.greenlight.flask.plugins.module_utils._build import builder
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import list_files
from ansible_collections.greenlight.flask.plugins.module_utils._proof import contract
from ansible_collections.greenlight.flask.plugins.module_utils._proof import workers as _workers
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector
from ansible_collections.greenlight.flask.plugins.module_utils._release import state as _state
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Code, Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, Specification

KEY = b"k" * 32
WORD = "0123456789abcdef" * 2
SECRETS = {"SECRET_KEY": "hunter2-long-and-secret", "DATABASE_URL": "postgresql://shop:pass-w0rd@db/shop"}

#: A process that takes work by itself, and the texts that a release has for it.
WORKER = Process("worker", ("service",), infix="_worker")
WORKER_TEXTS = {"drop_in": "[Service]\nMemoryMax=20%\n", "service": "[Service]\nType=exec\n"}


def specification(time: str = "20261121T094420Z", **changes: object) -> Specification:
    """Return a release as the role specifies it; ``changes`` are by field, or by part of the web process."""
    parts = {"drop_in": "[Service]\nMemoryMax=40%\n", "service": "[Service]\nType=notify\n", "socket": "[Socket]\n"}
    parts |= {part: str(changes.pop(part)) for part in parts if part in changes}
    fields: dict[str, object] = {
        "time": time,
        "source": "a1" * 32,
        "venv": "b2" * 32,
        "revision": "r1",
        "environment": "staging",
        "variables": {"FLASK_CONFIG": "staging", **SECRETS},
        "secret_names": list(SECRETS),
        "release_variable": "APP_RELEASE",
        "command": "",
        "reversible": True,
        "gunicorn": "workers = 2\n",
        "processes": {"web": parts},
    }
    return Specification(**{**fields, **changes})  # type: ignore[arg-type]


def release_options(made: Specification, **more: object) -> dict[str, Any]:
    """Return the options of the step make_release with which it makes ``made``; ``more`` are further ones."""
    plan, code = plan_options(made), {each.name: getattr(made, each.name) for each in fields(Code)}
    return {**plan, **code, "time": made.time, "by": "tester", **more}


def plan_options(made: Specification) -> dict[str, Any]:
    """Return the options that describe a release without its code."""
    of_the_plan = {each.name for each in fields(Plan)} & {each.name for each in fields(Specification)}
    given = {name: getattr(made, name) for name in of_the_plan - {"variables"}}
    variables = {name: value for name, value in made.variables.items() if name != "APP_REVISION"}
    more = {"revision_variable": "APP_REVISION", "workers": {"most": 8, "memory_mb": 150}}
    return {"specification": {**given, **more}, "variables": variables}


#: The salt of the workers' digests.
SALT = b"s" * 16


def report(
    key: str = SECRETS["SECRET_KEY"], database: str = SECRETS["DATABASE_URL"], **changes: object
) -> dict[str, Any]:
    """Return a worker's report of an app with this key and database in its config; ``changes`` are by field."""
    kind = inspector.engine(database) or "file"
    place = inspector.digest(SALT, inspector.address(database).encode()) if kind != "file" else ""
    return {
        "pid": 7,
        "workers": 1,
        "environment": "staging",
        "environment_key": "ENVIRONMENT",
        "debug": False,
        "testing": False,
        "salt": SALT.hex(),
        "secret_key": inspector.digest(SALT, key.encode()) if key else "",
        "databases": [{"setting": "DATABASE_URL", "kind": kind, "address": place}] if database else [],
        "session_cookie_secure": True,
        "remember_cookie_secure": True,
        "preferred_url_scheme": "https",
        "debuggers": [],
        **changes,
    }


def arguments(step: str, *, check: bool = False, verbosity: int = 0, **options: object) -> dict[str, object]:
    """Return the arguments of the module ``host_step`` for a step of the app ``shop``."""
    given = json.dumps({"app": "shop", **options})
    return {"step": step, "options": given, "_ansible_check_mode": check, "_ansible_verbosity": verbosity}


def below(root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and path of everything in a directory, in a fifth of the time of :meth:`Path.rglob`."""
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = f"{directory}/{name}"
            yield path[len(str(root)) + 1 :], path


def contents(root: Path, left_out: tuple[str, ...]) -> dict[str, str]:
    """Return everything in a directory: path -> content, link target, or that it is a directory."""
    found = {}
    for name, path in sorted(below(root)):
        if not name.startswith(left_out):
            found[name] = (
                f"-> {os.readlink(path)}"
                if os.path.islink(path)
                else "directory"
                if os.path.isdir(path)
                else "socket"
                if stat.S_ISSOCK(os.stat(path).st_mode)
                else Path(path).read_text(errors="replace")
            )
    return found


def copied(before: Path, after: Path) -> None:
    """Copy a host, sockets included; links into the old one then point into the new one."""

    def copy(source: str, target: str) -> str:
        if stat.S_ISSOCK(os.stat(source).st_mode):
            os.mknod(target, os.stat(source).st_mode)
            return target
        return str(shutil.copy2(source, target))

    shutil.copytree(before, after, symlinks=True, copy_function=copy)
    for _, path in below(after):
        if os.path.islink(path) and os.readlink(path).startswith(f"{before}/"):
            leads = f"{after}{os.readlink(path)[len(str(before)) :]}"
            os.unlink(path)
            os.symlink(leads, path)


def taken(directory: Path, include: Sequence[str] = ()) -> list[str]:
    """Return the files git would take from a directory that ignores nothing, like ``list_files`` but without git."""
    paths = dict(below(directory))
    if not paths or include or any(os.path.basename(name).startswith(".git") for name in paths):
        return list_files(directory, include)
    return sorted(name for name, path in paths.items() if os.path.islink(path) or not os.path.isdir(path))


def create(layout: Layout, time: str, **changes: object) -> str:
    """Make a release with its source and venv, and the parts of a claim that its proof needs; return its id."""
    wanted = specification(time, **changes)
    layout.etc.mkdir(parents=True, exist_ok=True)
    layout.rehearsal.write_text(f'"{WORD}" 1;\n')
    (layout.sources / wanted.source).mkdir(parents=True, exist_ok=True)
    (layout.venvs / wanted.venv).mkdir(parents=True, exist_ok=True)
    return Releases(layout).create(wanted, KEY, "tester").id


class Host:
    """Simulates the programs that the protocol calls. A unit is running if a file says so.

    Args:
        layout: where the app lives.
        answers: release -> the answer of its health page, or None for no answer at all.
        failing: units that don't start.
        journal: what journalctl prints.
        queues: socket paths -> lengths of their queues, one for each call of ss; then 0.
        ended: how the program that systemd-run runs ends.
        given: the standard input of the program that systemd-run runs.
        busy: units -> how many more times systemctl shows them starting.
        reports: what the workers of each release report once it is started; none: Gunicorn can't report.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.active = layout.root / "systemd/active"
        self.failed = layout.root / "systemd/failed"
        for directory in (self.active, self.failed, layout.units):
            directory.mkdir(parents=True, exist_ok=True)
        self.answers: dict[str, Answer | None] = {}
        self.front_door: Answer | None = None
        self.failing: set[str] = set()
        self.journal = ""
        self.queues: dict[str, list[int]] = {}
        self.ended = Finished(0, "", "")
        self.given: object = ""
        self.busy: dict[str, int] = {}
        self.reports: list[dict[str, Any]] = []
        self.calls: list[list[str]] = []
        self.seconds: dict[str, float] = {}
        self.restarts = 0

    def get(self, target: Target, seconds: float, worth: object) -> Answer:
        if target.address.startswith("/"):
            release = Path(target.address).stem
            answer = self.answers.get(release)
        else:
            answer = self.front_door
        if answer is None:
            raise NoAnswer("no connection (Connection refused)")
        return answer

    def running(self) -> set[str]:
        return {unit.name for unit in self.active.iterdir()}

    def enabled(self) -> set[str]:
        return {link.name for link in self.layout.units.glob("*.wants/*")}

    def run(self, argv: Sequence[str | Path], seconds: float = 60, **options: object) -> Finished:
        words = [str(word) for word in argv]
        self.calls.append(words)
        program, *rest = words
        if program == "ss":
            rows = [
                f"u_str LISTEN {waiting.pop(0)} 2048 {path} 4711 * 0"
                for path, waiting in self.queues.items()
                if waiting
            ]
            return Finished(0, "\n".join(["u_str LISTEN 7 2048 /run/other.sock 1 * 0", *rows]), "")
        if program == "journalctl":
            return Finished(0, self.journal, "")
        if program == "systemd-run":
            self.seconds[program], self.given = seconds, options.get("given", "")
            return self.ended
        assert program == "systemctl", words
        verb, *units = [word for word in rest if not word.startswith("--")]
        self.seconds[verb] = seconds
        answer: Callable[[list[str]], Finished] = getattr(self, "_" + verb.replace("-", "_"))
        return answer(units)

    def _daemon_reload(self, _units: list[str]) -> Finished:
        return Finished(0, "", "")

    def _show(self, units: list[str]) -> Finished:
        (unit,) = units
        if self.busy.get(unit, 0):
            self.busy[unit] -= 1
            return Finished(0, "ActiveState=activating\nSubState=start\n", "")
        state = "active" if unit in self.running() else "failed" if (self.failed / unit).exists() else "inactive"
        sub = {"active": "running", "failed": "failed"}.get(state, "dead")
        return Finished(
            0, f"ActiveState={state}\nSubState={sub}\nNRestarts={self.restarts}\nMainPID=0\nResult=x=y\n", ""
        )

    def _start(self, units: list[str]) -> Finished:
        for unit in units:
            if unit in self.running():
                continue  # systemd doesn't check, as it doesn't check a socket's path
            (self.failed / unit if unit in self.failing else self.active / unit).touch()
            release = release_of(unit)
            if unit == self.layout.service_unit(release) and unit not in self.failing:
                self.report_from_workers(release, self.reports)
            if unit.endswith(".socket") and unit not in self.failing:
                self._listen(self._path(unit))
        return Finished(int(bool(self.failing & set(units))), "", "")

    def _path(self, unit: str) -> Path:
        return self.layout.socket(unit.partition("@")[2].removesuffix(".socket"))

    def _listen(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)  # DirectoryMode=
        if path.exists() and not path.is_dir():
            path.unlink()
        os.mknod(path, stat.S_IFSOCK)
        path.chmod(0o660)

    def _stop(self, units: list[str]) -> Finished:
        known = {*self.running(), *os.listdir(self.failed), *os.listdir(self.layout.units)}
        if not set(units) <= known:
            return Finished(5, "", f"Failed to stop {units[0]}: Unit {units[0]} not loaded.")
        for unit in units:
            (self.active / unit).unlink(missing_ok=True)
            release = release_of(unit)
            if unit == self.layout.service_unit(release):
                shutil.rmtree(self.layout.runtime(release), ignore_errors=True)
            if unit.endswith(".socket"):
                with contextlib.suppress(OSError):
                    self._path(unit).unlink()  # RemoveOnStop=
        return Finished(0, "", "")

    def report_from_workers(self, release: str, reports: Sequence[dict[str, Any]]) -> None:
        """Write these reports of a release's workers."""
        directory = self.layout.runtime(release) / inspector.DIRECTORY
        shutil.rmtree(directory, ignore_errors=True)
        for number, each in enumerate(reports):
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{number}.json").write_text(json.dumps(each))

    def _reset_failed(self, units: list[str]) -> Finished:
        for unit in units:
            (self.failed / unit).unlink(missing_ok=True)
        return Finished(0, "", "")

    def _wants(self, unit: str) -> Path:
        return self.layout.units / f"{'sockets' if unit.endswith('.socket') else 'multi-user'}.target.wants" / unit

    def _enable(self, units: list[str]) -> Finished:
        for unit in units:
            self._wants(unit).parent.mkdir(exist_ok=True)
            if not self._wants(unit).is_symlink():
                self._wants(unit).unlink(missing_ok=True)
                self._wants(unit).symlink_to("../template")
        return Finished(0, "", "")

    def _disable(self, units: list[str]) -> Finished:
        for unit in units:
            if not (self.layout.units / unit).is_file():
                return Finished(1, "", f"Failed to disable unit: Unit file {unit} does not exist.")
            self._wants(unit).unlink(missing_ok=True)
        return Finished(0, "", "")

    def _list_units(self, _patterns: list[str]) -> Finished:
        rows = [f"{unit} loaded active running Flask app" for unit in sorted(self.running())]
        rows += [f"{unit.name} loaded failed failed Flask app" for unit in self.failed.iterdir()]
        rows += [f"{self.layout.app}@20200101T000000Z-00000000.service loaded inactive dead Flask app"]
        rows += [f"{self.layout.app}@by-hand.service loaded active running Flask app"]
        return Finished(0, "\n".join(rows), "")


class Sandbox:
    """Simulates systemd-run for builds: paths that the sandbox maps are links; it has no other isolation.

    Args:
        plans: the plan of each build.
        settings: the unit's settings, one list for each build.
        words: of each systemd-run.
        ended: how systemd-run ends instead.
        running: units of builds that a killed run left.
        stopped: those that were stopped.
    """

    GRACE_SECONDS = 30

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []
        self.settings: list[list[str]] = []
        self.words: list[list[str]] = []
        self.ended: Finished | None = None
        self.running: set[str] = set()
        self.stopped: list[str] = []

    def state(self, unit: str) -> _systemd.UnitState:
        return _systemd.UnitState("active" if unit in self.running else "inactive", "", 0)

    def stop(self, units: Sequence[str], _seconds: float) -> None:
        self.stopped += units
        self.running -= {*units}

    def run(self, argv: Sequence[str | Path], *, seconds: float, given: str) -> Finished:
        words = [str(word) for word in argv]
        assert words[0] == "systemd-run", words
        settings = [word.removeprefix("--property=") for word in words if word.startswith("--property=")]
        self.words.append(words)
        self.settings.append(settings)
        self.plans.append(json.loads(given))
        if self.ended:
            return self.ended
        with ExitStack() as stack:
            for setting in settings:
                name, _, paths = setting.partition("=")
                if name in ("BindPaths", "BindReadOnlyPaths"):
                    stack.enter_context(_seen(*map(Path, paths.split(":"))))
            answer = _built(self.plans[-1])
        return Finished(0, f"{builder.BEGUN}\n{json.dumps(answer)}\n", "")


def _built(plan: Mapping[str, Any]) -> dict[str, object]:
    said = ""
    for step in plan["steps"]:
        code, said = builder.perform(step, {**os.environ, **plan["environment"]})
        if code and not step["may_fail"]:
            return {"failed": step["what"], "code": code, "said": said}
    return {"failed": "", "code": 0, "said": said}


@contextmanager
def _seen(path: Path, seen: Path) -> Iterator[None]:
    if path == seen:
        yield
        return
    aside = seen.with_name(f"{seen.name}.aside")
    if os.path.lexists(seen):
        seen.rename(aside)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.symlink_to(path)
    try:
        yield
    finally:
        seen.unlink()
        if os.path.lexists(aside):
            aside.rename(seen)


def installed(root: Path, patch: Callable[[object, str, object], None], host: Host | None = None) -> Host:
    """Make a host below ``root``, unless it exists, and let the protocol use it."""
    host = host or Host(Layout("shop", root))
    for module in (_command, _systemd, _sandbox):
        patch(module, "run", host.run)
    patch(contract, "INTERVAL_SECONDS", 0.001)
    patch(_workers, "FIRST_SECONDS", 0.0)
    patch(http, "get", host.get)
    patch(_state, "socket_group", os.getegid)
    return host


def state(layout: Layout, host: Host) -> Mapping[str, object]:
    """Return everything that decides which release serves now and after a reboot."""
    releases = Releases(layout)
    return {
        "live": releases.live(),
        "live link": str(layout.live.readlink()) if layout.live.is_symlink() else "",
        "previous": releases.previous(),
        "running": host.running(),
        "enabled": host.enabled(),
        "failed": sorted(path.name for path in host.failed.iterdir()),
        "marks": {release.id: (release.proved, release.bad) for release in releases.all()},
    }
