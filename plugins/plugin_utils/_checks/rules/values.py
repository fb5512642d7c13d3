# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that pass their type check: numbers, words of commands, paths, texts that must be one line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._build import git
from ansible_collections.greenlight.flask.plugins.plugin_utils._notification import flaw

from ..case import BELOW, Case
from ..rule import Example, Found, Rule, finds

OUT_OF_RANGE = Rule(
    "out-of-range",
    "A number is outside the range that makes sense.",
    bad=Example({"flask_app_http_port": 65536}),
    good=Example({"flask_app_http_port": 8080}),
)
MALFORMED_VALUE = Rule(
    "malformed-value",
    "A value has the wrong form, for example a path, an address, a header name or a size.",
    bad=Example({"flask_app_health_path": "health"}),
    good=Example({"flask_app_health_path": "/health"}),
)
CONTROL_CHARACTER = Rule(
    "control-character",
    "A value that must fit on one line of a file holds a line break or another control character.",
    fix="Write it on one line.",
    bad=Example({"flask_app_wsgi": "wsgi:app\nuser = 'root'"}),
    good=Example({"flask_app_wsgi": "wsgi:app"}),
)
MISSING_FILE = Rule(
    "missing-file",
    "A hook names a task file that doesn't exist.",
    fix='Use an absolute path, such as "{{ inventory_dir }}/../../hooks/…". Keep hooks outside the inventory: Ansible'
    " reads the files there as lists of hosts.",
    bad=Example({"flask_app_hooks_before_build": ["tasks/build.yml"]}),
    good=Example({"flask_app_hooks_before_build": []}),
)

#: Variable of the role to the smallest and the largest sensible number.
NUMBERS = {
    "flask_app_http_port": (1, 65535),
    "flask_app_gunicorn_workers": (0, 1000),
    "flask_app_gunicorn_workers_max": (1, 1000),
    "flask_app_gunicorn_worker_memory_mb": (1, 2**20),
    "flask_app_gunicorn_threads": (1, 10000),
    "flask_app_gunicorn_timeout_seconds": (1, 86400),
    "flask_app_gunicorn_graceful_timeout_seconds": (1, 86400),
    "flask_app_service_tasks_max": (8, 2**22),
    "flask_app_health_status": (100, 599),
    "flask_app_start_seconds": (1, 3600),
    "flask_app_probe_seconds": (1, 300),
    "flask_app_probe_interval_seconds": (0, 300),
    "flask_app_release_command_seconds": (1, 86400),
    "flask_app_lock_seconds": (60, 86400),
    "flask_app_drain_seconds": (0, 3600),
    "flask_app_keep_releases": (1, 1000),
    "flask_app_https_port": (1, 65535),
    "flask_app_nginx_body_size_mb": (0, 2**20),
    "flask_app_nginx_header_size_kb": (4, 1024),
    "flask_app_nginx_rate_limit": (0, 10**6),
    "flask_app_nginx_rate_limit_burst": (0, 10**6),
    "flask_app_nginx_hsts_seconds": (0, 2**31),
}
#: Texts that may have several lines: each becomes a file or a part of one.
SEVERAL_LINES = (
    "flask_app_maintenance_page",
    "flask_app_nginx_after",
    "flask_app_nginx_before",
    "flask_app_nginx_inside",
    "flask_app_release_command",
    "flask_app_tls_certificate",
    "flask_app_tls_key",
)
#: systemd.resource-control(5), MemoryMax=. systemd ignores what it can't read, so the app would have no limit at all.
_MEMORY = re.compile(r"infinity\Z|[1-9][0-9]*(\.[0-9]+)?[KMGT]?\Z|([1-9][0-9]?|100)%\Z")
#: The part before the question mark is a word in Nginx's configuration, which compares it with the decoded address.
_HEALTH_PATH = re.compile(r"/[\w.~!&()*+,=:@/-]*(\?[\w.~!$&'()*+,;=:@/?%-]*)?\Z", re.ASCII)
#: Values that become a word or a path in a command: variable to its pattern and the fix.
_WORDS = {
    "flask_app_source_git_key_file": (re.compile(r"/[^\x00-\x1f\x7f]*\Z"), "Use an absolute path on the host."),
    "flask_app_source_subdirectory": (BELOW, "Name a directory relative to the source."),
    "flask_app_requirements": (BELOW, "Name the lock relative to the source."),
    "flask_app_python": (re.compile(r"[/\w][^\x00-\x20\x7f]*\Z"), "Use an absolute path on the host."),
    "flask_app_packages": (re.compile(r"[a-z0-9][a-z0-9+.:=~*-]*\Z"), "Use names of Debian packages."),
}


