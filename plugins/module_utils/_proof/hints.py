# SPDX-License-Identifier: GPL-3.0-or-later
"""Hints for the journal of an app that failed: a table of patterns, with what they mean and which variable to set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Maximum number of hints; more would not help.
MOST = 3
#: Shared library -> Debian's package; with both names if Debian 12 and 13 have different ones.
LIBRARIES = {
    "libpq": "libpq5",
    "libmariadb": "libmariadb3",
    "libmysqlclient": "libmariadb3",
    "libodbc": "libodbc2",
    "libxml2": "libxml2",
    "libxslt": "libxslt1.1",
    "libmagic": "libmagic1 (libmagic1t64 on Debian 13)",
    "libGL": "libgl1",
    "libglib-2.0": "libglib2.0-0 (libglib2.0-0t64 on Debian 13)",
    "libgobject-2.0": "libglib2.0-0 (libglib2.0-0t64 on Debian 13)",
    "libgthread-2.0": "libglib2.0-0 (libglib2.0-0t64 on Debian 13)",
    "libcairo": "libcairo2",
    "libpango-1.0": "libpango-1.0-0",
    "libpangoft2-1.0": "libpangoft2-1.0-0",
    "libpangocairo-1.0": "libpangocairo-1.0-0",
    "libharfbuzz": "libharfbuzz0b",
    "libgeos_c": "libgeos-c1v5 (libgeos-c1t64 on Debian 13)",
    "libzbar": "libzbar0 (libzbar0t64 on Debian 13)",
    "libldap": "libldap-2.5-0 (libldap2 on Debian 13)",
    "libsnappy": "libsnappy1v5",
    "libgomp": "libgomp1",
    "libsndfile": "libsndfile1",
    "libvips": "libvips42 (libvips42t64 on Debian 13)",
    "libxmlsec1": "libxmlsec1 (libxmlsec1t64 on Debian 13)",
    "libkrb5": "libkrb5-3",
    "libgssapi_krb5": "libgssapi-krb5-2",
    "libuv": "libuv1 (libuv1t64 on Debian 13)",
}
#: Program -> Debian's package, if the names differ.
PROGRAMS = {
    "convert": "imagemagick",
    "magick": "imagemagick",
    "dot": "graphviz",
    "node": "nodejs",
    "psql": "postgresql-client",
    "pg_dump": "postgresql-client",
    "mysql": "mariadb-client",
    "mysqldump": "mariadb-client",
    "redis-cli": "redis-tools",
    "pdftotext": "poppler-utils",
    "pdftoppm": "poppler-utils",
    "soffice": "libreoffice-nogui",
    "tesseract": "tesseract-ocr",
    "exiftool": "libimage-exiftool-perl",
    "sendmail": "a mail server, such as msmtp-mta",
}
#: Module -> its package in a lock, if the names differ.
PACKAGES = {
    "MySQLdb": "mysqlclient (or write mysql+pymysql:// and lock PyMySQL)",
    "psycopg2": "psycopg2-binary (or write postgresql+psycopg:// and lock psycopg[binary])",
    "PIL": "Pillow",
    "yaml": "PyYAML",
    "dotenv": "python-dotenv",
    "decouple": "python-decouple",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "bs4": "beautifulsoup4",
    "jwt": "PyJWT",
    "dateutil": "python-dateutil",
    "magic": "python-magic",
    "gi": "PyGObject",
}


@dataclass(frozen=True)
class _Row:
    """A pattern to find in a journal, and its hint.

    Args:
        pattern: searched in the whole journal; may span lines.
        text: the hint, with ``{app}``, with ``{word}`` for the pattern's first group that matched, and with
            ``{package}`` for the package of that word.
        kind: only the first matching row of a kind is a hint: the others are its consequences.
        packages: word to package, if the two differ.
    """

    pattern: re.Pattern[str]
    text: str
    kind: str
    packages: Mapping[str, str]

    def hint(self, said: str, app: str) -> str:
        """Return the hint for a journal, or an empty text if the pattern doesn't match."""
        match = self.pattern.search(said)
        if not match:
            return ""
        word = next(filter(None, match.groups()), "")
        return self.text.format(app=app, word=word, package=self._package(word))

    def _package(self, word: str) -> str:
        if self.packages is LIBRARIES:
            names = (word, f"lib{word}", word.removesuffix("-0"), f"lib{word}".removesuffix("-0"))
            listed = next((LIBRARIES[name] for name in names if name in LIBRARIES), "")
            return listed or f"<the package that apt-file search {word}.so finds>"
        if self.packages is PACKAGES:
            return PACKAGES.get(word.partition(".")[0], word.partition(".")[0].replace("_", "-"))
        return self.packages.get(word, word)


