# SPDX-License-Identifier: GPL-3.0-or-later
"""The test servers as the tests see them: from outside, over HTTP and SSH, and through the user's own command.

Nothing here uses the role's code; the tests check its claims with systemd, Nginx, the kernel and the file system. A
pytest plugin: the conftest.py of each Molecule scenario names it.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

from tests.support.player import Player

ROOT = Path(__file__).resolve().parents[2]
#: Each scenario has separate servers, so that two scenarios can run side by side.
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "default")
INVENTORY = ROOT / "molecule" / SCENARIO / "inventory"
#: The keys, secrets and certificates made for these servers.
DIRECTORY = ROOT / "build/molecule" / SCENARIO
PODMAN = ROOT / "script/podman/podman"
#: The prefix of each container's name, and the name of their network.
PROJECT = f"greenlight-test-{SCENARIO}"
SITE = "guestbook.test"
APP = "guestbook"
CURL = ("curl", "--silent", "--include", "--insecure", "--max-time", "30")
#: The maximum seconds of one run of the play.
PLAY_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """An HTTP answer from outside; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A test server; ``host`` has ``run`` and the other helpers of testinfra."""

    name: str
    http_port: int
    https_port: int
    host: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def https_url(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    def curl(self, path: str, *options: str, site: str = SITE, scheme: str = "https") -> Answer:
        """Request a path with curl, accepting any certificate; the status is 0 if no HTTP response came back."""
        port = {"http": self.http_port, "https": self.https_port}[scheme]
        done = subprocess.run(
            [*CURL, *options, "--resolve", f"{site}:{port}:127.0.0.1", f"{scheme}://{site}:{port}{path}"],
            capture_output=True,
            check=False,
        )
        head, _, body = done.stdout.decode("latin-1").partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        if not status.startswith("HTTP/"):
            return Answer(0, {}, done.stderr.decode())
        headers = {":version": status.split()[0]}
        for name, _, value in (line.partition(":") for line in lines):
            said = headers.get(name.lower())
            headers[name.lower()] = f"{said}, {value.strip()}" if said else value.strip()
        return Answer(int(status.split()[1]), headers, body)

    def ask(self, path: str = "/health", site: str = SITE, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            connection.request(method, path, headers={"Host": site})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read().decode())
        finally:
            connection.close()

    def root(self, command: str) -> str:
        """Run a shell command as root; it must succeed."""
        done = self.host.run(command)
        assert done.rc == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return str(done.stdout).strip()

    def write(self, path: str, content: str, umask: str = "077") -> None:
        """Write a file as root, through standard input: sudo logs command lines, which must hold no hunted secret."""
        command = [*ssh(self.name), f"sudo sh -c 'umask {umask}; cat > {path}'"]
        subprocess.run(command, input=content.encode(), check=True)

    @property
    def live(self) -> str:
        """Return the id of the live release, from the link that Nginx connects through."""
        return Path(self.root(f"readlink /srv/{APP}/live.sock")).stem

    def state(self) -> str:
        """Return everything a deploy could change as one text: files with owner, mode, size, content; units."""
        places = "/etc/guestbook /srv /etc/nginx /etc/systemd/system /etc/passwd /opt/greenlight"
        files = f"find {places} -printf '%p %u:%g %m %s %l\\n' 2>/dev/null | sort"
        contents = "find /etc/nginx /etc/systemd/system /srv/*/releases -type f -exec sha256sum {} + | sort"
        units = "systemctl list-units --all --plain --no-legend 'guestbook@*' | awk '{print $1, $3, $4}' | sort"
        return self.root(f"{files}; {contents}; {units}")


def servers() -> dict[str, dict[str, Any]]:
    group = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["flask_app"]
    return dict(group["hosts"])


#: One connection for each server, shared by all commands: a handshake costs more than most requests of the tests.
CONTROL_PATH = Path.home() / f".ansible/cp/tests-{hashlib.sha256(str(DIRECTORY).encode()).hexdigest()[:10]}-%p"
SSH_OPTIONS = {
    "IdentitiesOnly": "yes",
    "StrictHostKeyChecking": "yes",
    "UserKnownHostsFile": f'"{DIRECTORY}/known_hosts"',
    "ControlMaster": "auto",
    "ControlPersist": "120s",
    "ControlPath": f'"{CONTROL_PATH}"',
    # So that the connection to a rebooted server is dropped.
    "ServerAliveInterval": "5",
}


def _ssh_options() -> list[str]:
    """Return SSH_OPTIONS as words of a command; makes the directory of the shared connection."""
    CONTROL_PATH.parent.mkdir(parents=True, exist_ok=True)
    return [word for option, value in SSH_OPTIONS.items() for word in ("-o", f"{option}={value}")]


def ssh(name: str) -> list[str]:
    """Return the start of an SSH command to a server."""
    port = str(servers()[name]["ansible_port"])
    return ["ssh", "-i", str(DIRECTORY / "id_ed25519"), "-p", port, *_ssh_options(), "deploy@127.0.0.1"]


def connect(name: str) -> Server:
    facts = servers()[name]
    host = testinfra.get_host(
        f"ssh://deploy@127.0.0.1:{facts['ansible_port']}?sudo=true",
        ssh_identity_file=str(DIRECTORY / "id_ed25519"),
        ssh_extra_args=shlex.join(_ssh_options()),
    )
    return Server(name, facts["throwaway"]["http_port"], facts["throwaway"]["https_port"], host)


@pytest.fixture(params=sorted(servers()))
def server(request: pytest.FixtureRequest) -> Server:
    return connect(request.param)


@pytest.fixture
def one_server() -> Server:
    """Return a server for tests that don't depend on the Debian release."""
    return connect("debian13")


