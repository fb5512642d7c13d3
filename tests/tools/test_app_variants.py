# SPDX-License-Identifier: GPL-3.0-or-later
"""A variant without its fault would let a deploy test pass for the wrong reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from secrets import token_hex

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import MASK, mask

from tests.support import variants
from tests.support.leaks import Hunter

#: Import a variant's wsgi.py like a worker, with a stand-in for the app, whose packages aren't installed here.
WORKER = """
import runpy, sys, types
sys.modules["guestbook"] = types.SimpleNamespace(create_app=lambda: None)
def start():
    runpy.run_path("wsgi.py")
"""
MEMORY = 64 * 1024 * 1024
START_WITH_LITTLE_MEMORY = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
try:
    start()
except MemoryError:
    # What was really used, and not only asked for; getrusage would count what the parent used, too.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def files(root: Path) -> dict[str, str]:
    """Read everything that a deploy would send."""
    local = {"__pycache__", ".pytest_cache", ".venv", "instance"}
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {str(name): path.read_text() for name, path in found.items() if not local.intersection(name.parts)}


EXAMPLE = files(variants.EXAMPLE)


def worker(app: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that may call ``start``, in a separate process."""
    command = [sys.executable, "-c", WORKER + code]
    return subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=60, check=False)


def pins(lock: str) -> list[str]:
    return [line.split()[0] for line in lock.splitlines() if line[:1].strip()]


def test_each_variant_differs_from_the_example_in_its_one_file(tmp_path: Path) -> None:
    for variant, fault in variants.faults("second", 7.5).items():  # each over the previous one
        made = files(variants.make(variant, tmp_path, label="second", seconds=7.5))
        differing = {name for name in EXAMPLE.keys() | made.keys() if EXAMPLE.get(name) != made.get(name)}
        assert differing == {fault.path}, variant
        for name in differing & made.keys():
            if name.endswith(".py"):
                compile(made[name], name, "exec")
    assert "This is the guestbook, second." in made["guestbook/templates/index.html"]
    assert "time.sleep(7.5)\n" in (variants.make("slow_start", tmp_path, seconds=7.5) / "wsgi.py").read_text()


@pytest.mark.parametrize("variant", [name for name in variants.NAMES if name != "no_lock"])
def test_an_edit_without_exactly_one_anchor_fails(variant: str) -> None:
    fault = variants.faults("changed", 5.0)[variant]
    with pytest.raises(variants.AnchorError):
        fault.edit("something else\n")
    if not fault.path.endswith(".txt"):  # its patterns may match more than once
        with pytest.raises(variants.AnchorError, match="occurs 2 times"):
            fault.edit(EXAMPLE[fault.path] * 2)


def test_an_unknown_variant_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown variant 'heath_500'; the variants are: .*health_500"):
        variants.make("heath_500", tmp_path / "app")


def test_leaks_at_start_uses_memory_until_it_gets_no_more(tmp_path: Path) -> None:
    done = worker(variants.make("leaks_at_start", tmp_path), START_WITH_LITTLE_MEMORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) * 1024 > MEMORY / 2


def test_everything_printed_at_start_can_be_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, long = f"{token_hex(10)}'\"\\ %d & é \n  <$PATH>\\{token_hex(10)}", "~".join(map(str, range(1000, 14_000)))
    monkeypatch.setenv(variants.PRINTED, told)
    monkeypatch.setenv(variants.PRINTED_LONG, long)
    done = worker(variants.make("prints_at_start", tmp_path), "start()")
    [_, last] = done.stderr.split("RuntimeError: ")
    # Like journald: LineMax= is 48 KiB, and a longer line becomes several.
    lines = [line[at : at + 48 * 1024] for line in last.splitlines() for at in range(0, len(line), 48 * 1024)]
    assert done.returncode == 1
    assert len(lines) < 30
    said = "\n".join(lines)
    hunter = Hunter({"told": told, "long": long})
    ways = {leak.form for leak in hunter.in_bytes("", said.encode()) if leak.secret == "told"}
    assert {"repr in ASCII", "repr of bytes", "array of bytes", "base64", "hexadecimal"} <= ways
    assert {"JSON", "JSON in UTF-8", "JSON in JSON", "URL", "URL in lower case", "HTML", "shell"} <= ways
    assert said.count(long[-4000:]) == 2
    masked = mask(said, [told, long])
    assert masked.startswith(f"no service knows {MASK}")
    assert hunter.in_bytes("", masked.encode()) == []
    assert len(masked) < 1000


def test_each_bad_lock_has_exactly_one_fault(tmp_path: Path) -> None:
    names = ("lock_without_hashes", "bad_hash", "unresolvable", "no_gunicorn")
    locks = {name: (variants.make(name, tmp_path) / "requirements.txt").read_text() for name in names}
    locked = pins(EXAMPLE["requirements.txt"])
    assert pins(locks["lock_without_hashes"]) == pins(locks["bad_hash"]) == locked
    assert not {"--hash", "\\"} & set(locks["lock_without_hashes"].split())
    flask = locks["bad_hash"].partition("\nflask==")[2].partition("\ngunicorn==")[0]
    assert flask.count("--hash") == 1, "of its package it is the only one"
    assert set(pins(locks["unresolvable"])) - set(locked) == {"flask==999.0.0"}
    assert [pin.split("==")[0] for pin in locked if pin not in pins(locks["no_gunicorn"])] == ["gunicorn"]
