# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are locks, what a venv's name depends on, and that an incomplete venv never counts as complete."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build.built import MARKER, is_complete
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import Choice
from ansible_collections.greenlight.flask.plugins.module_utils._build.venv import (
    Recipe,
    build,
    interpreter,
    venv_digest,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.workshop import Workshop
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call
from ansible_collections.greenlight.flask.plugins.module_utils._steps import build_venv as step

from tests.unit.fakes import Sandbox
from tests.unit.killing import killed

HASH = "--hash=sha256:" + "0" * 64
GUNICORN = f"gunicorn==27.0.1 {HASH}\n"

# Its name


SAYS = '[[3, 13, 5], "cpython-313", "linux-x86_64", "/usr/bin/python3.13"]'


def playing_interpreter(path: Path, says: str = SAYS, code: int = 0) -> str:
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


def named(recipe: Recipe, source: str = "a1") -> str:
    """Return the name of the recipe's venv."""
    return venv_digest(interpreter(recipe.python)[1], recipe.source, recipe.requirements, recipe.choice, source)


@contextmanager
def in_time() -> Iterator[None]:
    """Raise TimeoutError after two seconds, even inside a blocking system call."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    source = tmp_path / "source"
    source.mkdir()
    (source / "requirements.txt").write_text(GUNICORN)
    python = playing_interpreter(tmp_path / "python")
    return Recipe(source, "requirements.txt", python, Choice(installer="pip"), {}, "", tmp_path / "tools")


def test_the_name_of_a_venv_is_a_stable_64_digit_hash(recipe: Recipe) -> None:
    assert named(recipe) == "fc53d8be9fab22a087cb556c8db02311297823c940db8b122f549e1ca98ebf28"


def test_another_lock_gives_another_venv(recipe: Recipe) -> None:
    before = named(recipe)
    (recipe.source / "requirements.txt").write_text(GUNICORN + "# a comment\n")
    assert named(recipe) != before


@pytest.mark.parametrize(
    "says",
    [
        SAYS.replace("cpython-313", "cpython-314"),
        SAYS.replace("x86_64", "aarch64"),
        SAYS.replace("/usr/bin", "/opt/bin"),
    ],
    ids=["version", "platform", "place"],
)
def test_another_interpreter_gives_another_venv(recipe: Recipe, says: str) -> None:
    before = named(recipe)
    playing_interpreter(Path(recipe.python), says)
    assert named(recipe) != before


def test_a_real_interpreter_reports_its_kind(recipe: Recipe) -> None:
    assert named(dataclasses.replace(recipe, python="python3")) != named(recipe)


def test_settings_without_effect_on_packages_are_not_part_of_the_name(recipe: Recipe) -> None:
    (recipe.source / "other.txt").write_text("x")
    other = dataclasses.replace(recipe, choice=Choice(), environment={"PIP_INDEX_URL": "https://pypi.example.org"})
    assert named(other) == named(recipe)


@pytest.mark.parametrize("directory", ["", "backend/"])
def test_the_project_next_to_a_uv_lock_is_part_of_the_name(recipe: Recipe, directory: str) -> None:
    (recipe.source / directory).mkdir(exist_ok=True)
    (recipe.source / f"{directory}uv.lock").write_text('[[package]]\nname = "gunicorn"\n')
    (recipe.source / f"{directory}pyproject.toml").write_text("[project]\n")
    locked = dataclasses.replace(recipe, requirements=f"{directory}uv.lock", choice=Choice())
    before = named(locked)
    (recipe.source / f"{directory}pyproject.toml").write_text("[project]\nname = 'shop'\n")
    assert named(locked) != before


@pytest.mark.parametrize(
    "choice", [Choice(extras=["web"]), Choice(groups=["web"]), Choice(package="core"), Choice(project=True)]
)
def test_the_selection_is_part_of_the_name(recipe: Recipe, choice: Choice) -> None:
    text = WORKSPACE.replace("[package.optional", "[package.dev-dependencies]\nweb = []\n[package.optional")
    text = text.replace('packages/core" }\n', 'packages/core" }\ndependencies = [{ name = "gunicorn" }]\n')
    names = set()
    for each in (Choice(), choice):
        locked = workspace(recipe, each)
        (recipe.source / "uv.lock").write_text(text)
        names.add(named(locked))
    assert len(names) == 2


@pytest.mark.parametrize(("choice", "same"), [(Choice(), True), (Choice(extras=["web"]), False)])
def test_the_source_is_part_of_the_name_if_the_venv_contains_its_code(
    recipe: Recipe, choice: Choice, *, same: bool
) -> None:
    locked = workspace(recipe, choice)
    assert (named(locked, "a1") == named(locked, "b2")) is same


def test_a_missing_lock_is_named(recipe: Recipe) -> None:
    with pytest.raises(GreenlightError, match=r"flask_app_requirements is lock\.txt, but the source has no such file"):
        named(dataclasses.replace(recipe, requirements="lock.txt"))


@pytest.mark.parametrize("kind", ["a file", "a pipe"])
@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_links_out_of_the_source_are_not_read(recipe: Recipe, tmp_path: Path, name: str, kind: str) -> None:
    locked = workspace(recipe, Choice())
    (recipe.source / "pyproject.toml").unlink()
    before = named(locked)
    (tmp_path / "state").mkdir()
    (recipe.source / "instance").symlink_to(tmp_path / "state")
    (recipe.source / name).unlink(missing_ok=True)
    (recipe.source / name).symlink_to(f"instance/{name}")
    if kind == "a pipe":
        os.mkfifo(tmp_path / "state" / name)
    else:
        (tmp_path / "state" / name).write_text("hunter2")
    with in_time():
        if name == "uv.lock":
            with pytest.raises(GreenlightError, match=r"^(?!.*hunter2).*uv\.lock"):
                named(locked)
        else:
            assert named(locked) == before


def test_an_unfit_lock_is_refused(recipe: Recipe) -> None:
    (recipe.source / "requirements.txt").write_text("flask\n")
    with pytest.raises(GreenlightError, match="is not a lock"):
        named(recipe)


def test_a_newer_patch_release_of_the_interpreter_keeps_the_venv(recipe: Recipe) -> None:
    before = named(recipe)
    playing_interpreter(Path(recipe.python), SAYS.replace("3, 13, 5", "3, 13, 6"))
    assert named(recipe) == before


def test_an_interpreter_reports_its_version(recipe: Recipe) -> None:
    assert interpreter(recipe.python)[0] == "3.13.5"


@pytest.mark.parametrize("says", ["", "no python", "5", "[]", '["x"]', "[[3, null]]", "[[3, 13]]"])
def test_a_program_that_is_not_an_interpreter_has_no_version(recipe: Recipe, says: str) -> None:
    assert interpreter(playing_interpreter(Path(recipe.python), says)) == ("", "")
    assert interpreter("/nonexistent/python") == ("", "")


@pytest.mark.parametrize("mode", [None, 0o644, 0o755], ids=["a directory", "not executable", "no program"])
def test_a_file_that_cannot_run_is_not_an_interpreter(tmp_path: Path, mode: int | None) -> None:
    if mode is not None:
        (tmp_path / "python3").write_text("no program")
        (tmp_path / "python3").chmod(mode)
    assert interpreter(str(tmp_path if mode is None else tmp_path / "python3")) == ("", "")


# Making it


PYTHON = """\
#!/bin/sh
# Plays "-m venv", "-m pip" and the import of gunicorn; fails in the step that {fails} names.
case "$*" in
    *"--no-config"*" venv "*)
        step=uv-venv; for home in "$@"; do :; done; mkdir -p "$home/bin"; cp "$0" "$home/bin/python" ;;
    *"--no-config"*" pip sync "*) step=uv-sync; echo "$*" >>{log} ;;
    *"--no-config"*" pip check "*) step=uv-check; echo "$*" >>{log} ;;
    *"--no-config"*" pip install "*) step=uv-install; echo "$*" >>{log}; pwd >>{log}.places; touch build ;;
    *"--no-config"*" export "*) step=uv-export; echo "$*" >>{log}
        while [ "$1" != --output-file ]; do shift; done
        printf '%s\n' ./packages/core './wheels/w.whl \\' '    --hash=sha256:0' >"$2" ;;
    *"-m venv"*) step=venv; for home in "$@"; do :; done; mkdir -p "$home/bin"; cp "$0" "$home/bin/python"
        touch "$home/.lock"; chmod 0666 "$home/.lock" ;;
    *"-m pip"*)
        step=pip; echo "$*" >>{log}
        for lock in "$@"; do :; done; cat "$lock" >>{log}.locks; cp "$0" "$(dirname "$0")/uv" ;;
    *gunicorn*) step=gunicorn; [ "{fails}" = gunicorn ] || echo 27.0.1 ;;
    *) : ;;
