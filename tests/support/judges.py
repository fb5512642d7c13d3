# SPDX-License-Identifier: GPL-3.0-or-later
"""Independent tools that rate a server's HTTPS; none of them was written for this project."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import DIRECTORY, PODMAN, PROJECT, ROOT

VENV = ROOT / "build/judges-venv"
OBSERVATORY = ROOT / "build/observatory"
RESOLVE = ROOT / "tests/support/observatory/resolve.cjs"
#: The roots of the certificates that molecule/edge/prepare.yml's authorities issue.
ROOTS = DIRECTORY / "world-roots.pem"
#: The maximum seconds for one tool.
JUDGE_SECONDS = 120
#: gixy-ng recommends open_file_cache with try_files, which would serve a removed release or page for a minute.
GIXY_SKIPS = "try_files_is_evil_too"


def need(directory: Path) -> None:
    """Fail if script/judges has not filled this directory; script/test calls it before all tests."""
    if not (directory / "greenlight-pins").exists():
        pytest.fail(f"{directory.relative_to(ROOT)} is missing. Fix: script/judges", pytrace=False)


def run(*command: str | Path, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=text,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=JUDGE_SECONDS,
        check=False,
    )


def container_address(server: str) -> str:
    """Return a test server's address in its network, where this machine reaches all of its ports."""
    form = f'{{{{ (index .NetworkSettings.Networks "{PROJECT}").IPAddress }}}}'
    command = [str(PODMAN), "inspect", "--format", form, f"{PROJECT}-{server}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return str(ipaddress.ip_address(found))


def sslyze(name: str, address: str, port: int = 443, ca: Path = ROOTS) -> dict[str, Any]:
    """Compare the handshake with Mozilla's intermediate TLS guideline, as clients that trust ``ca``.

    ``compliant`` is the verdict, ``text`` the reason, ``scan`` everything that was measured.
    """
    need(VENV)
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "scan.json")
        options = ["--mozilla_config=intermediate", f"--certinfo_ca_file={ca}", f"--json_out={output}"]
        # The colon precedes the port: the address in braces overrides the name's.
        done = run(VENV / "bin/sslyze", *options, f"{name}:{port}{{{address}}}")
        assert output.exists(), done.stdout + done.stderr
        found = json.loads(output.read_text())
    # sslyze doesn't count an unreachable server as a failure.
    [scan] = found["server_scan_results"] or [{"connectivity_status": "unknown"}]
    assert scan["connectivity_status"] == "COMPLETED", done.stdout + done.stderr
    _, _, text = done.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    compliant = done.returncode == 0 and f"{name}:{port}: OK - Compliant." in text
    return {"compliant": compliant, "text": text.strip(" -\n"), "scan": scan["scan_result"]}


def gixy(configuration: str) -> list[dict[str, Any]]:
    """Return the mistakes in a configuration, given as ``nginx -T`` prints it.

    Each has ``plugin``, ``severity``, ``summary``, ``reason``, ``config``, ``file`` and ``line``.
    """
    # gixy silently skips what it can't read. So append a mistake to each file, and expect to find all of them.
    files = re.split(r"(?m)^(?=# configuration file )", configuration)[1:]
    assert files, configuration
    canaries = [f"/canary{number}" for number in range(len(files))]
    flawed = [
        f"{file}\nserver {{ location {name} {{ alias /x/; }} }}\n" for file, name in zip(files, canaries, strict=True)
    ]
    found = run_gixy("".join(flawed), "--checks=alias_traversal")
    seen = {name for finding in found for name in re.findall(r"/canary\d+", finding["config"])}
    assert seen == set(canaries), [
        file.splitlines()[0] for file, name in zip(files, canaries, strict=True) if name not in seen
    ]
    return run_gixy(configuration, f"--skips={GIXY_SKIPS}")


def run_gixy(configuration: str, *options: str) -> list[dict[str, Any]]:
    need(VENV)
    done = run(VENV / "bin/gixy", "--format=json", *options, "-", text=configuration)
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: it found something
    return list(json.loads(done.stdout))


def observatory(name: str, address: str, ca: Path = ROOTS) -> dict[str, Any]:
    """Grade a site's headers and redirects, on ports 80 and 443, like MDN's public HTTP Observatory.

    ``grade``, ``score``, ``passed`` of ``quantity`` tests; ``failed`` has the others by name, with the reason.
    """
    need(VENV)
    need(OBSERVATORY)
    scanner = OBSERVATORY / "node_modules/@mdn/mdn-http-observatory/src/scan.js"
    done = run(
        *(VENV / "bin/node", "--require", RESOLVE, scanner, name),
        JUDGE_HOSTS=f"{name}={address}",
        NODE_EXTRA_CA_CERTS=str(ca),
        NO_PROXY="*",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    scan = found["scan"]
    return {
        "grade": scan["grade"],
        "score": scan["score"],
        "passed": scan["testsPassed"],
        "quantity": scan["testsQuantity"],
        "failed": {test: said["result"] for test, said in found["tests"].items() if not said["pass"]},
    }


def testssl(name: str) -> dict[str, Any]:
    """Grade the handshake with testssl.sh, from the server called world; takes a minute.

    ``grade``, and ``grave``: findings rated high or critical, by id, except that this authority offers no revocation.
    """
    out = "/tmp/testssl.json"  # on a throwaway server
    command = f"rm -f {out}; testssl --quiet --color 0 --add-ca /etc/pebble/roots.pem --jsonfile {out} https://{name}/"
    done = run(PODMAN, "exec", f"{PROJECT}-world", "sh", "-c", f"{command} >/dev/null 2>&1; cat {out}")
    found = {each["id"]: each for each in json.loads(done.stdout)}
    return {
        "grade": found["overall_grade"]["finding"],
        "grave": {
            name: each["finding"]
            for name, each in found.items()
            if each["severity"] in ("HIGH", "CRITICAL") and name != "cert_revocation"
        },
    }
