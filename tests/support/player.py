# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-playbook`` without its startup cost: a process that has imported all of it forks for each play.

Imports take a fifth of a short play. The forked process runs the same program with the same arguments and environment,
and has its own temporary directory, as if a shell had started it.

Run as a program, this file is that process: its environment holds its settings, it reads the plays from the socket that
is its standard input, and it ends when that is closed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

#: Ansible's own plugins that a play needs.
PLUGINS = """
    action.debug
    action.set_fact
    become.sudo
    cache.memory
    callback.default
    connection.ssh
    filter.core
    filter.encryption
    filter.mathstuff
    filter.urls
    filter.urlsplit
    inventory.yaml
    lookup.file
    lookup.template
    shell.sh
    strategy.linear
    test.core
    test.files
    test.mathstuff
    vars.host_group_vars
"""


class Player:
    """The parent of all plays, started with the first one.

    Args:
        environment: of all plays, fixed when this is made.
        directory: in which they run.
    """

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", __file__]  # -P: a play can't import modules from this directory
        self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=directory, env=environment)
        theirs.close()

    def play(self, words: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run ``ansible-playbook`` with these arguments; return its exit code and its output.

        Raises:
            TimeoutError: it took longer than ``seconds``, and was killed.
        """
        with tempfile.TemporaryFile() as output:
            answer, theirs = os.pipe()
            with os.fdopen(answer, "rb", 0) as answers:  # unbuffered, for select
                try:
                    socket.send_fds(self._ours, [json.dumps(list(words)).encode()], [output.fileno(), theirs])
                finally:
                    os.close(theirs)
                pid = int(answers.readline() or self._ended())
                in_time = bool(select.select([answers], [], [], seconds)[0])
                if not in_time:
                    os.kill(pid, signal.SIGKILL)
                code = int(answers.readline())
            output.seek(0)
            said = output.read().decode()
        if not in_time:
            raise TimeoutError(f"a play took longer than {seconds} seconds\n{said}")
        return code, said

    def _ended(self) -> NoReturn:
        raise RuntimeError(f"the player has ended, with exit code {self._process.wait(10)}")

    def end(self) -> None:
        self._ours.close()
        self._process.wait(10)


def main() -> None:
    """Fork for each message: the words of a command, with descriptors for its output and for its id and exit code."""
    channel = socket.socket(fileno=os.dup(0))
    _import()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need no wait
    while True:
        message, descriptors, *_ = socket.recv_fds(channel, 1 << 20, 2)
        if not message:
            return
        if os.fork() == 0:
            channel.close()
            _watch(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _import() -> None:
    """Import what a play of this collection imports."""
    from ansible.cli import playbook  # noqa: F401  # only in that process
    from ansible.executor import task_queue_manager  # noqa: F401
    from ansible.plugins import loader
    from ansible.utils import display

    loader.init_plugin_loader()
    for path in sorted((Path(__file__).resolve().parents[2] / "plugins/action").glob("*.py")):
        loader.action_loader.get(f"greenlight.flask.{path.stem}", class_only=True)
    loader.lookup_loader.get("greenlight.flask.typed", class_only=True)
    said = display.Display()
    if said._warns or said._deprecations or said._errors:
        sys.exit("an import before the plays caused a warning, which no play would show")
    for module in filter(None, map(str.strip, PLUGINS.splitlines())):
        importlib.import_module(f"ansible.plugins.{module}")


def _watch(words: Sequence[str], output: int, answer: int) -> NoReturn:
    """Fork the play; write its process id and, when it has ended, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        _play(words, output)
    os.write(answer, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(answer, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _play(words: Sequence[str], output: int) -> NoReturn:
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    atexit._clear()  # these belong to the parent
    constants.DEFAULT_LOCAL_TMP = tempfile.mkdtemp(
        prefix=f"ansible-local-{os.getpid()}", dir=Path(constants.DEFAULT_LOCAL_TMP).parent
    )
    atexit.register(shutil.rmtree, constants.DEFAULT_LOCAL_TMP)
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    code = 1
    try:
        PlaybookCLI.cli_executor(["ansible-playbook", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
