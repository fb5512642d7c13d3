# SPDX-License-Identifier: GPL-3.0-or-later
"""The hunt for secrets: the forms in which one may appear, where to look, and what was found.

The search uses grep with fixed strings, both here and on the servers. grep gets the patterns in memory or in a file
that only root can read, never as words of a command. A report names the secret, its form and the place.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import yaml

#: SHORTEST: bytes below which a form could match by chance. SHORTEST_LINE: characters below which a secret, or a line
#: of one, is ignored.
SHORTEST = 12
SHORTEST_LINE = 8
#: Only the start of a longer form is searched: it is in every place that has the whole form.
LONGEST = 160
#: An alphanumeric run this long is a core. No quoting changes it, so it is found even in text that was cut, or quoted
#: in an unforeseen way.
CORE = 16

_CORES = re.compile(rf"[A-Za-z0-9]{{{CORE},}}")
#: These lines hold nothing of a key, and are in every key.
_PEM = re.compile(r"-----(BEGIN|END) [A-Z ]+-----")

#: Prints the file's name, a NUL and the pattern, for each match.
GREP = ("grep", "--text", "--only-matching", "--fixed-strings", "--with-filename", "--null", "--no-messages")


# --- the forms of a secret -------------------------------------------------------------------------------------------


def forms(secret: str) -> dict[bytes, str]:
    """Return all forms that a secret may have, each with the name of the form.

    The forms are the secret, each of its lines and each of its cores, in every quoting and encoding. Forms with a line
    break are left out, because the lines are included. In a text that is encoded as a whole, the secret's ends share
    characters with the neighbouring text; so there are three base64 alignments, each without its ends.
    """
    found: dict[bytes, str] = {}
    lines = {line.strip() for line in secret.splitlines()} if "\n" in secret else set()
    for part in sorted(lines | {secret, secret.strip()}, key=len, reverse=True):
        if len(part) >= SHORTEST_LINE and not _PEM.fullmatch(part):
            for name, form in _quoted(part):
                found.setdefault(form, name)
    for core in cores(secret):
        for name, form in _encoded(core.encode()):
            found.setdefault(form, f"a part, {name}")
    return {form: name for form, name in found.items() if len(form) >= SHORTEST and b"\n" not in form}


def cores(secret: str) -> list[str]:
    """Return the alphanumeric runs; long ones in pieces, because a text may be cut or broken into lines."""
    return [piece for run in _CORES.findall(secret) for piece in _pieces(run)]


def _pieces(run: str) -> list[str]:
    if len(run) < 2 * CORE:
        return [run]
    return [run[start : start + CORE] for start in range(0, len(run) - CORE + 1, CORE)]


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_in_utf8(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _yaml(text: str, *, unicode: bool) -> str:
    return yaml.dump(text, default_style='"', width=float("inf"), allow_unicode=unicode).strip()[1:-1]


def _shell(text: str, quoted: str) -> str:
    return text.replace("'", quoted)


def _c_escape(text: str) -> str:
    """Escape like systemd: octal for bytes outside ASCII."""
    known = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(
        known.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode(errors="surrogateescape")
    )


def _hexadecimal_escape(text: str, harmless: str, form: str) -> str:
    return "".join(
        chr(byte) if re.fullmatch(harmless, chr(byte)) else form.format(byte)
        for byte in text.encode(errors="surrogateescape")
    )


def _lower(quoted: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)


#: How programs quote a text, without the surrounding quotation marks.
QUOTINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "JSON": _json,
    "JSON in UTF-8": _json_in_utf8,
    "JSON in JSON": lambda text: _json(_json(text)),
    "JSON in JSON, in UTF-8": lambda text: _json_in_utf8(_json_in_utf8(text)),
    "JSON in JSON in UTF-8": lambda text: _json_in_utf8(_json(text)),
    "repr": lambda text: repr(text)[1:-1],
    "repr in single quotes": lambda text: repr(f'"{text}')[2:-1],
    "repr in ASCII": lambda text: ascii(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode(errors="surrogateescape"))[2:-1],
    "YAML": lambda text: _yaml(text, unicode=True),
    "YAML in ASCII": lambda text: _yaml(text, unicode=False),
    "YAML in single quotes": lambda text: _shell(text, "''"),
    "shell": lambda text: shlex.quote(text).strip("'"),
    "shell, with \\'": lambda text: _shell(text, "'\\''"),
    "shell, with \"'\"": lambda text: _shell(text, "'\"'\"'"),
    "shell in double quotes": lambda text: re.sub(r'(["\\$`])', r"\\\1", text),
    "shell without quotes": lambda text: re.sub(r"([] \t'\"\\|&;()<>!{}*[?^$`,])", r"\\\1", text),
    "systemd": _c_escape,
    "systemd, name of a unit": lambda text: _hexadecimal_escape(text, r"[A-Za-z0-9_:.]", "\\x{:02x}"),
    "Nginx": lambda text: _hexadecimal_escape(text, r'[ -!#-\[\]-~]', "\\x{:02X}"),
    "URL": lambda text: quote(text, safe="", errors="replace"),
    "URL, path": lambda text: quote(text, errors="replace"),
    "URL, form": lambda text: quote_plus(text, errors="replace"),
    "URL in lower case": lambda text: _lower(quote(text, safe="", errors="replace")),
    "URL, form in lower case": lambda text: _lower(quote_plus(text, errors="replace")),
    "HTML": html.escape,
    "HTML, text": lambda text: html.escape(text, quote=False),
    "HTML by MarkupSafe": lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
}  # fmt: skip


def _quoted(text: str) -> Iterator[tuple[str, bytes]]:
    for name, quoting in QUOTINGS.items():
        yield name, quoting(text).encode(errors="surrogateescape")[:LONGEST]
    raw = text.encode(errors="surrogateescape")
    yield from ((name, form[:LONGEST]) for name, form in _encoded(raw) if name != "raw")


def _encoded(raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", raw
    for once in _base64(raw):
        yield "base64", once
        yield "base64 for URLs", once.translate(bytes.maketrans(b"+/", b"-_"))
        for twice in _base64(once):
            yield "base64 in base64", twice
    yield "hexadecimal", raw.hex().encode()
    yield "hexadecimal", raw.hex().upper().encode()
    yield "array of bytes", ",".join(map(str, raw)).encode()
    yield "array of bytes", ", ".join(map(str, raw)).encode()


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the characters that depend on ``raw`` only, for each of its three alignments in a text."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]


# --- the search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Leak:
    """A secret that was found: where, which one and in which form, without any part of its value."""

    place: str
    secret: str
    form: str

    def __repr__(self) -> str:
        return f"{self.secret} ({self.form}) in {self.place}"


class Hunter:
    """Searches for named secrets."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)
        self._known: dict[bytes, Leak] = {}
        for name, secret in secrets.items():
            found = forms(secret)
            if not found:
                raise ValueError(f"{name} is too short to search for")
            for form, kind in found.items():
                self._known.setdefault(form, Leak("", name, kind))

    def without(self, names: Collection[str]) -> Hunter:
        return Hunter({name: secret for name, secret in self._secrets.items() if name not in names})

    @property
    def patterns(self) -> bytes:
        """Return one pattern per line, for grep."""
        return b"".join(form + b"\n" for form in sorted(self._known))

    def read(self, printed: bytes, before: str = "") -> list[Leak]:
        """Return what grep, called with :data:`GREP`, has found; ``before`` is prepended to the places."""
        found = set()
        for line in printed.split(b"\n"):
            place, nul, form = line.partition(b"\0")
            if not nul:  # the start of a file name with a line break in it
                continue
            known = self._known.get(form)
            if known is None:
                raise ValueError(f"grep printed {len(line)} bytes that match none of its patterns")
            found.add(Leak(f"{before}{self._without_secrets(place)}", known.secret, known.form))
        return sorted(found)

    def in_bytes(self, place: str, content: bytes) -> list[Leak]:
        return self.read(self._grep([f"--label={place}"], content))

    def in_files(self, paths: Iterable[Path], step: int = 500) -> list[Leak]:
        listed = [str(path) for path in paths]
        found = self.in_bytes("the name of a file", "\n".join(listed).encode(errors="surrogateescape"))
        for start in range(0, len(listed), step):
            found += self.read(self._grep(["--", *listed[start : start + step]], b""))
        return found

    def _grep(self, options: Sequence[str], given: bytes) -> bytes:
        handle = os.memfd_create("patterns")
        try:
            with os.fdopen(os.dup(handle), "wb") as stream:
                stream.write(self.patterns)
            command = [*GREP, f"--file=/proc/self/fd/{handle}", *options]
            environment = {**os.environ, "LC_ALL": "C"}
            # Not checked: it is 2 if one of many files has vanished. The control tests show that the search works.
            done = subprocess.run(
                command, input=given, capture_output=True, pass_fds=[handle], env=environment, check=False
            )
        finally:
            os.close(handle)
        return done.stdout

    def _without_secrets(self, place: bytes) -> str:
        for form in sorted(self._known, key=len, reverse=True):
            place = place.replace(form, b"<secret>")
        return place.decode(errors="replace")


