# SPDX-License-Identifier: GPL-3.0-or-later
"""Small apps as the guides write them, unaware of the role, and copies with one fault each.

They have the example app's lock, so that they need no new venv.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.variants import EXAMPLE, AnchorError

CONFIG = """import os


class Config:
    DEBUG = False
    SECRET_KEY = os.environ["SECRET_KEY"]
    SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]


class DevelopmentConfig(Config):
    ENV_NAME = "development"
    DEBUG = True


class StagingConfig(Config):
    ENV_NAME = "staging"


class ProductionConfig(Config):
    ENV_NAME = "production"


CONFIGS = {"development": DevelopmentConfig, "staging": StagingConfig, "production": ProductionConfig}
"""
WSGI = """import os

from config import CONFIGS
from flask import Flask

IMPORTS = "/var/lib/guestbook/imports"


def start_scheduler():
    with open(IMPORTS, "a") as counted:
        counted.write(f"{os.getpid()}\\n")


def create_app(name):
    app = Flask(__name__)
    app.config.from_object(CONFIGS[name])
    start_scheduler()

    @app.get("/")
    def home():
        return "Welcome"

    @app.get("/signal/<int:pid>")
    def signal(pid):
        try:
            os.kill(pid, 0)
        except PermissionError:
            return "refused"
        return "reached"

    @app.get("/health")
    def health():
        return {"status": "ok", "env": name}

    return app


app = create_app(os.environ["FLASK_CONFIG"])
"""
#: Only the first of two workers to get here has the right configuration.
HALF = """import contextlib

with contextlib.suppress(FileExistsError):
    os.close(os.open(os.environ["RUNTIME_DIRECTORY"] + "/first", os.O_CREAT | os.O_EXCL))
    CONFIGS["production"] = CONFIGS["staging"]
app = create_app("staging")
app.config.from_object(CONFIGS["production"])
"""
#: As Flask-Talisman does.
ONLY_HTTPS = """    from flask import redirect, request

    @app.before_request
    def secure():
        if request.headers.get("X-Forwarded-Proto") != "https":
            return redirect(request.url.replace("http:", "https:"))

"""
CREATE = 'app = create_app(os.environ["FLASK_CONFIG"])\n'
#: Fault -> the file, the text there that is replaced, and its replacement.
TWINS = {
    "": ("wsgi.py", "", ""),
    "another class behind the same page": ("config.py", '"staging": StagingConfig', '"staging": ProductionConfig'),
    "DEBUG on": ("config.py", '    ENV_NAME = "staging"\n', '    ENV_NAME = "staging"\n    DEBUG = True\n'),
    "one of two workers in another environment": ("wsgi.py", CREATE, HALF),
    "a key of each process": ("config.py", 'os.environ["SECRET_KEY"]', "os.urandom(24)"),
    "a database from elsewhere": ("config.py", 'os.environ["DATABASE_URL"]', '"sqlite:////var/lib/guestbook/own.db"'),
    "only HTTPS": ("wsgi.py", '    @app.get("/")\n', ONLY_HTTPS + '    @app.get("/")\n'),
    "a worker class without hooks": (
        "wsgi.py",
        CREATE,
        CREATE
        + """
from gunicorn.workers.gthread import ThreadWorker


class Silent(ThreadWorker):
    def init_process(self):
        self.cfg.settings["post_worker_init"].set(lambda worker: None)
        super().init_process()
""",
    ),
}


def make(directory: Path, twin: str = "") -> Path:
    """Write the guide's app, or one of its faulty copies, with the example app's lock."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {"wsgi.py": WSGI, "config.py": CONFIG}
    name, old, new = TWINS[twin]
    if old and files[name].count(old) != 1:
        raise AnchorError(f"{old!r} occurs {files[name].count(old)} times")
    files[name] = files[name].replace(old, new) if old else files[name]
    for path, text in files.items():
        (directory / path).write_text(text, encoding="utf-8")
    shutil.copy2(EXAMPLE / "requirements.txt", directory)
    return directory