def several_lines(text: str) -> bool:
    """Return whether a text has a line break, or another character that ends a line or a text for some reader."""
    return any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text if each != "\t")


@finds(OUT_OF_RANGE, guards=True)
def numbers(case: Case) -> Iterator[Found]:
    for name, (least, most) in NUMBERS.items():
        value = case.values.get(name)
        if value is not None and not least <= value <= most:
            yield OUT_OF_RANGE(name, f"{name} is {value}.", f"Use a number from {least} to {most}.")


@finds(OUT_OF_RANGE)
def proofs(case: Case) -> Iterator[Found]:
    successes, probes = case["probe_successes"], case["probes"]
    if not 1 <= successes <= probes:
        what = f"flask_app_probe_successes is {successes}, but flask_app_probes is {probes}."
        fix = "Set flask_app_probe_successes to at least 1 and at most flask_app_probes."
        yield OUT_OF_RANGE("flask_app_probe_successes", what, fix, variables=("flask_app_probes",))


@finds(MALFORMED_VALUE, guards=True)
def forms(case: Case) -> Iterator[Found]:
    memory, path = case.values.get("flask_app_service_memory_max"), case.values.get("flask_app_health_path")
    if memory is not None and not _MEMORY.match(memory):
        what = f"flask_app_service_memory_max is {memory!r}, which systemd can't read."
        fix = "Use a size such as 512M or 2G, a share such as 40%, or infinity."
        yield MALFORMED_VALUE("flask_app_service_memory_max", what, fix)
    if path and not _HEALTH_PATH.match(path):
        fix = "Start it with a slash. Use only characters that a URL may hold, and no spaces."
        yield MALFORMED_VALUE("flask_app_health_path", f"flask_app_health_path is {path!r}.", fix)


@finds(MALFORMED_VALUE)
def words(case: Case) -> Iterator[Found]:
    """Find words that git, pip or another program would read as an option, or that lead elsewhere."""
    ref = case["source_git_ref"]
    if not git.ref_is_fit(ref):
        fix = "Name a branch, a tag or a commit."
        yield MALFORMED_VALUE("flask_app_source_git_ref", f"flask_app_source_git_ref is {ref!r}.", fix)
    for name, (pattern, fix) in _WORDS.items():
        given = case.values[name] if isinstance(case.values[name], list) else [case.values[name] or ""]
        for word in given:
            if word and not pattern.match(word):
                yield MALFORMED_VALUE(name, f"{name}: {word!r} can't be used.", fix)


@finds(MALFORMED_VALUE)
def notification(case: Case) -> Iterator[Found]:
    """Check the webhook's URL, which is a secret and never shown."""
    url = case["notify_url"]
    fault = flaw(url) if url else ""
    if fault:
        fix = "Copy it exactly as the service shows it."
        yield MALFORMED_VALUE("flask_app_notify_url", f"flask_app_notify_url: {fault}.", fix)


@finds(CONTROL_CHARACTER, guards=True)
def lines(case: Case) -> Iterator[Found]:
    for name, value in case.values.items():
        if name in SEVERAL_LINES or name.startswith("flask_app_secret"):  # another rule names each secret
            continue
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and several_lines(text) for text in texts):
            yield CONTROL_CHARACTER(name, f"{name} holds a line break or another control character.")


@finds(MISSING_FILE)
def hooks(case: Case) -> Iterator[Found]:
    for name, paths in case.values.items():
        if not name.startswith("flask_app_hooks_"):
            continue
        for path in paths:
            if not (Path(path).is_absolute() and Path(path).is_file()):
                yield MISSING_FILE(name, f"{name} names {path}, which doesn't exist or is a relative path.")
