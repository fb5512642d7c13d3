# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which the modules of this collection end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._lock import Owner, held, release, take
from ansible_collections.greenlight.flask.plugins.module_utils._printable import all_printable, printable


def run_module(spec: Mapping[str, Any], body: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run ``body`` and end the module with its result; what an operator can mend becomes a message, not a traceback.

    With the option ``owner`` the module first takes the lock, and gives it back if it fails. With the option ``run`` it
    is a step of that run, done only while the run has the lock. Check mode, which changes nothing, needs no lock.

    Whatever leaves the host leaves it here, so what programs, apps and files said is made printable here.
    """
    module = AnsibleModule(argument_spec=dict(spec), supports_check_mode=True)
    options = {} if module.check_mode else module.params
    try:
        with _taking(module) if options.get("owner") else _step(module) if options.get("run") else nullcontext():
            result = body(module)
    except GreenlightError as error:
        module.fail_json(**all_printable({**error.details, "msg": str(error)}))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        module.fail_json(msg=printable(f"the host refused: {error.strerror or error}{where}"))
    else:
        module.exit_json(**all_printable(result))


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
