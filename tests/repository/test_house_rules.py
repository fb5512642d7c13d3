# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of this repository that no linter knows. Each is a mistake that once cost somebody a day."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import pytest
from ansible.playbook.block import Block
from ansible.playbook.task import Task

from tests.repository import repository
from tests.support.steps import STEPS, options_of

PLAYS = repository.matching("*.yml", "playbooks/*.yml", "molecule/**/*.yml")
TASK_FILES = repository.matching("roles/*/tasks/**/*.yml", "roles/*/handlers/*.yml", "molecule/**/tasks/*.yml")
#: Templates that become files on a server, except pages for visitors and imported templates.
TEMPLATES = [
    name
    for name in repository.matching("roles/flask_app/templates/**/*.j2")
    if not name.endswith((".html.j2", "/tls.conf.j2"))
]
DOCUMENTS = repository.matching("**/*.md")
KEYWORDS = {*Task.fattributes, *Block.fattributes, "local_action", "with_items"}
#: The two lines that say who owns a file on a server.
HEADER = ["{{ ansible_managed | comment }}", "# Owner: role greenlight.flask.flask_app"]


def plays() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in PLAYS:
        content = repository.load_yaml(name)
        for play in content if isinstance(content, list) else []:
            if isinstance(play, dict) and ("hosts" in play or "ansible.builtin.import_playbook" in play):
                yield name, play


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all tasks, including those in blocks."""

    def inside(content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for task in content:
            yield task
            for part in ("block", "rescue", "always"):
                yield from inside(task.get(part, []))

    for name in TASK_FILES:
        for task in inside(repository.load_yaml(name) or []):
            yield name, task
    for name, play in plays():
        for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            for task in inside(play.get(part, [])):
                yield name, task


def uses_of(pattern: str) -> list[str]:
    """Return the conditions of tasks that match, each with its file."""
    found = []
    for name, task in tasks():
        conditions = task.get("when", [])
        for condition in conditions if isinstance(conditions, list) else [conditions]:
            if re.search(pattern, str(condition)):
                found.append(f"{name}: {condition}")
    return found


def test_the_rules_see_the_role_and_the_playbooks() -> None:
    assert {"site.yml", "playbooks/deploy.yml"} <= {name for name, _ in plays()}
    assert "roles/flask_app/tasks/switch.yml" in {name for name, _ in tasks()}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_file_on_a_server_names_its_owner(name: str) -> None:
    assert repository.text(name).splitlines()[:2] == HEADER


def test_every_module_is_called_by_its_full_name() -> None:
    modules = [(name, key) for name, task in tasks() for key in task if key not in KEYWORDS]
    assert modules
    assert [(name, key) for name, key in modules if key.count(".") < 2] == []


def test_no_play_targets_all_hosts() -> None:
    assert [name for name, play in plays() if "all" in re.split(r"[,:]", str(play.get("hosts", "")))] == []


def test_no_task_depends_on_what_this_run_changed() -> None:
    """If a run dies in between, the next one would skip the rest: decide by the state of the host."""
    assert uses_of(r"\bis (not )?(ansible\.builtin\.)?changed\b|\.changed\b") == []


#: Defaults that a block sets for all its steps.
DEFAULTS = {
    "group/greenlight.flask.steps": {"app": "{{ flask_app_name }}"},
    "group/greenlight.flask.steps_under_lock": {"run": "{{ __flask_app_run }}"},
}
UNDER_LOCK = {name for name in STEPS if "run" in options_of(name)}


#: The maximum number of lines of a function, without its docstring.
LINES = 42


@pytest.mark.parametrize("name", repository.matching("plugins/module_utils/**/*.py"))
def test_a_function_on_the_host_fits_a_screen(name: str) -> None:
    long = []
    for node in ast.walk(ast.parse(repository.text(name))):
        if isinstance(node, ast.FunctionDef):
            says = len((ast.get_docstring(node, clean=False) or "").splitlines())
            if (node.end_lineno or 0) - node.lineno + 1 - says > LINES:
                long.append(node.name)
    assert long == []


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_option_has_no_default(name: str) -> None:
    """The role's variables hold the defaults."""

    def with_one(options: Mapping[str, Any]) -> Iterator[str]:
        for each, option in options.items():
            yield from [each] if "default" in option else []
            yield from with_one(option.get("options", {}))

    assert list(with_one(options_of(name))) == []


