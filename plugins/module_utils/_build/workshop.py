# SPDX-License-Identifier: GPL-3.0-or-later
"""Build with untrusted code (installers, build scripts, the app's own code) without running it as root.

Build scripts of packages, ``.pth`` files and compilers run as a dynamic user of systemd (DynamicUser=), one for each
app. It sees an empty directory in place of the app's. It can write only to its build, its scratch directory and the
app's own cache, and gives way to serving processes for CPU and disk. When the build has ended, the result becomes ours
(:mod:`hand_over`), and gets its name at the very end.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import builder
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import run
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED, make_directory, remove
from .hand_over import hand_over

#: Parent of each app's cache. systemd keeps the caches of dynamic users in private/, which only root can enter.
CACHES = Path("/var/cache/greenlight")
PRIVATE_CACHES = Path("/var/cache/private/greenlight")
#: The variables that a build inherits: how the host reaches package indexes, usually from /etc/environment.
_INHERITED = re.compile(
    r"(https?|ftp|all|no)_proxy\Z|(PIP|UV)_\w+\Z|SSL_CERT_(FILE|DIR)\Z|(REQUESTS|CURL)_CA_BUNDLE\Z", re.IGNORECASE
)
#: Settings of the unit (systemd.exec(5), systemd.resource-control(5)).
_SETTINGS = (
    "DynamicUser=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "DevicePolicy=closed",
    "PrivateUsers=yes",
    "PrivateIPC=yes",
    "ProtectHostname=yes",
    "ProtectClock=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectProc=invisible",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "UMask=0022",
    "LimitCORE=0",
    # Hide the host's sockets and its shared memory, which is open to everybody.
    "TemporaryFileSystem=/run:ro",
    "TemporaryFileSystem=/dev/shm:mode=1777",
    # Serving processes come first, whether the CPU is shared between units or between processes. Not the policy "idle":
    # on a busy host, a build would never end.
    "Nice=10",
    "CPUSchedulingPolicy=batch",
    "CPUWeight=20",
    "IOSchedulingClass=idle",
    "IOWeight=10",
    "OOMScoreAdjust=1000",
    "TasksMax=1024",
    # No process of it survives.
    "KillMode=control-group",
    "TimeoutStopSec=5",
)
_NETWORK = (
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "CacheDirectory=greenlight/<app>",
    "CacheDirectoryMode=0700",
)
#: Where systemd may not create network namespaces, as in some containers, it silently ignores PrivateNetwork=.
_NO_NETWORK = ("RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes")


@dataclass(frozen=True)
class Step:
    """One program of a build.

    Args:
        what: what it does, for a message.
        argv: its words; the first may be :data:`builder.SORT`.
        directory: where it runs.
        may_fail: whether the build continues if it fails.
    """

    what: str
    argv: Sequence[str | Path]
    directory: Path | None = None
    may_fail: bool = False


class StepFailed(GreenlightError):  # noqa: N818  # named like the other findings
    """A step of a build failed.

    Args:
        what: of the step.
        code: its exit code.
        said: the end of its output, unchanged: it may contain secrets and control characters.
    """

    def __init__(self, what: str, code: int, said: str) -> None:
        super().__init__(f"{what} failed (exit code {code})")
        self.what, self.code, self.said = what, code, said


@dataclass(frozen=True)
class Workshop:
    """A private place where one thing is built; made by :func:`workshop`.

    Args:
        app: the app whose build it is.
        target: final path of the result, and its path inside the build.
        place: the directory that only root can enter.
        hidden: the directory in which the build sees only target and scratch.
        python: the operator's interpreter.
    """

    app: str
    target: Path
    place: Path
    hidden: Path
    python: str

    @property
    def tree(self) -> Path:
        """Where the target is during the build."""
        return self.place / "tree"

    @property
    def scratch(self) -> Path:
        """The scratch directory, as the build sees it; removed at the end."""
        return self.hidden / "scratch"

    @property
    def cache(self) -> Path:
        """The cache that the app's builds share, as the build sees it."""
        return CACHES / self.app

    def leave(self, name: str, content: str) -> Path:
        """Put a file into the scratch directory before the build begins; return its path as the build sees it."""
        path = self.place / "scratch" / name
        path.write_text(content, encoding="utf-8")
        path.chmod(0o644)
        return self.scratch / name

    def perform(
        self,
        steps: Sequence[Step],
        *,
        seconds: float,
        environment: Mapping[str, str] | None = None,
        network: bool = False,
        reads: Mapping[Path, Path] | None = None,
    ) -> str:
        """Run ``steps``; return what the last one printed.

        Args:
            steps: the programs, in order.
            seconds: limit for all of them together.
            environment: more variables; no other process sees their values.
            network: whether they have network access.
            reads: further paths below :attr:`hidden` that the build may read, and where it sees them.

        Raises:
            StepFailed: a step failed.
            GreenlightError: the sandbox could not be made, or time ran out.
        """
        settings = [*self._settings(reads or {}, network=network), f"RuntimeMaxSec={seconds:g}"]
        options = ["--wait", "--collect", "--pipe", "--quiet", f"--unit={build_unit(self.app)}"]
        options += [f"--description=Build of Flask app {self.app}", *(f"--property={line}" for line in settings)]
        done = run(
            ["systemd-run", *options, self.python, "-I", "-c", _program()],
            seconds=seconds + systemd.GRACE_SECONDS,
            given=json.dumps(self._plan(steps, environment or {})),
        )
        begun, _, answer = done.stdout.partition("\n")
        if begun != builder.BEGUN:
            raise GreenlightError(
                f"The build sandbox can't be made on this host (exit code {done.code}): {done.output[-400:]}"
            )
        try:
            report = json.loads(answer.strip().rpartition("\n")[2])
            failed, code, said = str(report["failed"]), int(report["code"]), str(report["said"])
        except (ValueError, TypeError, KeyError):
            late = f"The build was stopped, at the latest after {seconds:g} seconds."
            raise StepFailed(steps[-1].what, done.code, late) from None
        if failed:
            raise StepFailed(failed, code, said)
        return said

    def _settings(self, reads: Mapping[Path, Path], *, network: bool) -> list[str]:
        """Return the sandbox as settings of a unit (systemd.exec(5))."""
        return [
            *_SETTINGS,
            f"User={build_user(self.app)}",
            f"TemporaryFileSystem={self.hidden}:ro",
            f"BindPaths={self.tree}:{self.target}",
            f"BindPaths={self.place / 'scratch'}:{self.scratch}",
            *(f"BindReadOnlyPaths={path}:{seen}" for path, seen in reads.items()),
            f"InaccessiblePaths=-/etc/{self.app}",
            *_resolver(),
            *(line.replace("<app>", self.app) for line in (_NETWORK if network else _NO_NETWORK)),
        ]

    def _plan(self, steps: Sequence[Step], environment: Mapping[str, str]) -> dict[str, object]:
        """Return the builder's input; it uses standard input, because others can read command lines."""
        inherited = {name: value for name, value in os.environ.items() if _INHERITED.match(name)}
        places = {"HOME": str(self.scratch), "TMPDIR": str(self.scratch), "LC_ALL": "C.UTF-8"}
        return {
            "environment": {**inherited, **places, **environment},
            "steps": [
                {
                    "what": step.what,
                    "argv": [str(word) for word in step.argv],
                    "directory": str(step.directory or self.scratch),
                    "may_fail": step.may_fail,
                }
                for step in steps
            ],
        }

    def finish(self, outside: str = "", leads_out: Collection[str] = ()) -> None:
        """Make the result ours, see :func:`hand_over.hand_over`."""
        hand_over(self.tree, outside, leads_out)

    def publish(self) -> None:
        """Give the result its name; a half-made one with that name is removed."""
        old = self.place / "old"
        if self.target.exists() or self.target.is_symlink():
            self.target.rename(old)
        self.tree.rename(self.target)


