# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign code builds without our privileges, and its result gets its name only when it is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop as _build
from ansible_collections.greenlight.flask.plugins.module_utils._build.builder import (
    BEGUN,
    SORT,
    perform,
    sort_requirements,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.workshop import (
    Step,
    StepFailed,
    Workshop,
    build_unit,
    build_user,
    traces,
    workshop,
)

from tests.unit.fakes import Sandbox

TOKEN = "t0ken-of-the-index"


def make(home: Path, script: str = "touch made", name: str = "a") -> None:
    target = home / "venvs" / name
    with workshop("shop", target, home, sys.executable) as shop:
        shop.perform([shell(script, target)], seconds=7)
        shop.finish()
        shop.publish()


def shell(script: str, directory: Path | None = None, *, may_fail: bool = False) -> Step:
    return Step("building", ["sh", "-ec", script], directory, may_fail)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_finished_build_has_its_name_and_leaves_nothing_else(tmp_path: Path) -> None:
    make(tmp_path)
    assert names(tmp_path / "venvs") == ["a"]
    assert names(tmp_path / "venvs/a") == ["made"]
    assert (tmp_path / "venvs/a").stat().st_mode & 0o777 == 0o755


def test_an_unfinished_build_is_accessible_only_to_root(tmp_path: Path) -> None:
    with workshop("shop", tmp_path / "venvs/a", tmp_path, sys.executable) as shop:
        assert shop.place.stat().st_mode & 0o777 == 0o700
        assert shop.tree.parent == shop.place
        assert shop.place.name.startswith(".unfinished-")
        assert names(tmp_path / "venvs") == [shop.place.name]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as failed:
        make(tmp_path, "touch made; echo no such thing; exit 3")
    assert (failed.value.what, failed.value.code, failed.value.said) == ("building", 3, "no such thing\n")
    assert names(tmp_path / "venvs") == []


def test_an_existing_build_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "venvs/a").mkdir(parents=True)
    (tmp_path / "venvs/a/half").touch()
    with pytest.raises(StepFailed):
        make(tmp_path, "exit 1")
    assert names(tmp_path / "venvs/a") == ["half"]
    make(tmp_path)
    assert names(tmp_path / "venvs/a") == ["made"]


@pytest.mark.slow
def test_leftovers_of_a_killed_build_are_stopped_and_removed_first(tmp_path: Path, sandbox: Sandbox) -> None:
    with workshop("shop", tmp_path / "venvs/a", tmp_path, sys.executable) as shop:
        left = shop.place / "tree"
    sandbox.running = {build_unit("shop")}
    # Too deep for Python's own removal, which would fail.
    left.mkdir(parents=True)
    subprocess.run(["sh", "-c", "for i in $(seq 1500); do mkdir d && cd d; done"], cwd=left, check=True)
    make(tmp_path)
    assert sandbox.stopped == [build_unit("shop")]
    assert names(tmp_path / "venvs/a") == ["made"]
    assert names(tmp_path / "venvs") == ["a"]


def test_a_step_that_may_fail_does_not_end_the_build(tmp_path: Path) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        said = shop.perform([shell("exit 1", may_fail=True), shell("echo done")], seconds=7)
    assert said == "done\n"


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (Finished(1, "", "Failed to start transient service unit"), GreenlightError),
        (Finished(137, f"{BEGUN}\n", ""), StepFailed),
        (Finished(0, f"{BEGUN}\nno JSON\n", ""), StepFailed),
        (Finished(0, f"{BEGUN}\n[]\n", ""), StepFailed),
        (Finished(0, f'{BEGUN}\n{{"failed": ""}}\n', ""), StepFailed),
    ],
)
def test_a_build_without_a_success_report_has_failed(
    tmp_path: Path, sandbox: Sandbox, ended: Finished, kind: type[GreenlightError]
) -> None:
    sandbox.ended = ended
    with pytest.raises(kind) as failed:
        make(tmp_path)
    assert type(failed.value) is kind
    assert names(tmp_path / "venvs") == []


# The sandbox


def test_no_value_of_the_environment_is_in_a_unit_or_on_a_command_line(tmp_path: Path, sandbox: Sandbox) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        shop.perform([shell("true")], seconds=7, environment={"UV_DEFAULT_INDEX": TOKEN}, network=True)
    assert TOKEN not in "\n".join(sandbox.words[0])
    assert sandbox.plans[0]["environment"]["UV_DEFAULT_INDEX"] == TOKEN


def test_network_and_cache_are_available_only_on_request(tmp_path: Path, sandbox: Sandbox) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        for network in (True, False):
            shop.perform([shell("true")], seconds=7, network=network)
    connected, alone = (set(settings) for settings in sandbox.settings)
    assert connected - alone == {
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "CacheDirectory=greenlight/shop",
        "CacheDirectoryMode=0700",
    }
    assert alone - connected == {"RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes"}


