# SPDX-License-Identifier: GPL-3.0-or-later
"""A variant without its fault would let a deploy test pass for the wrong reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from secrets import token_hex

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._masking import MASK, mask

from tests.support import variants
from tests.support.leaks import Hunter

LOCK = (variants.EXAMPLE / "requirements.txt").read_text(encoding="utf-8")

#: Import a variant's wsgi.py as a worker does, with a stand-in for the app, whose packages aren't here.
WORKER = """
import runpy, sys, time, types
sys.modules["guestbook"] = types.SimpleNamespace(create_app=lambda: None)
def start():
    runpy.run_path("wsgi.py")
"""
MEBIBYTE = 1024 * 1024
MEMORY = 256 * MEBIBYTE
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
    """Read all that a deploy would send."""
    local = {"__pycache__", ".pytest_cache", ".venv", "instance"}
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {
        str(name): path.read_text(encoding="utf-8")
        for name, path in found.items()
        if not local.intersection(name.parts)
    }


def worker(app: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that may call ``start``, in a process of its own."""
    command = [sys.executable, "-c", WORKER + code]
    return subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=60, check=False)


def lock_of(variant: str, into: Path) -> str:
    return (variants.make(variant, into) / "requirements.txt").read_text(encoding="utf-8")


def pins(lock: str) -> list[str]:
    return [line.split()[0] for line in lock.splitlines() if line[:1].strip()]


@pytest.mark.parametrize("variant", variants.NAMES)
def test_each_variant_differs_from_the_example_in_its_one_file(variant: str, tmp_path: Path) -> None:
    made = files(variants.make(variant, tmp_path / "app"))
    example = files(variants.EXAMPLE)
    differing = {name for name in example.keys() | made.keys() if example.get(name) != made.get(name)}
    assert differing == {variants.faults("changed", 5.0)[variant].path}
    for name in differing & made.keys():
        if name.endswith(".py"):
            compile(made[name], name, "exec")


@pytest.mark.parametrize("variant", [name for name in variants.NAMES if name != "no_lock"])
def test_an_edit_whose_anchor_is_gone_fails(variant: str) -> None:
    with pytest.raises(variants.AnchorError):
        variants.faults("changed", 5.0)[variant].edit("something else\n")


def test_an_anchor_that_stands_twice_fails() -> None:
    with pytest.raises(variants.AnchorError, match="occurs 2 times"):
        variants.swap("a", "b")("a a")


def test_a_variant_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    variants.make("no_lock", tmp_path)
    variants.make("import_error", tmp_path)
    variants.make("good_change", tmp_path, label="second edition")
    expected = files(variants.EXAMPLE)
    page = "guestbook/templates/index.html"
    made = files(tmp_path)
    assert "This is the guestbook, second edition." in made.pop(page)
    del expected[page]
    assert made == expected


def test_an_unknown_variant_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no variant 'heath_500', only: .*health_500"):
        variants.make("heath_500", tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_slow_start_takes_as_long_as_it_is_told(tmp_path: Path) -> None:
    made = variants.make("slow_start", tmp_path, seconds=7.5)
    assert "time.sleep(7.5)\n" in (made / "wsgi.py").read_text(encoding="utf-8")


def test_leaks_at_start_uses_memory_until_it_is_refused_more(tmp_path: Path) -> None:
    done = worker(variants.make("leaks_at_start", tmp_path), START_WITH_LITTLE_MEMORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) * 1024 > MEMORY / 2


def test_what_tells_at_start_tells_in_many_ways_can_all_be_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, long = f"{token_hex(10)}'\"\\ %d & é \n  <$PATH>\\{token_hex(10)}", "~".join(map(str, range(1000, 14_000)))
    monkeypatch.setenv(variants.TOLD, told)
    monkeypatch.setenv(variants.TOLD_LONG, long)
    done = worker(variants.make("tells_at_start", tmp_path), "start()")
    [_, last] = done.stderr.split("RuntimeError: ")
    # As journald does it: LineMax= is 48 KiB, and a line that is longer is several.
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


def test_the_lock_without_hashes_keeps_its_pins(tmp_path: Path) -> None:
    lock = lock_of("lock_without_hashes", tmp_path)
    assert "--hash" not in lock
    assert "\\" not in lock
    assert pins(lock) == pins(LOCK)


def test_the_bad_hash_is_the_only_one_of_its_package(tmp_path: Path) -> None:
    lock = lock_of("bad_hash", tmp_path)
    assert pins(lock) == pins(LOCK)
    start = lock.index("flask==")
    flask = lock[start : lock.index("\n", lock.index("--hash", start)) + 1]
    assert flask.count("--hash") == 1
    assert f"{flask}gunicorn==" in lock


def test_the_unresolvable_lock_pins_a_version_that_does_not_exist(tmp_path: Path) -> None:
    changed = set(pins(lock_of("unresolvable", tmp_path))) - set(pins(LOCK))
    assert changed == {"flask==999.0.0"}


def test_the_lock_without_gunicorn_lacks_nothing_else(tmp_path: Path) -> None:
    missing = set(pins(LOCK)) - set(pins(lock_of("no_gunicorn", tmp_path)))
    assert [pin.split("==")[0] for pin in missing] == ["gunicorn"]
