# SPDX-License-Identifier: GPL-3.0-or-later
"""The hunt for secrets: every kind of play, at Ansible's highest verbosity, with the most awkward secrets.

All plays run once, on both servers, each with ``-vvvv --diff``. Then everything that they left is searched for each
secret in each form: here the output, logs and callbacks; on the servers the journal, units, logs and files; and in both
places the command lines of all processes while the plays ran. Command lines are sampled a hundred times a second, so a
process with a shorter life may be missed.

The app itself prints two of the secrets, one of them longer than a line of the journal may be: in headers, in
documents, as bytes, and in its health answers. These two may be in the journal of the app's own units, which is not a
leak of ours, and nowhere else: where plays show that journal and these answers, they must be masked. All other secrets
must be in no journal at all.

A hunt that finds nothing must be able to find something: for each kind of place, a test plants a secret.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from tests.support import leaks, rotation, variants
from tests.support.certificates import certificate, key, key_pem
from tests.support.deployed import (
    APP,
    DIRECTORY,
    INVENTORY,
    PLAY_SECONDS,
    ROOT,
    SITE,
    Played,
    Server,
    play_command,
    play_environment,
    run_play,
    secrets,
    servers,
    ssh,
)
from tests.support.leaks import Hunter, Leak

#: Callbacks that write down what they get, each in its own directory.
CALLBACKS = {
    "ansible.builtin.junit": "JUNIT_OUTPUT_DIR",
    "ansible.builtin.tree": "ANSIBLE_CALLBACK_TREE_DIR",
    "community.general.log_plays": "ANSIBLE_LOG_FOLDER",
}
#: The secrets that the app prints.
PRINTED, PRINTED_LONG = variants.PRINTED, variants.PRINTED_LONG


# --- the secrets -----------------------------------------------------------------------------------------------------


def part() -> str:
    """Return text that can't appear anywhere by chance and that every quoting leaves unchanged."""
    return token_hex(10)