def test_a_build_sees_only_the_app_files_it_needs(tmp_path: Path, sandbox: Sandbox) -> None:
    source = tmp_path / "sources/a1"
    source.mkdir(parents=True)
    with workshop("shop", tmp_path / "venvs/a", tmp_path, sys.executable) as shop:
        shop.perform([shell("true")], seconds=7, reads={source: source})
    (settings,) = sandbox.settings
    assert f"TemporaryFileSystem={tmp_path}:ro" in settings
    assert [line for line in settings if line.startswith("Bind")] == [
        f"BindPaths={shop.tree}:{tmp_path}/venvs/a",
        f"BindPaths={shop.place}/scratch:{tmp_path}/scratch",
        f"BindReadOnlyPaths={source}:{source}",
    ]
    assert {"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "RuntimeMaxSec=7"} <= {*settings}


def test_a_build_has_lower_priority_than_serving_processes(tmp_path: Path, sandbox: Sandbox) -> None:
    make(tmp_path)
    wanted = {"Nice=10", "CPUSchedulingPolicy=batch", "CPUWeight=20", "IOSchedulingClass=idle", "OOMScoreAdjust=1000"}
    assert wanted <= {*sandbox.settings[0]}


def test_a_build_inherits_only_variables_for_reaching_the_index(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "NO_PROXY", "PIP_INDEX_URL", "UV_INDEX", "SSL_CERT_FILE", "SUDO_USER", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    make(tmp_path)
    given = sandbox.plans[0]["environment"]
    assert {"https_proxy", "NO_PROXY", "PIP_INDEX_URL", "UV_INDEX", "SSL_CERT_FILE"} <= given.keys()
    assert not {"SUDO_USER", "PYTHONPATH", "PATH"} & given.keys()
    assert given["HOME"] == given["TMPDIR"] == f"{tmp_path}/scratch"


def test_the_build_user_of_an_app_is_not_a_possible_app_name() -> None:
    users = {build_user(app) for app in ("shop", "shop-2", "a" * 31)}
    assert len(users) == 3
    assert not [user for user in users if APP_NAME.match(user) or len(user) > 31]


def test_leftovers_of_builds_outside_the_app_are_listed() -> None:
    assert traces(Path("/x"), "shop") == [
        Path("/x/var/cache/greenlight/shop"),
        Path("/x/var/cache/private/greenlight/shop"),
    ]


# The program inside


def test_the_build_program_gets_its_plan_on_standard_input(tmp_path: Path, sandbox: Sandbox) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        sandbox.ended = Finished(0, f'{BEGUN}\n{{"failed": "", "code": 0, "said": ""}}\n', "")
        shop.perform(
            [shell("echo out; echo err >&2; echo $TOKEN; pwd; exit 4", tmp_path)], seconds=7, environment={"TOKEN": "t"}
        )
    command = sandbox.words[0][-4:]
    assert command[:3] == [sys.executable, "-I", "-c"]
    assert "$" not in command[3]
    done = subprocess.run(
        command, input=json.dumps(sandbox.plans[0]), capture_output=True, text=True, check=True, cwd="/"
    )
    begun, answer = done.stdout.splitlines()
    assert begun == BEGUN
    assert json.loads(answer) == {"failed": "building", "code": 4, "said": f"out\nerr\nt\n{tmp_path}\n"}


def test_a_missing_program_is_a_failed_step(tmp_path: Path) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop, pytest.raises(StepFailed) as failed:
        shop.perform([Step("building", [tmp_path / "nowhere"])], seconds=7)
    assert "nowhere" in failed.value.said


def test_local_directories_are_separated_from_hashed_requirements(tmp_path: Path) -> None:
    exported, hashed, local = (tmp_path / name for name in ("exported", "hashed", "local"))
    exported.write_text(
        ".\n./packages/core ; sys_platform == 'linux'\n./wheels/w.whl \\\n    --hash=sha256:0\nflask==3 \\\n"
        "    --hash=sha256:1 \\\n    --hash=sha256:2\nodd @ git+https://example.org/odd\n"
    )
    sort_requirements(str(exported), str(hashed), str(local))
    assert local.read_text().splitlines() == [".", "./packages/core ; sys_platform == 'linux'"]
    assert [line.split()[0] for line in hashed.read_text().splitlines()] == ["./wheels/w.whl", "flask==3", "odd"]
    assert hashed.read_text().count("--hash=") == 3


def test_sorting_requirements_runs_as_a_build_step(tmp_path: Path) -> None:
    (tmp_path / "e").write_text(".\n")
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        shop.perform([Step("sorting", [SORT, *(tmp_path / name for name in "ehl")])], seconds=7)
    assert (tmp_path / "l").read_text() == ".\n"


def test_a_build_can_read_the_files_left_for_it(tmp_path: Path) -> None:
    with workshop("shop", tmp_path / "a", tmp_path, sys.executable) as shop:
        path = shop.leave("pinned.txt", "uv==1\n")
        assert shop.perform([Step("reading", ["cat", path])], seconds=7) == "uv==1\n"
        assert (shop.place / "scratch/pinned.txt").stat().st_mode & 0o777 == 0o644
    assert isinstance(shop, Workshop)
    assert not os.path.lexists(_build.CACHES / "nowhere")


@pytest.mark.parametrize(
    "argv", [["nowhere"], ["/etc/passwd"], ["sh", "-c", "\0"]], ids=["none", "no program", "a NUL"]
)
def test_a_step_that_cannot_start_has_failed(argv: list[str]) -> None:
    code, said = perform({"argv": argv, "directory": ""}, dict(os.environ))
    assert (code, bool(said)) == (127, True)
