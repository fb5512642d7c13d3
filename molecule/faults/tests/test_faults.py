# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault that a deploy may meet, tried on both servers under load: the rows of the table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.deployed import APP, PODMAN, PROJECT, ROOT, SITE, connect, run_play, run_until
from tests.support.faults import Trial, all_servers, at_work, limit, live, on_all
from tests.support.load.load import Result
from tests.support.rotation import make_vault, rotation

ROLLBACK = ROOT / "playbooks/rollback.yml"


def source(tmp_path: Path, variant: str = "good_change", **options: Any) -> str:
    """Make a variant of the example app; each good one differs from all others."""
    options.setdefault("label", f"label {time.time_ns()}")
    return str(variants.make(variant, tmp_path / variant, **options))


def with_another_lock(directory: str) -> str:
    """Make the app need a new venv with the same packages."""
    lock = Path(directory) / "requirements.txt"
    lock.write_text(f"{lock.read_text()}\n# {time.time_ns()}\n")
    return directory


# --- what must go well -----------------------------------------------------------------------------------------------


def test_good_deploy(trial: Trial, tmp_path: Path) -> None:
    changed = source(tmp_path)
    with trial.users():
        trial.run(flask_app_source_directory=changed)
        trial.run(flask_app_source_directory=changed)
    trial.expect(live="new", code=0, again=0)
    assert trial.runs[1].count("changed") == 0


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"flask_app_env": {"GREETING": "Another greeting"}}, id="environment-only change"),
        pytest.param({"flask_app_gunicorn_threads": 12}, id="Gunicorn-setting change"),
    ],
)
def test_change(trial: Trial, variables: dict[str, Any]) -> None:
    with trial.users():
        trial.run(**variables)
        trial.run(**variables)
    trial.expect(live="new", code=0, again=0)
    assert trial.runs[1].count("changed") == 0


def test_rollback(trial: Trial) -> None:
    with trial.users():
        trial.run(playbook=ROLLBACK)
    trial.expect(live="new", code=0)


@pytest.mark.both
def test_rotation(trial: Trial) -> None:
    make_vault()
    assert run_play().code == 0
    trial.before = live()
    with trial.users():
        for step in ("start", "finish", "finish"):
            trial.run(**rotation(step))
    now = live()
    for each in trial.results.values():  # the release between the two steps is a good one too
        for result in each:
            for middle in set(result.by_release) - {*trial.before.values(), *now.values()}:
                result.by_release.pop(middle)
    trial.expect(live="new", code=0, again=0)
    assert [run.code for run in trial.runs] == [0, 0, 0]


# --- releases that must not go live ----------------------------------------------------------------------------------

