# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the example app with one fault in it, for the tests that deploy what must not go live.

Each variant is one edit of one file. The edit names the text it replaces: if a change of the example app leaves a
variant without its fault, this is an error here, and not a deploy test that passes for the wrong reason.

    python tests/support/variants.py health_500 build/broken
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "guestbook"
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".venv", "instance")

Edit = Callable[[str], str | None]


class AnchorError(LookupError):
    """The text that an edit replaces does not occur exactly once in the file."""


@dataclass(frozen=True)
class Fault:
    """One edit of one file; None as its result deletes the file."""

    path: str
    edit: Edit


def swap(old: str, new: str) -> Edit:
    """Replace text that must be in the file exactly once."""

    def edit(text: str) -> str:
        if text.count(old) != 1:
            raise AnchorError(f"{old!r} occurs {text.count(old)} times")
        return text.replace(old, new)

    return edit


def pattern(old: str, new: str) -> Edit:
    """Replace each match of a regular expression; it must match at least once."""

    def edit(text: str) -> str:
        changed, count = re.subn(old, new, text, flags=re.MULTILINE)
        if not count:
            raise AnchorError(f"nothing matches {old!r}")
        return changed

    return edit


def remove(text: str) -> None:
    """Delete the file."""


IMPORT = "from guestbook import create_app\n"
CREATE = "app = create_app()\n"
ASK_DATABASE = "    problem = store().answers(within=HEALTH_SECONDS)\n"
REPORTS_ANOTHER = """import os

app = create_app("staging" if os.environ["FLASK_CONFIG"] == "production" else "production")
"""
FRONT_DOOR = '    if "X-Greenlight-Release" in request.headers:\n        raise RuntimeError("ill at the front door")\n'
# Write to each page: allocated but unused memory counts towards no limit of systemd.
LEAK = """kept = []
while True:
    kept.append(b"x" * (16 * 1024 * 1024))

"""
WHEN_LIVE = """    import os

    if os.path.realpath("/srv/guestbook/live").endswith(current_app.config["RELEASE"]):
        raise RuntimeError("ill as soon as it is live")
"""
#: The variables whose values some variants print; the second is longer than a line of the journal may be.
PRINTED = "TOLD_TOKEN"
PRINTED_LONG = "TOLD_LONG_TOKEN"
#: Like programs that know of no secret: whole, in a header, in documents, in an address, and as bytes.
WAYS_TO_PRINT = f"""    import base64
    import json
    import os
    import re
    from html import escape
    from shlex import quote as quote_for_shell
    from urllib.parse import quote

    told, long = os.environ["{PRINTED}"], os.environ["{PRINTED_LONG}"]
    raw = told.encode()
    ways = [
        f"no service knows {{told}}",
        f"quoted: {{told!r}}, in ASCII: {{told!a}}",
        f"as bytes: {{raw!r}}, as numbers: {{list(raw)}}",
        "Authorization: Basic " + base64.b64encode(b"api:" + raw).decode(),
        "Authorization: Bearer " + base64.urlsafe_b64encode(b"user=" + raw + b"&x=y").decode(),
        "JSON: " + json.dumps({{"token": told}}) + ", and in UTF-8: " + json.dumps([told], ensure_ascii=False),
        "JSON in JSON: " + json.dumps({{"document": json.dumps({{"token": told}})}}),
        "asked: http://service/" + quote(told) + "?token=" + re.sub("%..", lambda found: found[0].lower(), quote(told)),
        "in hexadecimal: " + raw.hex() + ", " + raw.hex().upper(),
        "on a page: " + escape(told) + ", in a shell: " + quote_for_shell(told),
        f"at length: {{long}}",
        f"at length, as JSON: {{json.dumps(long)}}",
    ]
"""
#: In the last lines, because a play shows those of a journal.
PRINTS_AT_START = f"""
def words():
{WAYS_TO_PRINT}    return "\\n".join(ways)


raise RuntimeError(words())
"""
PRINTS_WHEN_REQUESTED = f"""{WAYS_TO_PRINT}
    return jsonify(problem=ways[0], ways=ways), 500
"""
WELL = '        status="unavailable" if problem else "ok",\n'
PRINTS_AND_IS_HEALTHY = f'        told=__import__("os").environ["{PRINTED}"],\n'
# Remove all hashes of Flask: an installer with a choice would take the artifact whose hash is still right.
BAD_HASH = pattern(r"^(flask==\S+) \\\n(?: .*\n)+", r"\1 \\\n    --hash=sha256:" + "0" * 64 + r"\n")


#: Like Flask's tutorial: a database in the instance folder, which the app creates.
TUTORIAL = """
import os
import sqlite3

os.makedirs(app.instance_path, exist_ok=True)
with sqlite3.connect(os.path.join(app.instance_path, "flaskr.sqlite")) as database:
    database.execute("CREATE TABLE IF NOT EXISTS post (title TEXT NOT NULL)")
"""


def later(seconds: float) -> str:
    """Return lines for the health page that fail once so much time has passed since its first request."""
    first = 'current_app.extensions.setdefault("asked", time.monotonic())'
    return f'    if time.monotonic() - {first} > {seconds!r}:\n        raise RuntimeError("ill by now")\n'