# --- places on this machine ------------------------------------------------------------------------------------------


def changed_files(top: Path, since: float, *, left_out: Collection[Path] = (), hidden: bool = False) -> Iterator[Path]:
    """Yield the world-readable files that were made or changed at or after ``since``.

    With ``hidden``, also files and directories that only their owner can access.
    """
    for directory, names, files in os.walk(top):
        here = Path(directory)
        names[:] = [name for name in names if here / name not in left_out and (hidden or _mode(here / name) & 0o001)]
        for path in (here / name for name in files):
            try:
                facts = path.lstat()
            except OSError:  # vanished meanwhile
                continue
            if stat.S_ISREG(facts.st_mode) and facts.st_ctime >= since and (hidden or facts.st_mode & 0o004):
                yield path


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


#: Prints each command line that it sees, until its standard input ends.
SAMPLER = r"""
import os, select, sys
seen = set()
looks = {}
while True:
    running = set(filter(str.isdigit, os.listdir("/proc")))
    looks = {name: looks.get(name, -1) + 1 for name in running}
    for name, number in looks.items():
        # A process gets its words when it is made or soon after, by exec. Later it rarely changes them.
        if number > 20 and number % 50:
            continue
        try:
            file = os.open(f"/proc/{name}/cmdline", os.O_RDONLY)
        except OSError:
            continue
        # Not by open(), which takes five times as long; most command lines are short.
        line = b""
        try:
            while part := os.read(file, 4096 if not line else 65536):
                line += part
                if len(line) < 4096:
                    break
        except OSError:
            pass
        os.close(file)
        if line not in seen:
            seen.add(line)
            sys.stdout.buffer.write(line.replace(b"\0", b"\n") + b"\n")
    sys.stdout.flush()
    if select.select([sys.stdin], [], [], 0.01)[0]:
        break
"""


