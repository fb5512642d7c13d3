# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of this collection does on a host, one file per step, with its options and the function ``run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout

if TYPE_CHECKING:
    # All steps: Ansible ships to the host whatever an import names, even here. A step doesn't load another one's code.
    from . import (  # noqa: F401
        bring_source,
        build_venv,
        check_front_door,
        claim,
        compare_keys,
        find_drift,
        find_rollback,
        finish,
        host_info,
        inspect,
        make_release,
        preflight,
        prove_candidate,
        prune,
        publish_site,
        purge_old_secrets,
        releases_info,
        remove,
        retire,
        rotate,
        run_release_command,
        switch,
        unlock,
    )


@dataclass(frozen=True)
class Call:
    """One step of one run on this host."""

    layout: Layout
    #: As in the step's ``OPTIONS``, with their defaults; without ``app``, which all steps have.
    options: Mapping[str, Any]
    #: Check mode: report what would be done, and change nothing.
    dry: bool = False


class Step(Protocol):
    """A file of this package."""

    #: Without ``app``, in the form of ansible.module_utils.common.arg_spec.ArgumentSpecValidator.
    OPTIONS: Mapping[str, Any]
    run: Callable[[Call], dict[str, object]]


def load(name: str) -> Step:
    """Return a step by the name of its task, such as ``switch``.

    Raises:
        ModuleNotFoundError: there is no such step.
    """
    return cast("Step", import_module(f"{__name__}.{name}"))
