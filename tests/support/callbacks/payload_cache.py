# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep packed modules from one run of the tests' plays to the next, and let a play wait without work.

ansible-core packs each module once a run and keeps the result in the run's own temporary directory
(``ansible.executor.module_common``). Packing is a third of what a short play costs. The payload holds no argument, so
the next play can use it as it is. The tests name the directory by a digest of everything that a payload is made of.

A play that waits for hosts looks a thousand times a second whether they have answered: here a hundred times, because
two scenarios share the processors.
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
    """Links the directory; there is nothing to call back."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "payload_cache"

    def __init__(self) -> None:
        super().__init__()
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.01
        kept = Path(os.environ["GREENLIGHT_PAYLOADS"])
        kept.mkdir(parents=True, exist_ok=True)
        Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(kept)