@contextmanager
def sampled(command: Sequence[str], into: Path) -> Iterator[None]:
    """Let ``command`` run :data:`SAMPLER` during the block, and write its output into a private file."""
    with os.fdopen(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream)
    try:
        deadline = time.monotonic() + 20
        while not into.stat().st_size and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield
    finally:
        still = process.poll() is None
        process.communicate(timeout=20)
    if not still or process.returncode != 0 or not into.stat().st_size:
        raise RuntimeError(f"the command lines were not sampled all the time: {shlex.join(command[:1])}")


# --- places on a server ----------------------------------------------------------------------------------------------

#: Files that only root can read, one pattern a line: all secrets, and those that no app has printed.
PATTERNS = "/root/leaks-patterns"
QUIET = "/root/leaks-patterns-of-quiet-secrets"
#: Printed at the end of a complete search.
WHOLE = b"whole"

_SERVER = r"""
umask 077
export LC_ALL=C
hunt() { GREP --label="$2" --file="$1"; }
# Packages' own files are left out, in which no play writes.
pruned="-path /proc -o -path /sys -o -path /usr -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/cache/apt"
main() {
  journalctl --quiet --all --no-pager --output=json |
    grep --text --invert-match --extended-regexp '"_SYSTEMD_UNIT":"APP(@|-)[^"]*"' |
    hunt PATTERNS 'the journal, other units'
  journalctl --quiet --all --no-pager --output=export | hunt QUIET 'the journal'
  { systemctl show --all; systemctl show --all '*'; } | hunt PATTERNS 'unit properties'
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | hunt PATTERNS 'command lines'
  find / /usr/local '(' $pruned ')' -prune -o -print 2>/dev/null | hunt PATTERNS 'the name of a file'
  for account in nobody www-data deploy APP; do
    runuser -u "$account" -- find / /usr/local '(' $pruned ')' -prune -o -type f -readable -print0 2>/dev/null
  done | sort --zero-terminated --unique | xargs --null --no-run-if-empty GREP --file=PATTERNS --
  # Whoever may read these: nothing of a secret is to be left in them.
  GREP --recursive --devices=skip --exclude-dir=venvs --exclude-dir=journal --file=PATTERNS \
    /srv/APP /var/log /var/cache/nginx /var/lib/nginx /var/lib/greenlight /var/lib/systemd /var/crash /var/tmp /tmp \
    /dev/shm /home /root/.ansible /root/.bash_history /run/greenlight /run/systemd /etc/nginx /etc/systemd \
    /usr/lib/systemd/system
  echo WHOLE
}
main </dev/null | sort --unique
"""


def server_script(app: str) -> str:
    """Return the shell commands that search a server, as root, for the patterns in the two files.

    The app's own output is in the journal of its units, which is not a leak of ours: there, the search covers only
    secrets that no app was made to print.
    """
    words = {"GREP": shlex.join(GREP), "PATTERNS": PATTERNS, "QUIET": QUIET, "APP": app, "WHOLE": WHOLE.decode()}
    return re.sub(r"\b(GREP|PATTERNS|QUIET|APP|WHOLE)\b", lambda match: words[match[0]], _SERVER)