def long_secret(characters: int) -> str:
    """Return one long line. The hunt knows a core in each 500 characters of it, so it finds any piece."""
    filler = "~".join(token_hex(7) for _ in range(32))
    blocks = (f"{part()}'\" \\$%é;{filler}~" for _ in range(characters // len(filler)))
    return "".join(blocks)[:characters]


APP_SECRETS = {
    "SECRET_KEY": f"{part()} '\"$HOME`\\ #%;&<>é{part()}\\n{part()}\\\\",
    # SQLite gets the password, and ignores it.
    "DATABASE_URL": f"sqlite:///file:/var/lib/{APP}/{APP}.db?password={part()}%27%25{part()}&uri=true",
    "API_TOKEN": f"{part()}'\"'\"'${{HOME}}$(id)\\t%s%%{part()}\n {{{{ 7 * 7 }}}} {{% raw %}} # ;\n\té😀{part()} ",
    "SMTP_PASSWORD": "".join(f"{part()}'\"\\ $%é{'-' * 370}" for _ in range(13))[: 5 * 1024],
    PRINTED: f"{part()}'\"\\ %d & é{part()} \n  {part()}<$PATH>\\{part()}",
    # journald breaks lines after 48 KiB (LineMax=).
    PRINTED_LONG: long_secret(64 * 1024),
}
NOTIFY_PASSWORD, NOTIFY_PATH, NOTIFY_TOKEN = part(), part(), part()
INDEX_PASSWORD, INDEX_PATH = part(), part()
TLS_KEY = key()
PEM = key_pem(TLS_KEY)


def scalar(pem: str) -> str:
    """The private number of a P-256 key as in its PEM (RFC 5958): the rest is public, or the same in all keys."""
    text = "".join(pem.splitlines()[1:-1])
    assert base64.b64decode(text)[36:68] == TLS_KEY.private_numbers().private_value.to_bytes(32)
    return f"{text[48:64]}\n{text[64:90]}"


#: Part of the inventory of each play.
VARIABLES: dict[str, Any] = {
    "flask_app_secrets": APP_SECRETS,
    "flask_app_notify_url": f"http://hook:{NOTIFY_PASSWORD}@127.0.0.1:9/services/{NOTIFY_PATH}?token={NOTIFY_TOKEN}",
    "flask_app_tls": "provided",
    "flask_app_tls_redirect": False,
    "flask_app_tls_certificate": certificate(TLS_KEY, SITE),
    "flask_app_tls_key": PEM,
}
#: Secrets that every deploy refuses: a key that is too short, a list, and half of an external account.
BROKEN_SECRETS = {"SECRET_KEY": part(), "API_TOKEN": part(), "EAB": part()}
BROKEN: dict[str, Any] = {
    "flask_app_secrets": {
        **APP_SECRETS,
        "SECRET_KEY": BROKEN_SECRETS["SECRET_KEY"],
        "API_TOKEN": [BROKEN_SECRETS["API_TOKEN"]],
    },
    "flask_app_tls": "acme",
    "flask_app_acme_eab_hmac_key": BROKEN_SECRETS["EAB"],
}
#: Written as in an environment file, so not a mapping.
LISTED_SECRET = part()
LISTED: dict[str, Any] = {"flask_app_secrets": [f"SECRET_KEY={LISTED_SECRET}", f"DATABASE_URL={LISTED_SECRET}"]}
INDEX: dict[str, Any] = {
    "flask_app_build_environment": {
        "UV_DEFAULT_INDEX": f"http://robot:{INDEX_PASSWORD}@127.0.0.1:9/{INDEX_PATH}/simple",
        "UV_NO_CACHE": "1",
    }
}
#: Secrets of another inventory, and how it defines them.
OTHER_SECRET = part()

HUNTED = {
    **APP_SECRETS,
    "the password of the notification": NOTIFY_PASSWORD,
    "the path of the notification": NOTIFY_PATH,
    "the token of the notification": NOTIFY_TOKEN,
    "the password of the package index": INDEX_PASSWORD,
    "the path of the package index": INDEX_PATH,
    "the key of the certificate": scalar(PEM),
    "the key that is too short": BROKEN_SECRETS["SECRET_KEY"],
    "the token in a list": BROKEN_SECRETS["API_TOKEN"],
    "the key of the external account": BROKEN_SECRETS["EAB"],
    "the secret in a list": LISTED_SECRET,
    "the secret of another inventory": OTHER_SECRET,
}


def write_variables(path: Path, variables: dict[str, Any]) -> Path:
    """Write a private file for ``--extra-vars @``, in which Ansible takes no secret for a template."""
    text = json.dumps(variables, indent=1, ensure_ascii=False)
    texts = [value for value in [*APP_SECRETS.values()] if "{{" in value]
    for quoted in {json.dumps(value, ensure_ascii=False) for value in texts}:
        text = text.replace(quoted, f"!unsafe {quoted}")
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    return path


# --- the plays -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A play, and what its output must have.

    Args:
        says: words of the output; line breaks count as blanks.
        finds: the finding expected: ``id``, or ``id:subject``.
        fails: whether it must fail.
        variant: the app's source, one of tests/support/variants.py; empty for none.
        secret: variables with secrets in them, over those of all plays.
        options: of the command.
        variables: further variables, which are not secrets.
    """

    says: tuple[str, ...] = ()
    finds: tuple[str, ...] = ()
    fails: bool = False
    variant: str = "prints_and_is_healthy"
    secret: dict[str, Any] = field(default_factory=dict, repr=False)
    options: tuple[str, ...] = ()
    variables: dict[str, Any] = field(default_factory=dict)


def playbook(name: str) -> dict[str, Any]:
    return {"playbook": ROOT / f"playbooks/{name}.yml"}


MASK = "********"
WHAT_IS_BROKEN = (
    "short-key:SECRET_KEY",
    "unfit-variable:flask_app_secrets",
    "incomplete-account:flask_app_acme_eab_kid",
)
RUNS = {
    "check mode": Run(("SECRET_KEY=(hidden,", f"{PRINTED}=(hidden,"), options=("--check",)),
    "deploy": Run(("is live, revision", "the notification was not sent: 127.0.0.1", "Connection refused")),
    "app that can't be imported": Run(
        ("process: expected running", f"no service knows {MASK}"),
        ("candidate-failed",),
        fails=True,
        variant="prints_at_start",
    ),
    "health answer 500": Run(
        ("HTTP status: expected 200, got 500", f"no service knows {MASK}"),
        ("candidate-failed",),
        fails=True,
        variant="prints_when_requested",
    ),
    "wrong environment": Run(
        ('env: expected "staging", got "production"',), ("candidate-failed",), fails=True, variant="wrong_environment"
    ),
    "release command": Run(
        ("the table is locked", f"the token is {MASK}"),
        ("release-command-failed",),
        fails=True,
        # Not by echo, which interprets backslashes.
        variables={
            "flask_app_release_command": f'echo the table is locked; printf "the token is %s\\n" "${PRINTED}"; exit 4'
        },
    ),
    "package index": Run(
        ("installing the locked packages with uv failed", "Connection refused"),
        fails=True,
        variant="another lock",
        secret=INDEX,
    ),
    "broken inputs": Run(("API_TOKEN",), WHAT_IS_BROKEN, fails=True, secret=BROKEN),
    "secrets in a list": Run(("dict",), ("wrong-type:flask_app_secrets",), fails=True, secret=LISTED),
    "rotation": Run(("The new key signs, and the old one still verifies.",), variables=rotation.rotation("start")),
    "end of the rotation": Run(("The old key is dropped.",), variables=rotation.rotation("finish")),
    "rollback": Run(("is live, revision",), variables=playbook("rollback")),
    "verify": Run(
        finds=("inventory:SECRET_KEY", "inventory:SECRET_KEY_FALLBACKS"),
        fails=True,
        variables=playbook("verify"),
    ),
    "doctor": Run(("API_TOKEN",), WHAT_IS_BROKEN, fails=True, secret=BROKEN, variables=playbook("doctor")),
    "comparison": Run(("API_TOKEN", "SECRET_KEY", "different"), variant="", variables=playbook("compare")),
}  # fmt: skip
FAILING = [name for name, run in RUNS.items() if run.fails]


@dataclass(frozen=True)
class Evidence:
    """The output and remains of the plays, in private directories.

    Args:
        place: a directory for each play, with its output, its log and what the callbacks wrote.
        played: the finished plays, by name.
        on_servers: what was found on each server.
        elsewhere: world-readable files that the plays made or changed here outside of ``place``.
        hunter: looks for all secrets, including those that the plays made.
    """

    place: Path
    played: dict[str, Played] = field(repr=False)
    on_servers: dict[str, list[Leak]] = field(repr=False)
    elsewhere: list[Path] = field(repr=False)
    hunter: Hunter = field(repr=False)


def source(variant: str, into: Path) -> dict[str, Any]:
    if not variant:
        return {}
    if variant == "another lock":
        lock = variants.make("prints_and_is_healthy", into) / "requirements.txt"
        lock.write_text(f"{lock.read_text()}\n# {time.time_ns()}\n")
    else:
        variants.make(variant, into)
    return {"flask_app_source_directory": str(into)}


def other_inventories(place: Path) -> Path:
    """Write two inventories side by side, with one secret that differs and one that doesn't; return one of them."""
    for name, secret in (("production", OTHER_SECRET), ("staging", APP_SECRETS["SMTP_PASSWORD"])):
        directory = place / name / "group_vars/flask_app"
        directory.mkdir(parents=True)
        (place / name / "hosts.yml").write_text(json.dumps({"flask_app": {"hosts": {f"{name}.test": None}}}))
        given = {"SECRET_KEY": APP_SECRETS["SECRET_KEY"], "API_TOKEN": secret}
        settings = {"flask_app_name": APP, "flask_app_environment": name, "flask_app_server_names": [SITE]}
        write_variables(directory / "main.yml", {**settings, "flask_app_secrets": given})
    return place / "staging"


def play(name: str, run: Run, work: Path, into: Path) -> Played:
    """Run the user's command as verbosely as possible; keep output, log and callback files in ``into``."""
    into.mkdir(parents=True)
    slug = name.replace(" ", "-").replace("'", "")
    files = [write_variables(work / f"{slug}.yml", {**VARIABLES, **run.secret})]
    inventory = INVENTORY
    if run.variables.get("playbook") == ROOT / "playbooks/compare.yml":
        inventory, files = other_inventories(work / slug), []
    given = [word for file in files for word in ("--extra-vars", f"@{file}")]
    variables = {**run.variables, **source(run.variant, work / "apps" / slug)}
    command = play_command("-vvvv", "--diff", *run.options, *given, inventory=inventory, **variables)
    environment = {
        **play_environment(),
        "ANSIBLE_CALLBACKS_ENABLED": ",".join(CALLBACKS),
        **{variable: str(into / callback) for callback, variable in CALLBACKS.items()},
        "ANSIBLE_LOG_PATH": str(into / "log"),
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PLAY_SECONDS,
        check=False,
    )
    (into / "output").write_bytes(done.stdout)
    return Played(done.returncode, done.stdout.decode(errors="replace"))


def watched(seen: Path) -> Iterator[tuple[list[str], Path]]:
    """Yield the commands that sample the command lines of this machine and the servers, with their output files."""
    yield [sys.executable, "-c", leaks.SAMPLER], seen / "controller"
    for name in servers():
        yield [*ssh(name), shlex.join(["sudo", "python3", "-c", leaks.SAMPLER])], seen / name


def hunt(name: str, hunter: Hunter, quiet: Hunter) -> list[Leak]:
    """Search a server; secrets not in ``quiet`` are not searched for in the journal of the app's own units."""
    for path, each in ((leaks.PATTERNS, hunter), (leaks.QUIET, quiet)):
        command = [*ssh(name), f"sudo sh -c 'umask 077; cat > {path}'"]
        subprocess.run(command, input=each.patterns, check=True)
    try:
        script = leaks.server_script(APP).encode()
        done = subprocess.run([*ssh(name), "sudo sh -s"], input=script, capture_output=True, check=True)
    finally:
        subprocess.run([*ssh(name), f"sudo rm -f {leaks.PATTERNS} {leaks.QUIET}"], check=True)
    assert leaks.WHOLE in done.stdout.splitlines(), f"the search of {name} was cut short"
    return hunter.read(done.stdout, before=f"{name}: ")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    work, place, seen = (tmp_path_factory.mktemp(name) for name in ("work", "evidence", "command-lines"))
    began = time.time()
    vault = rotation.make_vault(APP_SECRETS["SECRET_KEY"])
    played, keys = {}, {}
    try:
        with ExitStack() as stack:
            for command, into in watched(seen):
                stack.enter_context(leaks.sampled(command, into))
            for number, (name, run) in enumerate(RUNS.items()):
                played[name] = play(name, run, work, place / f"{number:02} {name}")
                if name in ("rotation", "end of the rotation"):
                    keys[f"the key of the {name}"] = rotation.keys()[0]
        ended = time.time()
        inventory = {f"{name} of the inventory": value for name, value in secrets().items()}
        inventory["the token of the inventory"] = secrets()["API_TOKEN"].split()[0]
        hunter = Hunter({**HUNTED, **keys, **inventory})
        # Another test makes the app print the inventory's secret.
        look = partial(hunt, hunter=hunter, quiet=hunter.without([PRINTED, PRINTED_LONG, *inventory]))
        with ThreadPoolExecutor() as pool:
            on_servers = dict(zip(servers(), pool.map(look, servers()), strict=True))
        for command_lines in seen.iterdir():
            command_lines.rename(place / f"command lines of {command_lines.name}")
        yield Evidence(place, played, on_servers, list(changed_here(began, ended, work.parent)), hunter)
    finally:
        vault.unlink()
        assert run_play().code == 0


def changed_here(began: float, ended: float, ours: Path) -> Iterator[Path]:
    """Return world-readable files outside the tests' own directory that changed while the plays ran."""
    apart = [ours, ROOT / ".venv", ROOT / ".git", ROOT / "build/molecule"]
    for top, hidden in ((Path("/tmp"), False), (ROOT, False), (Path.home() / ".ansible", True)):
        for path in leaks.changed_files(top, began, left_out=apart, hidden=hidden):
            if path.lstat().st_ctime <= ended:
                yield path


# --- each play says why ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_each_play_prints_what_it_must_and_masks_secrets(name: str, evidence: Evidence) -> None:
    """The message doesn't show the actual output, which may hold a secret; it is in a file."""
    done, run = evidence.played[name], RUNS[name]
    missing = [words for words in run.says if words not in done.prose]
    missing += [entry for entry in run.finds if not done.finds(entry)]
    where = f"see {evidence.place}/*{name}/output"
    assert (missing, done.code != 0) == ([], run.fails), where


# --- and shows no secret ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_no_play_leaks_a_secret_in_output_log_or_callbacks(name: str, evidence: Evidence) -> None:
    [directory] = evidence.place.glob(f"[0-9][0-9] {name}")
    written = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.relative_to(directory).parts[0] for path in written} == {"output", "log", *CALLBACKS}
    found = evidence.hunter.in_files(written)
    assert found == []


@pytest.mark.parametrize("machine", ["controller", *servers()])
def test_no_command_line_holds_a_secret(machine: str, evidence: Evidence) -> None:
    seen = evidence.place / f"command lines of {machine}"
    assert (b"ansible-playbook" if machine == "controller" else b"gunicorn") in seen.read_bytes()
    assert evidence.hunter.in_files([seen]) == []


def test_no_play_leaves_a_secret_readable_on_the_controller(evidence: Evidence) -> None:
    assert evidence.hunter.in_files(evidence.elsewhere) == []


@pytest.mark.parametrize("name", servers())
def test_no_server_holds_a_secret_that_others_can_read(name: str, evidence: Evidence) -> None:
    """Search files, names of files, the journal, logs, the ledger, units and their properties, and command lines."""
    assert evidence.on_servers[name] == []


def test_the_secret_files_of_the_tests_are_private() -> None:
    kept = [DIRECTORY / name for name in ("secret_key", "token", "id_ed25519")]
    assert [path.name for path in kept if path.stat().st_mode & 0o077] == []
    assert DIRECTORY.stat().st_mode & 0o077 == 0


# --- the hunt can find something -------------------------------------------------------------------------------------

PLANTED = "/root/planted-by-a-test"
#: Where a secret is planted -> the commands that plant and remove it.
PLANTS: dict[str, tuple[str, str]] = {
    "the journal": (f"logger --file {PLANTED}", ""),
    "the journal, other units": ("true", ""),
    "/var/tmp/for-everybody": (f"install -m 0644 {PLANTED} /var/tmp/for-everybody", "rm /var/tmp/for-everybody"),
    "/etc/for-nginx": (f"install -m 0640 -g www-data {PLANTED} /etc/for-nginx", "rm /etc/for-nginx"),
    "/etc/for-the-app": (f"install -m 0640 -g {APP} {PLANTED} /etc/for-the-app", "rm /etc/for-the-app"),
    "/etc/for-who-deploys": (f"install -m 0640 -g deploy {PLANTED} /etc/for-who-deploys", "rm /etc/for-who-deploys"),
    "/root/.ansible/tmp/planted": (
        f"install -D -m 0600 {PLANTED} /root/.ansible/tmp/planted",
        "rm /root/.ansible/tmp/planted",
    ),
    "/dev/shm/planted": (f"install -m 0600 {PLANTED} /dev/shm/planted", "rm /dev/shm/planted"),
    "the name of a file": (f"touch /var/lib/$(cat {PLANTED})", f"rm /var/lib/$(cat {PLANTED})"),
    f"/srv/{APP}/ledger.jsonl": (
        f"cp -p /srv/{APP}/ledger.jsonl /root/kept && cat {PLANTED} >> /srv/{APP}/ledger.jsonl",
        f"mv /root/kept /srv/{APP}/ledger.jsonl",
    ),
    f"/var/log/nginx/{APP}.access.log": (
        f"python3 -c 'import sys, http.client as h; c = h.HTTPConnection(\"127.0.0.1\");"
        f' c.request("GET", "/" + open("{PLANTED}").read(), headers={{"Host": "{SITE}"}}); c.getresponse()\'',
        "",
    ),
    "/etc/systemd/system/planted.service": (
        "umask 077; { printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\nEnvironment=A=';"
        f" cat {PLANTED}; }} > /etc/systemd/system/planted.service && systemctl daemon-reload"
        " && systemctl start planted",
        "systemctl stop planted; rm /etc/systemd/system/planted.service; systemctl daemon-reload",
    ),
    "unit properties": ("true", ""),
    "command lines": (
        f"setsid sh -c 'sleep 300; :' $(cat {PLANTED}) </dev/null >/dev/null 2>&1 & echo $! > /root/planted.pid",
        "kill -- -$(cat /root/planted.pid); rm /root/planted.pid",
    ),
}  # fmt: skip


def test_the_server_search_finds_planted_secrets(server: Server) -> None:
    value = token_hex(16)
    server.write(PLANTED, value)
    hunter = Hunter({"planted": value})
    undo: list[str] = []
    try:
        for plant, take_away in PLANTS.values():
            undo.insert(0, take_away)
            server.root(plant)
        found = {leak.place for leak in hunt(server.name, hunter, hunter)}
    finally:
        for command in filter(None, undo):
            server.host.run(command)
        server.root(f"rm {PLANTED}")
    assert [place for place in PLANTS if f"{server.name}: {place}" not in found] == []


def test_the_command_line_search_finds_planted_secrets(server: Server, tmp_path: Path) -> None:
    value = token_hex(16)
    server.write(PLANTED, value)
    with ExitStack() as stack:
        for command, into in watched(tmp_path):
            stack.enter_context(leaks.sampled(command, into))
        server.root(f"sh -c 'sleep 0.2; :' $(cat {PLANTED})")
        subprocess.run(["sh", "-c", "sleep 0.2; :", value], check=True)
    server.root(f"rm {PLANTED}")
    found = {leak.place for leak in Hunter({"planted": value}).in_files(tmp_path.iterdir())}
    assert {str(tmp_path / "controller"), str(tmp_path / server.name)} <= found
