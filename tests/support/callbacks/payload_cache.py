# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep packed modules from one run of the tests' plays to the next, and let a play wait without work.

ansible-core packs each module once per run and keeps the result in the run's temporary directory
(``ansible.executor.module_common``). Packing takes a third of a short play. The payload contains no argument, so the
next play can use it unchanged. The tests name the directory by a digest of everything that goes into a payload.

A waiting play polls its hosts a thousand times a second: here a hundred times, because two scenarios share the
processors.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: payload_cache
type: aggregate
short_description: Keep packed modules from one run to the next
description: Links the run's directory of packed modules to the one that GREENLIGHT_PAYLOADS names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # ansible has no types
    """Link the directory; there is nothing to call back."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "payload_cache"

    def __init__(self) -> None:
        super().__init__()
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.01
        kept = Path(os.environ["GREENLIGHT_PAYLOADS"])
        kept.mkdir(parents=True, exist_ok=True)
        Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(kept)
