# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of a build, inside the sandbox and without any rights outside of it.

A separate program that the operator's Python runs with ``-c``. It must not contain a dollar sign, because systemd would
expand it. It reads one JSON object from standard input, so that no value of the environment is on a command line or in
a unit: ``environment``, and ``steps``, each with ``what``, ``argv``, ``directory`` and ``may_fail``. It prints a line
when it begins, and one JSON object at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BEGUN = "begun"
#: Number of characters to keep from the end of a step's output.
KEPT = 20000
#: A step with this first word isn't a program: it sorts the lines of a requirements file.
SORT = "sort-requirements"


def sort_requirements(exported: str, hashed: str, local: str) -> None:
    """Write the requirements with hashes to one file, and directories of the source, which have none, to another."""
    entries = Path(exported).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    of_source = [entry for entry in entries if entry.startswith(".") and "--hash=" not in entry]
    rest = [entry for entry in entries if entry not in of_source]
    for path, lines in ((hashed, rest), (local, of_source)):
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def perform(step: dict[str, Any], environment: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and the end of the output of one step."""
    program, *arguments = step["argv"]
    if program == SORT:
        sort_requirements(*arguments)
        return 0, ""
    try:
        done = subprocess.run(
            step["argv"],
            cwd=step["directory"] or None,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word or in the environment
        return 127, str(error)
    return done.returncode, done.stdout.decode(errors="replace")[-KEPT:]


def main() -> None:
    print(BEGUN, flush=True)
    plan = json.load(sys.stdin)
    environment = {**os.environ, **plan["environment"]}
    said = ""
    for step in plan["steps"]:
        code, said = perform(step, environment)
        if code and not step["may_fail"]:
            print(json.dumps({"failed": step["what"], "code": code, "said": said}))
            return
    print(json.dumps({"failed": "", "code": 0, "said": said}))


if __name__ == "__main__":
    main()
