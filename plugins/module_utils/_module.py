# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which the modules of this collection end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._file_system import refusal, with_room
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._lock import Owner, held, release, take
from ansible_collections.greenlight.flask.plugins.module_utils._printable import all_printable, printable

#: From this verbosity on (-vvv) an unexpected error also says where it came from.
VERBOSE = 3
#: Where else the programs write that the modules run.
_PLACES = ("/tmp", "/var/cache/greenlight", "/opt/greenlight")  # noqa: S108  # asked about, and not used


def run_module(spec: Mapping[str, Any], body: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run ``body`` and end the module with its result; whatever goes wrong becomes a message, never a traceback.

    With the option ``owner`` the module first takes the lock, and gives it back if it fails. With the option ``run`` it
    is a step of that run, done only while the run has the lock. Check mode, which changes nothing, needs no lock.

    Whatever leaves the host leaves it here, so what programs, apps and files said is made printable here.
    """
    module = AnsibleModule(argument_spec=dict(spec), supports_check_mode=True)
    options = {} if module.check_mode else module.params
    result: dict[str, Any] = {}
    failure: dict[str, Any] = {}
    try:
        with _taking(module) if options.get("owner") else _step(module) if options.get("run") else nullcontext():
            result = body(module)
    except GreenlightError as error:
        places = [Path(place) for place in (f"/srv/{module.params.get('app') or ''}", *_PLACES)]
        failure = {**error.details, "msg": with_room(str(error), places)}
    except OSError as error:
        failure = {"msg": refusal(error), **_trace(module, error)}
    except Exception as error:  # the last place that can make a message of it
        failure = {"msg": _unexpected(error), **_trace(module, error)}
    # Not where the error is caught: Ansible would add its text, in which may be a secret.
    if failure:
        module.fail_json(**all_printable(failure))
    module.exit_json(**all_printable(result))


def _unexpected(error: Exception) -> str:
    """Name the kind and the place of an error, and nothing of its text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"An error that the collection greenlight.flask doesn't expect: {type(error).__name__} in"
        f" {Path(place.filename).name}:{place.lineno}. Run the same command again. If it fails again, run it with -vvv"
        " and report the trace, which holds no values."
    )


def _trace(module: AnsibleModule, error: Exception) -> dict[str, list[str]]:
    """Return where an error came from, innermost last, for whoever asks for it."""
    if module._verbosity < VERBOSE:
        return {}
    frames = traceback.extract_tb(error.__traceback__)
    return {"trace": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]}


def _step(module: AnsibleModule) -> AbstractContextManager[None]:
    return held(Layout(module.params["app"]), module.params["run"])


@contextmanager
def _taking(module: AnsibleModule) -> Iterator[None]:
    layout, owner = Layout(module.params["app"]), Owner(**module.params["owner"])
    # Before the host is read: what one reads while another run is at work would be old at once.
    note = take(layout, owner, module.params["stale_seconds"], instead_of=module.params["instead_of"])
    if note:
        module.warn(printable(note))
    try:
        yield
    except BaseException:
        release(layout, owner.run)
        raise