@pytest.fixture
def in_turns(request: pytest.FixtureRequest) -> Server:
    """Alternate the servers from test to test, for tests that work alike on both Debians."""
    names = sorted(servers())
    return connect(names[request.session.items.index(request.node) % len(names)])


#: What precedes a finding's id, where Ansible prints a message line by line: "1." or the severity.
_BEFORE = r"(?:\d+\.|(?:accepted )?(?:error|warning))"
_ID = r"[a-z]+(?:-[a-z]+)*"
#: A message may start on the line of Ansible's own words; below ``msg: |-`` all lines are indented.
_LISTED = re.compile(rf"^(?:\[ERROR\]: [^:]+: [^:]+: |[ ]*){_BEFORE} ({_ID}):(\S.*)$", re.MULTILINE)
#: A warning ends with its name. An empty line follows, or another warning, or a host's result.
_WARNED = re.compile(rf"^\[WARNING\]: (?:(?!\n\n|\n\[|\n\w+: \[).)*? \(({_ID}):([^()]+)\)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Played:
    """A finished run of the play."""

    code: int
    output: str

    def count(self, what: str) -> int:
        """Return the sum of a column of the recap, such as ``changed`` or ``failed``, over all hosts."""
        return sum(int(number) for number in re.findall(rf"\b{what}=(\d+)", self.output))

    @property
    def prose(self) -> str:
        """Return the output with its line breaks folded, for sentences that the terminal's width broke."""
        return " ".join(self.output.split())

    @property
    def findings(self) -> set[tuple[str, str]]:
        """Return id and subject of each printed finding: of the error that ends the play, a report, or a warning."""
        found = [*_LISTED.findall(self.output), *_WARNED.findall(self.output)]
        return {(kind, " ".join(subject.split())) for kind, subject in found}

    def finds(self, entry: str) -> bool:
        """Return whether a finding was printed that matches ``id`` or ``id:subject``."""
        return any(entry in (kind, f"{kind}:{subject}") for kind, subject in self.findings)


@functools.cache
def payloads() -> Path:
    """Return the directory of packed modules for the next play: one for each state of the packed files."""
    digest = hashlib.sha256(f"{sys.version}{version('ansible-core')}".encode())
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        digest.update(f"{path}{path.read_text(encoding='utf-8')}".encode())
    return ROOT / "build/payloads" / digest.hexdigest()[:16]


def play_environment() -> dict[str, str]:
    """Return the environment of the user's command: with the repository's settings, without Molecule's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_VAULT_IDENTITY_LIST": f"test@{ROOT}/molecule/shared/unused-vault-password",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/support/callbacks"),
        "GREENLIGHT_PAYLOADS": str(payloads()),
    }


def play_command(
    *options: str, inventory: Path = INVENTORY, limit: str = "", playbook: Path = ROOT / "site.yml", **variables: Any
) -> list[str]:
    """Return the user's command, with variables that override the inventory's."""
    command = ["ansible-playbook", "-i", str(inventory), str(playbook), *options]
    command += ["--limit", limit] if limit else []
    return [*command, *(["--extra-vars", json.dumps(variables)] if variables else [])]


@functools.cache
def player() -> Player:
    """Return the process that runs this session's plays, except those that are watched or killed while they run."""
    made = Player(play_environment(), ROOT)
    atexit.register(made.end)
    return made


def run_play(*options: str, **more: Any) -> Played:
    """Run the command that :func:`play_command` makes."""
    return Played(*player().play(play_command(*options, **more)[1:], PLAY_SECONDS))


def run_until(line: str, then: Callable[[subprocess.Popen[str]], None], *options: str, **more: Any) -> Played:
    """Run the command that :func:`play_command` makes; when a line with this text appears, call ``then`` once."""
    process = subprocess.Popen(
        play_command(*options, **more),
        cwd=ROOT,
        env=play_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    said = []
    waiting = True
    for text in process.stdout:
        said.append(text)
        if waiting and line in text:
            waiting = False
            then(process)
    output = "".join(said)
    assert not waiting, f"no line with {line!r}\n{output}"
    return Played(process.wait(timeout=PLAY_SECONDS), output)


def kill_run(after_seconds: float = 0) -> Callable[[subprocess.Popen[str]], None]:
    """Kill a run and all its workers with SIGKILL, like a dying laptop; processes it started on a server live on."""

    def kill(process: subprocess.Popen[str]) -> None:
        time.sleep(after_seconds)
        os.killpg(process.pid, signal.SIGKILL)

    return kill


def fresh() -> dict[str, Any]:
    """Return variables that always make a new release."""
    return {"flask_app_env": {"GREETING": f"Hello for the {time.time_ns()}th time"}}


@pytest.fixture
def play() -> Callable[..., Played]:
    return run_play


def secrets() -> dict[str, str]:
    """Return the test inventory's secret values, as made for this run."""
    token = (DIRECTORY / "token").read_text().strip()
    return {
        "SECRET_KEY": (DIRECTORY / "secret_key").read_text().strip(),
        "API_TOKEN": f"{token} '\"$HOME`\\ #%;é",
    }


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "outside: too long for what it tells; script/test --outside runs it")


def keep(items: list[pytest.Item], config: pytest.Config, wanted: Callable[[pytest.Item], bool]) -> None:
    """Deselect the items that are not wanted."""
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = filter(wanted, items)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "GREENLIGHT_OUTSIDE" not in os.environ:
        keep(items, config, lambda item: not item.get_closest_marker("outside"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the app's journal to a failure's report: it mostly explains the failure."""
    report = yield
    if report.when == "call" and report.failed:
        for name in servers():
            done = connect(name).host.run(f"journalctl --unit='{APP}@*' --lines=20 --no-pager --output=short-precise")
            report.sections.append((f"journal of {name}", done.stdout))
    return report