def faults(label: str, seconds: float) -> dict[str, Fault]:
    """Return all variants by name."""
    return {
        # It can't start.
        "import_error": Fault("wsgi.py", swap(IMPORT, f"import missing_module\n{IMPORT}")),
        "exit_at_start": Fault("wsgi.py", swap(CREATE, f"{CREATE}raise SystemExit(3)\n")),
        "slow_start": Fault("wsgi.py", swap(IMPORT, f"import time\n\n{IMPORT}\ntime.sleep({seconds!r})\n")),
        "leaks_at_start": Fault("wsgi.py", swap(CREATE, LEAK + CREATE)),
        # It starts, but /health gives no good answer.
        "health_500": Fault("guestbook/views.py", swap(ASK_DATABASE, '    raise RuntimeError("ill")\n')),
        "hangs": Fault("guestbook/views.py", swap(ASK_DATABASE, "    time.sleep(86_400)\n" + ASK_DATABASE)),
        "not_json": Fault("guestbook/views.py", swap(ASK_DATABASE, '    return Response("ok"), 200\n')),
        # Healthy on its own socket, unhealthy behind Nginx: only the front door's check can see it.
        "front_door_500": Fault("guestbook/views.py", swap(ASK_DATABASE, FRONT_DOOR + ASK_DATABASE)),
        # Healthy until it gets traffic: only a check after the switch can see it.
        "ill_when_live": Fault("guestbook/views.py", swap(ASK_DATABASE, WHEN_LIVE + ASK_DATABASE)),
        # It answers, but differs from what was to be deployed.
        "wrong_environment": Fault("wsgi.py", swap(CREATE, REPORTS_ANOTHER)),
        "debug_on": Fault("guestbook/config.py", swap("    DEBUG = False\n", "    DEBUG = True\n")),
        "wrong_revision": Fault("guestbook/config.py", swap('values.get("APP_REVISION", "unknown")', '"not-this-one"')),
        "insecure_cookie": Fault("guestbook/config.py", swap("COOKIE_SECURE = True\n", "COOKIE_SECURE = False\n")),
        # It uses another key than the one it got.
        "own_key": Fault("guestbook/config.py", swap('values["SECRET_KEY"]', 'values["SECRET_KEY"][::-1]')),
        # It has no health page.
        "no_health": Fault("guestbook/views.py", swap('@pages.get("/health")\n', "")),
        # It can't be installed as locked.
        "no_lock": Fault("requirements.txt", remove),
        "lock_without_hashes": Fault("requirements.txt", pattern(r" \\\n +--hash=\S+", "")),
        "bad_hash": Fault("requirements.txt", BAD_HASH),
        "unresolvable": Fault("requirements.txt", pattern(r"^flask==\S+", "flask==999.0.0")),
        "no_gunicorn": Fault("requirements.txt", pattern(r"^gunicorn==.*\n(?: .*\n)+", "")),
        # It is healthy at first, but fails some time after its first health check.
        "ill_later": Fault("guestbook/views.py", swap(ASK_DATABASE, later(seconds) + ASK_DATABASE)),
        # It prints a secret: in its journal, in a bad answer, in a good one.
        "prints_at_start": Fault("wsgi.py", swap(CREATE, CREATE + PRINTS_AT_START)),
        "prints_when_requested": Fault("guestbook/views.py", swap(ASK_DATABASE, PRINTS_WHEN_REQUESTED + ASK_DATABASE)),
        "prints_and_is_healthy": Fault("guestbook/views.py", swap(WELL, WELL + PRINTS_AND_IS_HEALTHY)),
        # It is healthy, and writes to its instance folder.
        "tutorial": Fault("wsgi.py", swap(CREATE, CREATE + TUTORIAL)),
        # It is healthy, and differs.
        "good_change": Fault(
            "guestbook/templates/index.html",
            swap("This is the guestbook.", f"This is the guestbook, {label}."),
        ),
    }


NAMES = tuple(faults("", 0.0))


def make(variant: str, into: Path, *, label: str = "changed", seconds: float = 5.0) -> Path:
    """Copy the example app into a folder, over an earlier copy, and add the fault.

    ``label`` is shown on the page of ``good_change``. ``seconds`` is how long ``slow_start`` takes, and how long after
    its first answer ``ill_later`` begins to fail.
    """
    if variant not in NAMES:
        raise ValueError(f"unknown variant {variant!r}; the variants are: {', '.join(NAMES)}")
    fault = faults(label, seconds)[variant]
    shutil.copytree(EXAMPLE, into, ignore=LEFT_OUT, dirs_exist_ok=True)
    file = into / fault.path
    changed = fault.edit(file.read_text(encoding="utf-8"))
    if changed is None:
        file.unlink()
    else:
        file.write_text(changed, encoding="utf-8")
    return into


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the example app with one fault in it.")
    parser.add_argument("variant", choices=NAMES)
    parser.add_argument("into", type=Path)
    parser.add_argument("--label", default="changed")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    print(make(given.variant, given.into, label=given.label, seconds=given.seconds))


if __name__ == "__main__":
    main()
