# SPDX-License-Identifier: GPL-3.0-or-later
"""Notify a webhook of a deploy's outcome, from the controller; see the module of the same name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.greenlight.flask.plugins.plugin_utils._notification import body, flaw, send
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import plain, templated

SPEC = {
    "url_from": {"type": "str", "required": True},
    "message": {"type": "str", "required": True},
    "facts": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _, options = self.validate_argument_spec(SPEC)
        name = options["url_from"]
        if not name.isidentifier():  # it may be a URL, so don't quote it
            raise AnsibleActionFail("url_from must be the name of a variable, not its value.")
        result.update(changed=False, sent=False)
        url, reason = self._url(name, task_vars or {})
        if not url and not reason:
            result["skipped"] = True
            return result
        reason = reason or flaw(url)
        if not reason and not self._task.check_mode:
            reason = send(url, body(options["message"], plain(options["facts"])))
            result["sent"] = not reason
        if reason:
            result["warnings"] = [f"the notification was not sent: {reason}; check {name}"]
        return result

    def _url(self, name: str, known: Mapping[str, Any]) -> tuple[Any, str]:
        """Return the URL, or why it can't be read; neither if it is not set."""
        if name not in known:
            return "", ""
        try:
            url = templated(self._templar, known, name)
        except AnsibleError as error:  # its text may quote the URL, so use only the name of an undefined variable
            match = re.search(r"'(\w+)' is undefined", str(error))
            return "", f"{match.group(1)} is undefined" if match else f"the URL can't be read ({type(error).__name__})"
        return (url.strip() if isinstance(url, str) else url), ""