def _row(pattern: str, text: str, kind: str = "", packages: Mapping[str, str] | None = None) -> _Row:
    return _Row(re.compile(pattern, re.MULTILINE), text, kind, packages or {})


_NO_ACCESS = (
    r"(?:PermissionError: \[Errno 13\] Permission denied|FileNotFoundError: \[Errno 2\] No such file or directory)"
)
_READ_ONLY = r"OSError: \[Errno 30\] Read-only file system: "
#: Lines of a traceback between the call and its exception.
_FEW_LINES = r"[^\n]*\n(?:[^\n]*\n){0,4}?"
_NOT_PERMITTED = r"PermissionError: \[Errno 1\] Operation not permitted"
_STATE = "/var/lib/{app}"

#: Hints have the order of the rows, so causes come before their consequences.
_TABLE = (
    # Memory. A worker that runs short of memory, or is killed for it, looks like one that hangs.
    _row(
        r"killed by the OOM killer|result 'oom-kill'|Out of memory: Killed process|^memory\.events: oom_kill [1-9]",
        "The kernel killed a worker because the release reached its memory limit, even if Gunicorn reports WORKER"
        " TIMEOUT. Fix: raise flask_app_service_memory_max, or lower flask_app_gunicorn_workers.",
        kind="memory",
    ),
    _row(
        r"(?s:WORKER TIMEOUT.*)^memory\.events: max [1-9]",
        "The release reached its memory limit, so its workers became too slow and timed out. Fix: raise"
        " flask_app_service_memory_max, or lower flask_app_gunicorn_workers.",
        kind="memory",
    ),
    _row(
        r"Cannot allocate write\+execute memory|cannot allocate executable memory"
        r"|LLVM ERROR: Unable to allocate section"
        r"|ffi_prep_closure|failed to map executable memory",
        "The sandbox forbids memory that is both writable and executable, which cffi callbacks and compilers such as"
        ' numba need. Fix: set flask_app_service_settings: {{MemoryDenyWriteExecute: "no"}}.',
        kind="memory",
    ),
    _row(
        r"^MemoryError\b|Cannot allocate memory",
        "The app ran out of memory. Fix: raise flask_app_service_memory_max, or lower flask_app_gunicorn_workers.",
        kind="memory",
    ),
    _row(
        r"WORKER TIMEOUT",
        "Gunicorn killed a worker because it took longer than its timeout to start or to answer. Fix: find out what it"
        " waits for, or raise flask_app_gunicorn_timeout_seconds.",
        kind="memory",
    ),
    _row(
        r"was sent SIGKILL! Perhaps out of memory\?",
        "A worker was killed, most likely because it used too much memory. Fix: raise flask_app_service_memory_max, or"
        " lower flask_app_gunicorn_workers.",
        kind="memory",
    ),
    # Gunicorn itself
    _row(
        r"started-without-its-socket-unit",
        "Gunicorn got no socket from systemd. Fix: check systemctl status '{app}@*.socket' on the host, and start the"
        " release with its socket unit.",
        kind="socket",
    ),
    _row(
        r"\[ERROR\] (?:Can't connect to|Connection in use:) ([\w '.,:()/-]+)$",
        "Gunicorn can't listen on {word}. Fix: remove bind from flask_app_gunicorn_settings and GUNICORN_CMD_ARGS,"
        " because systemd passes Gunicorn its socket.",
        kind="socket",
    ),
    _row(
        r"Failed to find attribute '(\w+)' in '([\w.]+)'|Failed to (?:parse|call) '",
        "Gunicorn can't find the app. Fix: set flask_app_wsgi to its module and name, such as wsgi:app or"
        ' "shop:create_app()".',
    ),
    _row(
        r"class uri '(\w+)' invalid or not found|(\w+) worker requires",
        "The worker class needs the package {word}, which is missing in the venv. Fix: add it to the lock"
        " (flask_app_requirements), or remove worker_class from flask_app_gunicorn_settings.",
    ),
    # Variables
    _row(
        r"^KeyError: '([A-Z][A-Z0-9]*_[A-Z0-9_]+|PORT|DEBUG)'"
        r"|UndefinedValueError: (\w+) not found|Environment variable \"(\w+)\" not set"
        r"|Set the (\w+) environment variable",
        "The app needs the variable {word}, which is not set. Fix: set it in flask_app_secrets, or in flask_app_env if"
        " it isn't a secret.",
    ),
    _row(
        r"^(\w+)\n\s+[Ff]ield required",
        "The app's settings need the variable {word}, which is not set. Fix: set it in flask_app_secrets, or in"
        " flask_app_env if it isn't a secret.",
    ),
    _row(
        r"because no secret key was set|A secret key is required",
        "The app doesn't use the SECRET_KEY in its environment. Fix: set app.config"
        '["SECRET_KEY"] = os.environ["SECRET_KEY"], or set flask_app_secret_key_variable to the variable that the app'
        " reads.",
    ),
    _row(
        r"'?SQLALCHEMY_DATABASE_URI'? (?:or 'SQLALCHEMY_BINDS' )?must be set",
        'The app sets no database address. Fix: set app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"],'
        " and DATABASE_URL in flask_app_secrets.",
    ),
    # Packages
    _row(
        r"(lib[\w.+-]+?)\.so[\d.]*: cannot open shared object file",
        "The shared library {word} is missing on the host. Fix: set flask_app_packages: [{package}].",
        packages=LIBRARIES,
    ),
    _row(
        r"cannot load library '((?:lib)?[\w.+-]+?)(?:\.so[\d.]*)?'",
        "The shared library {word} is missing on the host. Fix: set flask_app_packages: [{package}].",
        packages=LIBRARIES,
    ),
    _row(
        r"failed to find libmagic",
        "The shared library libmagic is missing on the host. Fix: set flask_app_packages: [libmagic1].",
    ),
    _row(
        r"ModuleNotFoundError: No module named '([\w.]+)'",
        "Python can't find the module {word}. Fix: if it belongs to a package, add {package} to the requirements and"
        " lock again (flask_app_requirements); if it belongs to the app, check flask_app_wsgi,"
        " flask_app_source_subdirectory and .gitignore.",
        packages=PACKAGES,
    ),
    _row(
        r"externally-managed-environment|No module named pip$|No such file or directory: 'pip3?'",
        "The app or its release command tries to install packages, but the venv is read-only. Fix: add them to the lock"
        " (flask_app_requirements).",
    ),
    _row(
        r"(?:_execute_child|child_exception_type|subprocess\.py)"
        + _FEW_LINES
        + r"FileNotFoundError: \[Errno 2\] No such file"
        r" or directory: '([\w.+-]+)'|sh: \d+: ([\w.+-]+): not found"
        r"|([\w.+-]+): command not found",
        "The program {word} is missing on the host. Fix: set flask_app_packages: [{package}].",
        packages=PROGRAMS,
    ),
    _row(
        r"No time zone found with key ([\w/+-]+)",
        "The host has no time zone {word}. Fix: add tzdata to the lock, or set flask_app_packages: [tzdata,"
        " tzdata-legacy].",
    ),
    _row(
        r"unsupported locale setting",
        "The locale that the app needs is missing on the host. Fix: set flask_app_packages: [locales-all].",
    ),
    # The sandbox: files
    _row(
        _NO_ACCESS + r": '(/proc/(?:meminfo|cpuinfo|stat|loadavg|uptime|vmstat|diskstats|net|sys|version)[\w/.]*)'",
        "The sandbox hides {word}. Fix: set flask_app_service_settings: {{ProcSubset: all}}.",
    ),
    _row(
        rf"(?:{_READ_ONLY}|{_NO_ACCESS}: )'(/var/log/[\w .,+@:=/~-]*)'",
        "The app can't write its log to {word}. Fix: write logs to standard error, which goes to the journal, or to a"
        " file below " + _STATE + ".",
        kind="read-only",
    ),
    _row(
        _NO_ACCESS + r": '(/(?:home|root)/[\w .,+@:=/~-]*)'",
        "The sandbox hides {word}. Fix: move it to the source or below "
        + _STATE
        + ', or set flask_app_service_settings: {{ProtectHome: "read-only"}}.',
    ),
    _row(
        r"attempt to write a readonly database|unable to open database file",
        "SQLite can't write its file. Fix: use a file below " + _STATE + ", such as sqlite:///" + _STATE + "/{app}.db.",
    ),
    _row(
        _READ_ONLY + r"'(/srv/[\w .,+@:=/~-]*|[\w.][\w .,+@:=/~-]*)'",
        "The app writes to its source ({word}), which is read-only. Fix: write below " + _STATE + ", to which"
        " app.instance_path points unless the source has its own folder instance.",
        kind="read-only",
    ),
    _row(
        _READ_ONLY + r"'(/[\w .,+@:=/~-]*)'",
        "The sandbox doesn't let the app write to {word}. Fix: write below " + _STATE + ", or set"
        " flask_app_service_settings: {{ReadWritePaths: <directory>}}.",
        kind="read-only",
    ),
    # The sandbox: system calls and sockets
    _row(
        r"\[Errno 97\] Address family not supported",
        "The sandbox forbids sockets of this family. Fix: set flask_app_service_settings: {{RestrictAddressFamilies:"
        " <family>}}, such as AF_NETLINK to list network interfaces.",
    ),
    _row(
        r"chown\b" + _FEW_LINES + _NOT_PERMITTED + r"|^chown: .*Operation not permitted",
        "The sandbox forbids chown: the app's files belong to its account {app}. Fix: remove the call, or set"
        ' flask_app_service_settings: {{SystemCallFilter: "@chown"}} if it only names that account.',
        kind="not-permitted",
    ),
    _row(
        r"(?:nice|sched_set\w+|setpriority|ioprio|setrlimit|set_mempolicy)\b" + _FEW_LINES + _NOT_PERMITTED,
        "The sandbox forbids changing priorities and limits. Fix: remove the call, or set"
        ' flask_app_service_settings: {{SystemCallFilter: "@resources"}}.',
        kind="not-permitted",
    ),
    _row(
        r"No usable sandbox|Failed to move to new namespace|unshare.*Operation not permitted",
        "The sandbox forbids namespaces, which a browser needs. Fix: set flask_app_service_settings:"
        ' {{RestrictNamespaces: "no"}},'
        " or start the browser without its own sandbox.",
        kind="not-permitted",
    ),
    _row(
        r"bind\b" + _FEW_LINES + r"PermissionError: \[Errno 13\]",
        "The app tries to listen on a port below 1024, which its account may not. Fix: choose a higher port, or let"
        " Nginx listen there.",
    ),
    _row(
        _NOT_PERMITTED,
        "The sandbox forbids a system call of the app. Fix: remove the call, or allow its group with"
        " flask_app_service_settings: {{SystemCallFilter: <group>}} (systemd-analyze syscall-filter lists the groups).",
        kind="not-permitted",
    ),
    # Limits
    _row(
        r"can't start new thread|pthread_create failed|BlockingIOError: \[Errno 11\] Resource temporarily unavailable",
        "The release reached its limit of threads and processes. Fix: raise flask_app_service_tasks_max, or lower"
        " flask_app_gunicorn_workers and flask_app_gunicorn_threads.",
    ),
    _row(
        r"\[Errno 24\] Too many open files",
        "The release reached its limit of open files. Fix: set flask_app_service_settings: {{LimitNOFILE: 65536}}.",
    ),
    _row(
        r"\[Errno 28\] No space left on device|database or disk is full",
        "A file system is full. Fix: free some space (df -h and df -i show where).",
    ),
    # Services
    _row(
        r"\[Errno 98\] Address already in use",
        "The app listens on its own port, but each worker and the live release try to do the same. Fix: run the"
        " listener as a separate unit, or in one of flask_app_hooks_after_switch.",
    ),
    _row(
        r"password authentication failed for user|Access denied for user|WRONGPASS|NOAUTH|Authentication failed\.$",
        "The database rejects the app's account. Fix: correct name and password in DATABASE_URL in flask_app_secrets.",
    ),
    _row(
        r"no pg_hba\.conf entry",
        "The database doesn't accept connections from this host. Fix: add a line for it to the database's pg_hba.conf.",
    ),
    _row(
        r"Connection refused|Can't connect to MySQL server|could not connect to server|ServerSelectionTimeoutError"
        r"|connection timeout expired",
        "This host can't reach a service that the app needs. Fix: check its address in flask_app_secrets (such as"
        " DATABASE_URL), whether it runs, and whether it accepts connections from here.",
    ),
    _row(
        r"could not translate host name|Name or service not known|Temporary failure in name resolution",
        "This host can't resolve a host name. Fix: check the addresses in flask_app_secrets and flask_app_env, such as"
        " DATABASE_URL.",
    ),
    _row(
        r"no such table|relation \"[\w.]+\" does not exist|Table '[\w.]+' doesn't exist",
        "The database has no such table. Fix: create it with flask_app_release_command, such as flask --app wsgi db"
        " upgrade.",
    ),
    # Release commands
    _row(
        r"Could not locate a Flask application|Failed to find Flask application or factory|Could not import '([\w.]+)'",
        "The command can't find the app. Fix: name it in flask_app_release_command, as in flask --app wsgi db upgrade.",
    ),
    _row(
        r"No such command '([\w-]+)'",
        "The app has no command {word}. Fix: correct flask_app_release_command, or add the package that provides it to"
        " the lock.",
    ),
    _row(
        r"Path doesn't exist: |No 'script_location' key found|Can't locate revision identified by",
        "The source lacks migrations. Fix: commit the whole folder migrations; .gitignore may exclude it.",
    ),
)


def hints(lines: Iterable[str], app: str) -> list[str]:
    """Return what the lines of a journal mean and what to do; an empty list if no pattern matches.

    Args:
        lines: of the journal, secrets masked.
        app: the app's name.
    """
    said = "\n".join(lines)
    found: dict[str, str] = {}
    for number, row in enumerate(_TABLE):
        kind = row.kind or str(number)
        text = "" if kind in found else row.hint(said, app)
        if text:
            found[kind] = f"Hint: {text}"
    return list(dict.fromkeys(found.values()))[:MOST]
