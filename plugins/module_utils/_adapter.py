# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a step of this collection on a host: the module ``host_step``, where Ansible and the steps meet."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner, give_back, held, take
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.file_system import refusal, with_room
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import REFUSED, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.printable import all_printable, printable
from ansible_collections.greenlight.flask.plugins.module_utils._options import REQUIRED_BY
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call, Step, load

#: From this verbosity on (-vvv) an unexpected error also says where it came from.
VERBOSE = 3
#: Where else the programs that the steps run may write.
_PLACES = ("/tmp", "/var/cache/greenlight", "/opt/greenlight")  # noqa: S108  # only for a message
#: The step's options are one JSON text, which Ansible masks only as a whole. In a mapping, it would mask each short
#: value in every message.
SPEC = {"step": {"type": "str", "required": True}, "options": {"type": "str", "required": True, "no_log": True}}
#: What each step takes in addition to its own options.
APP = {"app": {"type": "str", "required": True}}


def main() -> None:
    """Run a step and end the module with its result; any error becomes a message, never a traceback.

    With the option ``owner``, first take the lock, and release it if the step fails. With the option ``run``, run the
    step only while that run has the lock. Check mode changes nothing, so it needs no lock.

    All output leaves the host here, so text from programs, apps and files is made printable here.
    """
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    given = json.loads(module.params["options"])
    result: dict[str, Any] = {}
    failure: dict[str, Any] = {}
    try:
        step = load(module.params["step"])
        options = _checked(step, given)
        call = Call(Layout(options.pop("app")), options, dry=module.check_mode)
        with _locked(module, call):
            result = step.run(call)
        if call.options.get("give_back") and not call.dry:
            give_back(call.layout, call.options["run"], done=True)
    except GreenlightError as error:
        places = [Path(place) for place in (f"/srv/{given.get('app') or ''}", *_PLACES)]
        failure = {**error.details, "msg": with_room(str(error), places)}
        if isinstance(error, Refused):
            failure[REFUSED] = [finding.as_dict() for finding in error.findings]
    except OSError as error:
        failure = {"msg": refusal(error), **_trace(module, error)}
    except Exception as error:  # the last place that can turn it into a message
        failure = {"msg": _unexpected(error), **_trace(module, error)}
    # Not inside the except clause: Ansible would add the error's text, which may contain a secret.
    if failure:
        module.fail_json(**all_printable(failure))
    module.exit_json(**all_printable(result))


def _checked(step: Step, given: Mapping[str, Any]) -> dict[str, Any]:
    checked = ArgumentSpecValidator({**APP, **step.OPTIONS}, required_by=REQUIRED_BY).validate(given)
    if checked.error_messages:
        raise GreenlightError("; ".join(checked.error_messages))
    options: dict[str, Any] = checked.validated_parameters
    return options


def _locked(module: AnsibleModule, call: Call) -> AbstractContextManager[None]:
    if call.dry:
        return nullcontext()
    if call.options.get("owner"):
        return _taking(module, call)
    return held(call.layout, call.options["run"]) if call.options.get("run") else nullcontext()


def _unexpected(error: Exception) -> str:
    """Name the type and the place of an error without its text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"Unexpected error in the collection greenlight.flask: {type(error).__name__} in"
        f" {Path(place.filename).name}:{place.lineno}. Run the same command again. If it fails again, run it with -vvv"
        " and report the trace, which contains no values."
    )


def _trace(module: AnsibleModule, error: Exception) -> dict[str, list[str]]:
    """Return where an error came from, innermost last, if the verbosity is high enough."""
    if module._verbosity < VERBOSE:
        return {}
    frames = traceback.extract_tb(error.__traceback__)
    return {"trace": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]}


@contextmanager
def _taking(module: AnsibleModule, call: Call) -> Iterator[None]:
    owner = Owner(**call.options["owner"])
    # Before the host is read: facts that are read during another run would be outdated at once.
    note = take(call.layout, owner, call.options["stale_seconds"], instead_of=call.options["instead_of"] or "")
    if note:
        module.warn(printable(note))
    try:
        yield
    except BaseException:
        give_back(call.layout, owner.run)
        raise
