# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The parts by name: ``greenlight.flask.shared.app`` and so on."""

    APP = r"""
options:
  app:
    description: Name of the app, which is also its account, unit and directory.
    type: str
    required: true
"""

    CONTRACT = r"""
options:
  host:
    description: The public name, sent as Host.
    type: str
    required: true
  path:
    description: Path of the health page.
    type: str
    required: true
  contract:
    description: What the health answer must say.
    type: dict
    required: true
    suboptions:
      environment:
        description: Name of the environment.
        type: str
        required: true
      debug:
        description: Value of DEBUG.
        type: bool
        required: true
      revision:
        description: Revision of the release.
        type: str
        required: true
      release:
        description: Id of the release, asserted only where the answer has it.
        type: str
        required: true
      status:
        description: HTTP status.
        type: int
        default: 200
      fields:
        description: Which key of the JSON answer holds environment, debug, revision and release.
        type: dict
        default: {}
      subset:
        description: Further JSON that the answer must contain.
        type: dict
        default: {}
"""

    PATIENCE = r"""
options:
  patience:
    description: How long and how often to ask.
    type: dict
    suboptions:
      start_seconds:
        description: Seconds until the first answer.
        type: float
        default: 60
      probe_seconds:
        description: Seconds for one answer.
        type: float
        default: 5
      successes:
        description: How many probes must keep the contract.
        type: int
        default: 3
      probes:
        description: Of how many.
        type: int
        default: 5
"""

    BOUNDS = r"""
options:
  bounds:
    description: How long stopping a release may take.
    type: dict
    suboptions:
      stop_seconds:
        description: Seconds that systemd gives a release to finish its requests.
        type: float
        default: 45
      drain_seconds:
        description: Seconds that the queue of a retiring socket may take to empty.
        type: float
        default: 30
"""

    CHECK_MODE = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
"""