esac
[ "$step" != "{fails}" ] || {{ [ -z "{says}" ] || echo "{says}" >&2; exit 1; }}
"""


def playing(recipe: Recipe, fails: str = "", says: str = "") -> Path:
    """Replace the recipe's interpreter by a script; return its log of pip's arguments."""
    log = recipe.source.parent / "pip.log"
    Path(recipe.python).write_text(PYTHON.format(fails=fails, says=says, log=log))
    return log


def test_a_venv_is_complete_if_it_can_import_gunicorn(recipe: Recipe, tmp_path: Path) -> None:
    log = playing(recipe)
    build(recipe, tmp_path / "venvs/a")
    assert is_complete(tmp_path / "venvs/a")
    (line,) = log.read_text().splitlines()
    assert "--require-hashes --requirement" in line
    assert line.endswith("/requirements.txt")
    assert '"gunicorn": "27.0.1"' in (tmp_path / "venvs/a" / MARKER).read_text()


@pytest.mark.parametrize(
    ("step", "reason"),
    [("venv", "making the venv"), ("pip", "installing the locked packages"), ("gunicorn", "can't import gunicorn")],
)
@pytest.mark.parametrize("says", ["no such package", ""])
def test_a_failed_venv_does_not_count_as_complete(
    recipe: Recipe, tmp_path: Path, step: str, reason: str, says: str
) -> None:
    playing(recipe, fails=step, says=says)
    with pytest.raises(GreenlightError, match=f"(?s){reason}.*{says}"):
        build(recipe, tmp_path / "venvs/a")
    assert not is_complete(tmp_path / "venvs/a")
    playing(recipe)
    build(recipe, tmp_path / "venvs/a")
    assert is_complete(tmp_path / "venvs/a")


def test_leftovers_of_a_killed_run_are_removed_first(recipe: Recipe, tmp_path: Path) -> None:
    playing(recipe)
    (tmp_path / "venvs/a/lib").mkdir(parents=True)
    (tmp_path / "venvs/a/lib/half.py").write_text("x")
    build(recipe, tmp_path / "venvs/a")
    assert not (tmp_path / "venvs/a/lib").exists()


def test_a_package_with_a_link_through_the_instance_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    playing(recipe)
    script = Path(recipe.python).read_text()
    Path(recipe.python).write_text(script.replace("step=pip;", 'step=pip; ln -s ../var/x "$(dirname "$0")/x";'))
    with pytest.raises(GreenlightError, match="bin/x"):
        build(recipe, tmp_path / "venvs/a")
    assert not (tmp_path / "venvs/a").exists()


@pytest.mark.parametrize("left", ["bin", MARKER])
def test_a_partial_venv_is_not_complete(tmp_path: Path, left: str) -> None:
    (tmp_path / "bin").mkdir()
    if left == "bin":
        (tmp_path / "bin/python").write_text("")
    else:
        (tmp_path / MARKER).write_text("{}")
    assert not is_complete(tmp_path)


def test_a_token_of_an_index_url_is_masked_even_in_another_url(recipe: Recipe, tmp_path: Path) -> None:
    index = "https://deploy:hunter2-long@pypi.example.org/t0ken-of-the-path/simple"
    playing(recipe, fails="pip", says="401 for https://pypi.example.org/t0ken-of-the-path/simple/flask")
    with pytest.raises(GreenlightError) as failure:
        build(dataclasses.replace(recipe, environment={"PIP_INDEX_URL": index}), tmp_path / "venvs/a")
    assert "t0ken" not in str(failure.value)
    assert "https://pypi.example.org********/flask" in str(failure.value)


def test_download_credentials_are_masked_in_a_failure(recipe: Recipe, tmp_path: Path) -> None:
    index = "https://deploy:hunter2-long@pypi.example.org/simple"
    playing(recipe, fails="pip", says=f"401 for {index} with hunter2-long")
    with pytest.raises(GreenlightError) as failed:
        build(dataclasses.replace(recipe, environment={"PIP_INDEX_URL": index}), tmp_path / "venvs/a")
    assert "401 for ********" in str(failed.value)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("given", [{"A": None}, {"A": ["hunter2"]}, {"A": "hunter2\0"}, {"A=": "hunter2"}], ids=repr)
def test_a_variable_that_a_build_cannot_get_is_refused_by_name(
    recipe: Recipe, tmp_path: Path, given: dict[str, Any]
) -> None:
    playing(recipe)
    (tmp_path / "srv/shop/sources").mkdir(parents=True)
    recipe.source.rename(tmp_path / "srv/shop/sources/a1")
    options: dict[str, Any] = {
        "source": "a1",
        "requirements": "requirements.txt",
        "python": recipe.python,
        "variables": given,
    }
    options |= {"extras": [], "groups": [], "package": "", "project": False, "installer": "pip", "uv_requirements": ""}
    with pytest.raises(GreenlightError, match=r"^(?!.*(hunter2|None))'?A"):
        step.run(Call(Layout("shop", tmp_path), options))
    assert not (tmp_path / "srv/shop/venvs").exists()


def test_uv_without_a_pin_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    playing(recipe)
    with pytest.raises(GreenlightError, match=r"uv.txt pins no uv==<version>"):
        build(dataclasses.replace(recipe, choice=Choice(), uv_requirements="uv>=1\n"), tmp_path / "venvs/a")


@pytest.fixture
def uv(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, choice=Choice(), uv_requirements=f"# pinned\nuv==0.11.30 {HASH}\n")


def test_uv_is_installed_once_at_its_pinned_version(uv: Recipe, tmp_path: Path) -> None:
    log = playing(uv)
    for name in "ab":
        build(uv, tmp_path / f"venvs/{name}")
        assert is_complete(tmp_path / f"venvs/{name}")
    assert (uv.tools / "uv-0.11.30/bin/uv").exists()
    assert "uv==0.11.30 --hash" in Path(f"{log}.locks").read_text()
    steps = log.read_text().splitlines()
    assert [re.findall(r"pip (\w+)", step)[0] for step in steps] == ["install", "sync", "check", "sync", "check"]
    assert "--require-hashes --only-binary=:all:" in steps[0]
    assert "--require-hashes" in steps[1]
    assert steps[1].endswith(str(uv.source / "requirements.txt"))


def test_a_partial_uv_installation_is_repeated(uv: Recipe, tmp_path: Path) -> None:
    log = playing(uv)
    (uv.tools / "uv-0.11.30/bin").mkdir(parents=True)
    (uv.tools / "uv-0.11.30/bin/uv").write_text("half")
    build(uv, tmp_path / "venvs/a")
    assert "pip install" in log.read_text()


WORKSPACE = """\
[[package]]
name = "gunicorn"
[[package]]
name = "shop"
source = { editable = "." }
dependencies = [{ name = "gunicorn" }]
[package.optional-dependencies]
web = [{ name = "core" }]
[[package]]
name = "core"
source = { editable = "packages/core" }
"""


def workspace(recipe: Recipe, choice: Choice) -> Recipe:
    (recipe.source / "uv.lock").write_text(WORKSPACE)
    for place in (".", "packages/core"):
        (recipe.source / place).mkdir(parents=True, exist_ok=True)
        (recipe.source / place / "pyproject.toml").write_text('[build-system]\nrequires = ["uv_build"]\n')
    return dataclasses.replace(recipe, requirements="./uv.lock", choice=choice)


def test_from_a_uv_lock_only_the_selection_is_installed(uv: Recipe, tmp_path: Path) -> None:
    log = playing(uv)
    build(workspace(uv, Choice()), tmp_path / "venvs/a")
    _, export, sync, _ = log.read_text().splitlines()
    assert "export --frozen --quiet --no-default-groups" in export
    assert "--no-emit-project" in export
    assert "--group" not in export
    assert sync.endswith("/hashed.txt")
    choice = Choice(extras=["web"], groups=["prod", "more"], package="shop", project=True)
    build(workspace(uv, choice), tmp_path / "venvs/b")
    (export,) = [line for line in log.read_text().splitlines()[4:] if " export " in line]
    assert "--extra web --group prod --group more --package shop" in export
    assert "--no-emit-project" not in export


def test_packages_of_the_source_are_built_from_a_copy_without_network(
    uv: Recipe, tmp_path: Path, sandbox: Sandbox
) -> None:
    log = playing(uv)
    (uv.source / "packages/core").mkdir(parents=True)
    before = sorted(uv.source.rglob("*"))
    build(workspace(uv, Choice(extras=["web"])), tmp_path / "venvs/a")
    (install,) = [line for line in log.read_text().splitlines() if " pip install " in line and "--no-deps" in line]
    assert "--no-deps --no-index --no-build-isolation --requirement" in install
    assert not {*uv.source.rglob("build")} - {*before}
    assert "/scratch/source" in Path(f"{log}.places").read_text()
    assert "PrivateNetwork=yes" in sandbox.settings[-1]


def test_pip_can_install_a_project_too(recipe: Recipe, tmp_path: Path) -> None:
    log = playing(recipe)
    (recipe.source / "setup.py").touch()
    (recipe.source / "requirements.txt").write_text(f"{GUNICORN}setuptools==80 {HASH}\n")
    build(dataclasses.replace(recipe, choice=Choice(project=True, installer="pip")), tmp_path / "venvs/a")
    _, install = log.read_text().splitlines()
    assert install.endswith("--no-deps --no-index --no-build-isolation .")


def test_relative_paths_in_a_lock_are_resolved_next_to_it(uv: Recipe, tmp_path: Path, sandbox: Sandbox) -> None:
    playing(uv)
    (uv.source / "deploy").mkdir()
    (uv.source / "deploy/lock.txt").write_text(GUNICORN)
    for installer in ("uv", "pip"):
        choice = Choice(installer=installer)
        build(dataclasses.replace(uv, requirements="deploy/lock.txt", choice=choice), tmp_path / f"venvs/{installer}")
        (step,) = [
            step
            for plan in sandbox.plans
            for step in plan["steps"]
            if f"{uv.source}/deploy/lock.txt" in step["argv"] and f"{tmp_path}/venvs/{installer}" in str(step["argv"])
        ]
        assert step["directory"] == f"{uv.source}/deploy"


@pytest.mark.parametrize("step", ["uv-venv", "uv-sync", "uv-check", "pip", "venv"])
def test_a_venv_that_uv_failed_to_build_does_not_count_as_complete(uv: Recipe, tmp_path: Path, step: str) -> None:
    playing(uv, fails=step, says="no such thing")
    with pytest.raises(GreenlightError, match="no such thing"):
        build(uv, tmp_path / "venvs/a")
    assert not is_complete(tmp_path / "venvs/a")
    playing(uv)
    if step.startswith("uv"):
        (uv.tools / "uv-0.11.30/bin/uv").write_text(Path(uv.python).read_text())
    build(uv, tmp_path / "venvs/a")
    assert is_complete(tmp_path / "venvs/a")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_venv_is_world_readable_and_writable_only_by_root(recipe: Recipe, tmp_path: Path, umask: int) -> None:
    playing(recipe)
    before = os.umask(umask)
    try:
        build(recipe, tmp_path / "venvs/a")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in [tmp_path / "venvs/a", *(tmp_path / "venvs/a").rglob("*")]}
    assert modes == {0o755, 0o644}


def test_a_killed_build_leaves_a_complete_venv_or_none(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(shop: Workshop, _steps: object, **_options: object) -> str:
        (shop.tree / "bin").mkdir(exist_ok=True)
        for name in ("bin/python", "bin/gunicorn", MARKER):  # a package may have a file of this name
            (shop.tree / name).write_text(name)
        return "27.0.1"

    monkeypatch.setattr(Workshop, "perform", perform)
    seen = set()
    change, ended = 0, False
    while not ended:
        change += 1
        venv = tmp_path / f"{change}/venvs/a"
        venv.mkdir(parents=True)
        (venv / "half").touch()
        ended = not killed(change, lambda venv=venv: build(recipe, venv))  # type: ignore[misc]
        whole = is_complete(venv)
        seen.add(whole)
        assert not whole or "27.0.1" in (venv / MARKER).read_text()
        build(recipe, venv)
        assert is_complete(venv)
        assert sorted(path.name for path in venv.parent.iterdir()) == ["a"]
        assert sorted(path.name for path in venv.iterdir()) == ["bin", MARKER]
    assert seen == {True, False}
    assert change > 10