@contextmanager
def workshop(app: str, target: Path, hidden: Path, python: str) -> Iterator[Workshop]:
    """Make a place where ``target`` can be built; remove it at the end.

    First stop a build that a killed run left running, and remove its files.

    Args:
        app: the app whose build it is; its lock allows one build at a time.
        target: a directory on the same file system as its parent.
        hidden: a parent of it that is otherwise hidden from the build.
        python: the operator's interpreter.
    """
    end(app, systemd.GRACE_SECONDS)
    place = target.with_name(f"{UNFINISHED}{app}-{target.name}")
    make_directory(target.parent)
    remove(place)
    make_directory(place, 0o700)
    try:
        for name in ("tree", "scratch"):
            make_directory(place / name, 0o777)
        yield Workshop(app, target, place, hidden, python)
    finally:
        remove(place)


def _resolver() -> list[str]:
    """Return the mount for name resolution: a build doesn't see /run, where resolv.conf may be."""
    path = os.path.realpath("/etc/resolv.conf")
    return [f"BindReadOnlyPaths=-{path}"] if path.startswith("/run/") else []


def end(app: str, seconds: float) -> None:
    """Stop an app's build that a killed run left running, in at most ``seconds``."""
    if systemd.state(build_unit(app)).is_running:
        systemd.stop([build_unit(app)], seconds)


def build_unit(app: str) -> str:
    """Return the unit in which an app's builds run, one at a time."""
    return f"greenlight-build-{app}.service"


def build_user(app: str) -> str:
    """Return the name of the dynamic user for an app's builds. No app's account can have this name."""
    return f"_build-{hashlib.sha256(app.encode()).hexdigest()[:16]}"


def traces(root: Path, app: str) -> list[Path]:
    """Return what an app's builds leave outside of the app's own directories: the link to its cache, and the cache."""
    return [root / str(place / app).lstrip("/") for place in (CACHES, PRIVATE_CACHES)]


def _program() -> str:
    """Return the builder's text, even from inside Ansible's archive."""
    package, _, name = builder.__name__.rpartition(".")
    return (pkgutil.get_data(package, f"{name}.py") or b"").decode()
