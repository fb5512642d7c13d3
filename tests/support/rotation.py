# SPDX-License-Identifier: GPL-3.0-or-later
"""A key rotation on the test servers: its vault file and its play."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.deployed import DIRECTORY, ROOT, Played, play_environment, run_play, secrets

ROTATE = ROOT / "playbooks/rotate.yml"
VAULT = DIRECTORY / "rotation.yml"
KEY, FALLBACKS = "vault_flask_app_secret_key", "vault_flask_app_secret_key_fallbacks"


def make_vault(key: str = "") -> Path:
    """Write a vault file with ``key``, or that of the test inventory; the other variables stay in the inventory."""
    VAULT.write_text(f"# kept\n{KEY}: {json.dumps(key or secrets()['SECRET_KEY'])}\nvault_other: 1\n")
    ansible_vault("encrypt", "--encrypt-vault-id", "test", str(VAULT))
    return VAULT


def ansible_vault(*words: str) -> str:
    done = subprocess.run(
        ["ansible-vault", *words], check=True, cwd=ROOT, env=play_environment(), capture_output=True, text=True
    )
    return done.stdout


def keys() -> tuple[str, list[str]]:
    """Return the signing key and the fallback keys from the vault file."""
    lines = ansible_vault("view", str(VAULT)).splitlines()
    held = {name: json.loads(value) for name, _, value in (line.partition(": ") for line in lines if ": " in line)}
    return held[KEY], held.get(FALLBACKS, [])


def inventory() -> dict[str, Any]:
    """Return the variables that an inventory with this vault file would have."""
    key, fallbacks = keys()
    database = "sqlite:////var/lib/guestbook/guestbook.db"
    return {
        "flask_app_secrets": {**secrets(), "DATABASE_URL": database, "SECRET_KEY": key},
        "flask_app_secret_key_fallbacks": fallbacks,
    }


def rotation(step: str) -> dict[str, Any]:
    """Return the variables of a rotation's step, for the functions that run a play."""
    return {"playbook": ROTATE, "flask_app_rotation_step": step, "flask_app_rotation_vault_file": str(VAULT)}


def rotate(step: str, *options: str, **variables: Any) -> Played:
    return run_play(*options, **rotation(step), **variables)