CANDIDATE = "candidate-failed"
#: Fault -> the variant of the app, the finding and the text expected, and variables.
BAD: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "import error": ("import_error", CANDIDATE, "process: expected running", {}),
    "exit at start": ("exit_at_start", CANDIDATE, "process: expected running", {}),
    "start takes longer than the limit": (
        "slow_start",
        CANDIDATE,
        "health answer: expected within",
        {"flask_app_start_seconds": 3},
    ),
    "/health 500": ("health_500", CANDIDATE, "HTTP status: expected 200, got 500", {}),
    "wrong environment": ("wrong_environment", CANDIDATE, 'env: expected "staging", got "production"', {}),
    "DEBUG on": ("debug_on", CANDIDATE, "debug: expected false, got true", {}),
    "wrong revision": ("wrong_revision", CANDIDATE, "revision: expected", {}),
    "candidate passes, front door fails": (
        "front_door_500",
        CANDIDATE,
        "with X-Greenlight-Rehearsal): HTTP status",
        {},
    ),
    "key from elsewhere": ("own_key", CANDIDATE, "other-key", {}),
    "health page hangs": (
        "hangs",
        CANDIDATE,
        "health answer: expected within",
        {"flask_app_start_seconds": 4, "flask_app_gunicorn_graceful_timeout_seconds": 2},
    ),
    "dependency can't be resolved": ("unresolvable", "", "installing the locked packages with uv failed", {}),
    "hash mismatch": ("bad_hash", "", "Hash mismatch for `flask", {}),
    "memory limit hit by a leaking app": (
        "leaks_at_start",
        CANDIDATE,
        "process: expected running",
        # The containers of a test machine have no memory controller; the kernel itself limits the address space.
        {"flask_app_service_settings": {"LimitAS": "1G"}},
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_release(trial: Trial, fault: str, tmp_path: Path) -> None:
    variant, finds, says, variables = BAD[fault]
    bad = source(tmp_path, variant)
    with trial.users():
        trial.run(flask_app_source_directory=bad, **variables)
        trial.run(flask_app_source_directory=bad, **variables)
    trial.expect(live="old", code=1, finds=finds, says=says, again=1)
    message = trial.runs[0].output
    assert "Traceback" not in message[message.index("[ERROR]") : message.index("Origin:")]
    for server in all_servers():
        rows = server.root(f"systemctl list-units --all --plain --no-legend '{APP}@*' | awk '{{print $1}}'").split()
        assert sorted(rows) == [f"{APP}@{server.live}.service", f"{APP}@{server.live}.socket"]


def test_release_command_fails(trial: Trial) -> None:
    variables = {"flask_app_release_command": "echo the table is locked; exit 4"}
    with trial.users():
        trial.run(**variables)
        trial.run(**variables)
    trial.expect(live="old", code=1, finds="release-command-failed", says="the table is locked", again=1)


def test_package_index_unreachable(trial: Trial, tmp_path: Path) -> None:
    changed = with_another_lock(source(tmp_path))
    away = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_NO_CACHE": "1"}
    with trial.users():
        trial.run(flask_app_source_directory=changed, flask_app_build_environment=away)
        trial.run(flask_app_source_directory=changed, flask_app_build_environment=away)
    trial.expect(live="old", code=1, says="installing the locked packages with uv failed", again=1)


def test_git_reference_missing(trial: Trial) -> None:
    on_all("test -d /opt/app.git || (apt-get -qq install -y git >/dev/null 2>&1; git init -q --bare /opt/app.git)")
    variables = {
        "flask_app_source_directory": "",
        "flask_app_source_git_url": "file:///opt/app.git",
        "flask_app_source_git_ref": "no-such-branch",
    }
    with trial.users():
        trial.run(**variables)
        trial.run(**variables)
    trial.expect(live="old", code=1, says="no-such-branch", again=1)


# --- a full disk -----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk() -> Iterator[Callable[[int], None]]:
    """Move /srv to a small file system; yield a function that leaves so many KiB of it free."""
    on_all(
        "mount -t tmpfs -o size=$(( $(du -sk /srv | cut -f1) + 65536 ))k,mode=755 tmpfs /mnt && cp -a /srv/. /mnt/"
        " && mount --bind /mnt /srv && umount /mnt"
    )

    def leave(kibibytes: int) -> None:
        on_all(
            "rm -f /srv/fill; free=$(df -k --output=avail /srv | tail -n 1);"
            f" fallocate -l $(( free - {kibibytes} ))k /srv/fill"
        )

    try:
        yield leave
    finally:
        # Keep what was deployed meanwhile.
        on_all("rm -f /srv/fill; mount --bind / /mnt && cp -a /srv/. /mnt/srv/ && umount /mnt; umount -l /srv")


def test_disk_full_while_building_the_venv(trial: Trial, tmp_path: Path) -> None:
    changed = with_another_lock(source(tmp_path))
    variables = {"flask_app_source_directory": changed, "flask_app_free_space_mb": 0}
    with small_disk() as leave, trial.users():
        leave(4096)
        trial.run(**variables)
        leave(60000)
        trial.run(**variables)
    trial.expect(live="new", code=1, says="No space left on device", again=0)
    assert "/srv (tmpfs on tmpfs" in trial.runs[0].prose  # the file system


def test_disk_full_while_sending_the_source(trial: Trial, tmp_path: Path) -> None:
    changed = source(tmp_path)
    (Path(changed) / "large.bin").write_bytes(os.urandom(2**21))
    place = "/home/deploy/.ansible"
    # Without room for another name, so that Ansible can't make its directory there.
    on_all(f"mkdir -p {place} && mount -t tmpfs -o nr_inodes=1,mode=1777 tmpfs {place}")
    try:
        with trial.users():
            trial.run(flask_app_source_directory=changed)
            locks = [server.root(f"cat /run/greenlight/{APP}.lock 2>/dev/null; true") for server in all_servers()]
            on_all(f"umount {place}")
            trial.run(flask_app_source_directory=changed)
    finally:
        on_all(f"umount {place} 2>/dev/null; true")
    trial.expect(live="new", code=1, says="No space left on device", again=0)
    assert f"~/.ansible/tmp is on the file system {place} (tmpfs" in trial.runs[0].prose
    assert not any(locks)  # the lock was released


def test_disk_full_while_writing_the_release(trial: Trial) -> None:
    variables = {"flask_app_env": {"GREETING": "No room"}, "flask_app_free_space_mb": 0}
    with small_disk() as leave, trial.users():
        leave(0)
        trial.run(**variables)
        leave(60000)
        trial.run(**variables)
    trial.expect(live="new", code=1, says="No space left on device", again=0)
    assert "/srv (tmpfs on tmpfs" in trial.runs[0].prose  # the file system


def test_disk_full_while_writing_the_ledger(trial: Trial, tmp_path: Path) -> None:
    changed = source(tmp_path)
    ledger = f"/srv/{APP}/ledger.jsonl"
    # Fill the last page, so that the next line needs a new one.
    on_all(
        f"truncate -s $(( ($(stat -c %s {ledger}) + 4095) / 4096 * 4096 )) {ledger};"
        f" mount -t tmpfs -o size=$(( $(stat -c %s {ledger}) / 1024 ))k tmpfs /mnt && cp -a {ledger} /mnt/ledger"
        f" && mount --bind /mnt/ledger {ledger}"
    )
    try:
        with trial.users():
            trial.run(flask_app_source_directory=changed)
            on_all(f"umount {ledger} && umount /mnt")
            trial.run(flask_app_source_directory=changed)
    finally:
        on_all(f"umount {ledger} 2>/dev/null; umount /mnt 2>/dev/null; true")
    trial.expect(live="new", code=1, says="No space left on device", again=0)
    for server in all_servers():
        events = [
            json.loads(line.strip("\0")) for line in server.root(f"cat {ledger}").splitlines() if line.strip("\0")
        ]
        assert [event["release"] for event in events if event["event"] == "live"][-1] == server.live


# --- other people's Nginx --------------------------------------------------------------------------------------------


def test_nginx_configuration_broken_by_someone_else(trial: Trial, tmp_path: Path) -> None:
    trial.fault = "Nginx configuration broken by someone else"
    changed = source(tmp_path)
    for server in all_servers():
        server.write("/etc/nginx/sites-enabled/theirs.conf", "server { nonsense; }\n")
    with trial.users():
        trial.run(flask_app_source_directory=changed)
        on_all("rm /etc/nginx/sites-enabled/theirs.conf")
        trial.run(flask_app_source_directory=changed)
    said = "/etc/nginx/sites-enabled/theirs.conf:1"
    trial.expect(live="new", code=1, finds="refused-by-nginx:nginx", says=said, again=0)


def test_another_site_already_owns_the_server_name(trial: Trial, tmp_path: Path) -> None:
    changed = source(tmp_path)
    for server in all_servers():
        server.write(
            "/etc/nginx/sites-enabled/theirs.conf", "server { listen 80; server_name taken.test; return 204; }\n"
        )
    variables = {"flask_app_source_directory": changed, "flask_app_server_names": [SITE, "taken.test"]}
    with trial.users():
        trial.run(**variables)
        on_all("rm /etc/nginx/sites-enabled/theirs.conf")
        trial.run(flask_app_source_directory=changed)
    trial.expect(live="new", code=1, finds="name-taken:flask_app_server_names", says="taken.test", again=0)


# --- runs that are cut short -----------------------------------------------------------------------------------------


def test_ssh_connection_cut(trial: Trial, tmp_path: Path) -> None:
    trial.fault = "SSH connection cut"
    changed = source(tmp_path)

    def cut(_process: subprocess.Popen[str]) -> None:
        time.sleep(0.5)
        for name in at_work():
            # Through the container, because the SSH connection is what gets cut.
            command = [str(PODMAN), "exec", f"{PROJECT}-{name}"]
            subprocess.run([*command, "pkill", "-KILL", "-f", "^sshd.*deploy"], check=False, capture_output=True)

    with trial.users():
        trial.runs.append(run_until("candidate |", cut, **limit(), flask_app_source_directory=changed))
        trial.run(flask_app_source_directory=changed)
    trial.expect(live="new", code=1, says="UNREACHABLE", again=0)


def test_two_deploys_at_once(trial: Trial, tmp_path: Path) -> None:
    changed = source(tmp_path)

    def another(_process: subprocess.Popen[str]) -> None:
        trial.run(flask_app_source_directory=changed)

    with trial.users():
        first = run_until("candidate |", another, **limit(), flask_app_source_directory=changed)
        trial.runs.append(first)
    trial.expect(live="new", code=1, finds=f"locked:{APP}", again=0)


@pytest.mark.parametrize("line", ["candidate |", "finish |"], ids=["before the switch", "after the switch"])
def test_host_rebooted(trial: Trial, line: str, tmp_path: Path) -> None:
    trial.fault = f"host rebooted {'before' if line == 'candidate |' else 'after'} the switch"
    changed = source(tmp_path)

    def reboot(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGSTOP)  # pause the run until the servers are back
        ended.set()
        users.join()
        restarts = [subprocess.Popen([PODMAN, "restart", f"{PROJECT}-{name}"], stdout=-3) for name in at_work()]
        assert [restart.wait() for restart in restarts] == [0] * len(restarts)
        os.killpg(process.pid, signal.SIGCONT)

    # A server that is down can't answer: the load ends just before the reboot, and starts again after it.
    ended = threading.Event()

    def ask() -> None:
        with trial.users():
            ended.wait()

    users = threading.Thread(target=ask)
    users.start()
    try:
        trial.runs.append(run_until(line, reboot, **limit(), flask_app_source_directory=changed))
    finally:
        ended.set()
    for server in all_servers():
        _wait_until_it_answers(server.name)
    with trial.users():
        trial.run(flask_app_source_directory=changed)
    trial.expect(live="new", code=1, again=0)


def _wait_until_it_answers(name: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if connect(name).ask().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{name} does not answer {seconds:g} seconds after its reboot")


# --- faults of the live release --------------------------------------------------------------------------------------


def lost_with_its_process(result: Result) -> int:
    """Nginx doesn't repeat requests that may have had an effect, so those of a killed process are lost."""
    lost = result.failures.get("status")
    return lost.count if lost and all(each.request in ("post", "upload") for each in lost.examples) else 0


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_live_process_killed_with_sigkill(trial: Trial, victim: str) -> None:
    trial.fault = f"live {victim} killed with SIGKILL"
    with trial.users():
        for _ in range(2):
            for server in all_servers():
                unit = f"{APP}@{server.live}.service"
                main = f"$(systemctl show {unit} --property=MainPID --value)"
                server.root(f"kill -KILL {main if victim == 'master' else f'$(pgrep -P {main} | head -n 1)'}")
            time.sleep(6)
    trial.expect(live="old", may_fail=lost_with_its_process)


def test_clock_set_back_an_hour(trial: Trial, tmp_path: Path) -> None:
    """Release ids have the time of the deploying machine; which release is live or previous doesn't depend on it."""
    earlier = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    changed = source(tmp_path)
    with trial.users():
        trial.run(flask_app_source_directory=changed, __flask_app_time=earlier)
        trial.run(flask_app_source_directory=changed)
    trial.expect(live="new", code=0, again=0)
    for server in all_servers():
        assert server.live.startswith(earlier)
    back = run_play(playbook=ROLLBACK, **limit())
    assert back.code == 0, back.output
    assert live() == trial.before