def test_every_step_that_can_hold_the_lock_does() -> None:
    """A step without its run would continue after another run has taken over the lock."""
    files = {PurePath(name).name for name in repository.matching("roles/flask_app/tasks/*.yml")}
    inside: dict[str, set[str]] = {name: set() for name in files}
    for path, task in tasks():
        if path.startswith("roles/flask_app/"):
            inside[PurePath(path).name] |= {str(task.get("ansible.builtin.import_tasks", "")), *task} & (
                files | {f"greenlight.flask.{name}" for name in UNDER_LOCK}
            )

    def needs_lock(name: str) -> bool:
        return any(needs_lock(each) if each in files else True for each in inside[name])

    imported = set().union(*inside.values())
    first = {name for name in files - imported if needs_lock(name)}
    assert first == {"main.yml", "rollback.yml", "rotate.yml"}
    for name in first:
        outside = [task for task in repository.load_yaml(f"roles/flask_app/tasks/{name}") if "block" not in task]
        assert [task for task in outside if "ansible.builtin.import_tasks" in task] == []
        blocks = [task for task in repository.load_yaml(f"roles/flask_app/tasks/{name}") if "block" in task]
        assert [block["module_defaults"] for block in blocks] == [DEFAULTS]


def test_an_app_claims_its_name_after_packages_are_installed() -> None:
    """What a package brings, such as an account, must exist before the host is searched for the name."""
    steps = [key for name, task in tasks() if name.endswith("/platform.yml") for key in task if key not in KEYWORDS]
    assert steps.index("ansible.builtin.apt") < steps.index("greenlight.flask.claim")


def test_no_task_ignores_its_errors() -> None:
    assert [
        (name, task["name"]) for name, task in tasks() if task.keys() & {"ignore_errors", "ignore_unreachable"}
    ] == []


def test_the_tasks_at_which_runs_are_killed_exist() -> None:
    """A test on servers waits for their names to appear."""
    begins = re.findall(r'"([a-z_]+ \| [^"]*)"', repository.text("molecule/faults/tests/test_killed.py"))
    assert len(begins) > 10
    names = [str(task["name"]) for name, task in tasks() if name.startswith("roles/flask_app/")]
    assert [begin for begin in begins if not any(name.startswith(begin) for name in names)] == []


def test_every_task_has_a_name() -> None:
    assert [(name, task) for name, task in tasks() if not task.get("name")] == []


def test_no_todo_is_left() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
    names = [name for name in repository.tracked() if not (repository.ROOT / name).is_symlink()]
    assert [name for name in names if words.search(repository.text(name))] == []


def test_every_source_file_names_its_licence() -> None:
    scripts = [
        name
        for name in repository.matching("script/**/*", "roles/*/files/*", ".ci/*")
        if repository.text(name).startswith("#!")
    ]
    sources = [*repository.matching("**/*.py"), *scripts]
    sources = [name for name in sources if not name.startswith("examples/")]  # users may copy these freely
    line = "# SPDX-License-Identifier: GPL-3.0-or-later"
    assert [name for name in sources if line not in repository.text(name).splitlines()[:3]] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_only_variables_that_exist(name: str) -> None:
    entries = repository.load_yaml("roles/flask_app/meta/argument_specs.yml")["argument_specs"].values()
    spec = {option for entry in entries for option in entry["options"]}
    # flask_app_* and flask_app_gunicorn_* stand for groups of variables.
    named = set(re.findall(r"(?<!\w)flask_app_[a-z0-9_]*[a-z0-9](?!\w)(?!_?\*)", repository.text(name)))
    # Hooks get flask_app_event, which is not a setting; the misspelt one is an example of a refusal.
    assert named - spec - {"flask_app_event", "flask_app_server_name"} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_only_files_that_exist(name: str) -> None:
    """Only paths from the root are checked; of what the demo makes, only the directory is named."""
    directories = {path.split("/")[0] for path in repository.tracked() if "/" in path}
    paths = re.findall(r"`([\w.-]+/[\w./@-]*)`", repository.text(name))
    ours = [path for path in paths if path.split("/")[0] in directories]
    missing = [path for path in ours if not (repository.ROOT / path.rstrip("/")).exists()]
    base = (repository.ROOT / name).parent
    assert [path for path in missing if not (base / path).exists()] == []


#: Words that we don't use, with their replacements; see "Words" in CONTRIBUTING.md.
UNUSED = {
    "bears": "supports, works with",
    "lest": "or",
    "mend": "fix, repair",
    "mended": "fixed, repaired",
    "mends": "fixes, repairs",
    "stand in": "are in",
    "stands in": "is in",
    "whom": "another sentence",
    "is told of": "gets, knows",
    "are told of": "get, know",
}
#: Texts by others, and files that must quote these words.
OF_OTHERS = ("LICENSE", "CONTRIBUTING.md", "tests/repository/test_house_rules.py", "tests/support/observatory/")


def test_we_write_plain_english() -> None:
    """Names are checked too, in which underscores join the words."""
    pattern = re.compile(
        rf"(?<![A-Za-z])({'|'.join(word.replace(' ', '[ _]') for word in UNUSED)})(?![A-Za-z])", re.IGNORECASE
    )
    names = [
        name for name in repository.tracked() if (repository.ROOT / name).is_file() and not name.startswith(OF_OTHERS)
    ]
    found = [
        f"{name}: {match[0]} (write: {UNUSED[match[0].lower().replace('_', ' ')]})"
        for name in names
        for match in pattern.finditer((repository.ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
