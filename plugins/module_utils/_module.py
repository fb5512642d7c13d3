# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which the modules of this collection end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError


def run_module(spec: Mapping[str, Any], body: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run ``body`` and end the module with its result; what an operator can mend becomes a message, not a traceback."""
    module = AnsibleModule(argument_spec=dict(spec), supports_check_mode=True)
    try:
        result = body(module)
    except GreenlightError as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        module.fail_json(msg=f"the host refused: {error.strerror or error}{where}")
    else:
        module.exit_json(**result)
