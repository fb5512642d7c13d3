# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test server: print everything that a deploy leaves, in a form that is equal for equal deploys.

Names of their owner replace ids and digests; times and durations are left out. tests/support/faults.py passes this file
to the server's Python, with the app's name and the number of ledger lines to leave out; -1 leaves out those before the
live release.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys

APP = sys.argv[1]
SKIPPED = int(sys.argv[2])
SRV = f"/srv/{APP}"
PLACES = [
    SRV,
    f"/etc/{APP}",
    "/etc/nginx",
    "/etc/systemd/system",
    "/var/lib/greenlight",
    f"/run/{APP}",
    "/run/greenlight",
]
#: The reports of a release's processes, which contain process ids and a salt from the start.
OF_PROCESSES = re.compile(rf"^/run/{APP}/[^/]+/workers/")
#: The content consists of times, or depends on when Python compiled it.
ONLY_THERE = re.compile(r"\.pyc$|/(proved|commanded)\.json$|/ledger\.jsonl$|/venvs/[^/]+/.|/var/lib/greenlight/")
#: The tests themselves change these in each deploy.
LABELS = re.compile(rb"label \d+|client_max_body_size \d+m|# \d{15,}")
#: A rotation makes new keys each time, all of the same length.
KEYS = re.compile(rb"[0-9a-f]{64}")


def linked(path: str) -> str:
    try:
        return os.path.basename(os.readlink(path)).removesuffix(".sock")
    except OSError:
        return ""


def names() -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for whose, release in (("PREVIOUS", linked(f"{SRV}/previous")), ("LIVE", linked(f"{SRV}/live.sock"))):
        if not release:
            continue
        with open(f"{SRV}/releases/{release}/release.json", encoding="utf-8") as stream:
            manifest = json.load(stream)
        found.update({manifest[key]: f"{whose}-{key.upper()}" for key in ("revision", "venv", "source", "digest")})
        found[release] = whose
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


NAMES = names()


def normalized(text: str) -> str:
    for value, name in NAMES:
        text = text.replace(value, name)
    return text


def described(path: str) -> str:
    facts = os.lstat(path)
    kind = stat.S_IFMT(facts.st_mode)
    line = f"{normalized(path)} {facts.st_uid}:{facts.st_gid} {facts.st_mode:o}"
    if kind == stat.S_IFLNK:
        return f"{line} -> {normalized(os.readlink(path))}"
    if kind != stat.S_IFREG or ONLY_THERE.search(path):
        return line
    with open(path, "rb") as stream:
        raw = LABELS.sub(b"LABEL", stream.read())
    content = (KEYS.sub(b"KEY", raw) if path.endswith(".env") else raw).decode("utf-8", "surrogateescape")
    return f"{line} {hashlib.sha256(normalized(content).encode('utf-8', 'surrogateescape')).hexdigest()}"


for place in PLACES:
    for directory, folders, files in os.walk(place):
        paths = (os.path.join(directory, name) for name in sorted([*folders, *files]))
        print("\n".join(described(path) for path in paths if not OF_PROCESSES.match(path)))

with open(f"{SRV}/ledger.jsonl", encoding="utf-8") as stream:
    events = [json.loads(line) for line in stream.read().replace("\0", "").splitlines() if line]
mine = [number for number, event in enumerate(events) if normalized(event["release"]) == "LIVE"]
start = SKIPPED if SKIPPED >= 0 else mine[0] if mine else len(events)
for event in events[start:]:
    print("ledger", event["event"], normalized(event["release"]), normalized(event.get("previous", "")))

units = subprocess.run(
    ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}*"],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
)
for row in sorted(units.stdout.splitlines()):
    name, _, active, sub = row.split()[:4]
    if active != "inactive":  # systemd lists a stopped unit until it forgets it
        print("unit", normalized(name), active, sub)
