# SPDX-License-Identifier: GPL-3.0-or-later
"""Gunicorn's settings by name, and those that the role sets.

Gunicorn ignores unknown names. The names are a table here, because the locked Gunicorn isn't on any machine before the
venv is built. A finding about a name from a newer Gunicorn can be accepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from ansible_collections.greenlight.flask.plugins.module_utils._base.versions import numbers
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector

#: Functions that Gunicorn calls.
HOOKS = frozenset(
    """
    child_exit dirty_post_fork dirty_worker_exit dirty_worker_init nworkers_changed on_dirty_starting on_exit on_reload
    on_starting post_fork post_request post_worker_init pre_exec pre_fork pre_request ssl_context when_ready
    worker_abort worker_exit worker_int
    """.split()  # noqa: SIM905  # read more easily than a list of forty quoted words
)
#: The first version that knows a setting; empty for all versions that the role supports.
_SINCE = {
    "": """
        access_log_format accesslog backlog bind ca_certs capture_output cert_reqs certfile chdir check_config
        child_exit ciphers config daemon default_proc_name disable_redirect_access_to_syslog do_handshake_on_connect
        dogstatsd_tags enable_stdio_inheritance errorlog forwarded_allow_ips graceful_timeout group initgroups keepalive
        keyfile limit_request_field_size limit_request_fields limit_request_line logconfig logconfig_dict logger_class
        loglevel
        max_requests max_requests_jitter nworkers_changed on_exit on_reload on_starting paste pidfile post_fork
        post_request post_worker_init pre_exec pre_fork pre_request preload_app print_config proc_name proxy_allow_ips
        proxy_protocol pythonpath raw_env raw_paste_global_conf reload reload_engine reload_extra_files reuse_port
        secure_scheme_headers sendfile spew ssl_version statsd_host statsd_prefix strip_header_spaces
        suppress_ragged_eofs syslog syslog_addr syslog_facility syslog_prefix threads timeout tmp_upload_dir umask user
        when_ready worker_abort worker_class worker_connections worker_exit worker_int worker_tmp_dir workers wsgi_app
    """,
    "21.0": "logconfig_json ssl_context",
    "22.0": "casefold_http_method header_map permit_unconventional_http_method permit_unconventional_http_version"
    " tolerate_dangerous_framing",
    "23.0": "forwarder_headers permit_obsolete_folding",
    "24.0": "asgi_lifespan asgi_loop enable_backlog_metric protocol root_path uwsgi_allow_ips",
    "25.0": """
        asgi_disconnect_grace_period dirty_apps dirty_graceful_timeout dirty_post_fork dirty_threads dirty_timeout
        dirty_worker_exit dirty_worker_init dirty_workers http2_initial_window_size http2_max_concurrent_streams
        http2_max_frame_size http2_max_header_list_size http_parser http_protocols on_dirty_starting
    """,
    "25.1": "control_socket control_socket_disable control_socket_mode",
    "26.2": "http2_cleartext",
    "26.3": "websocket_max_message_size",
}
SETTINGS: Mapping[str, str] = {name: version for version, names in _SINCE.items() for name in names.split()}
#: The first version that no longer knows a setting.
_UNTIL = {"tolerate_dangerous_framing": "23.0"}
#: Settings of the role's template, which override the source's file.
OF_THE_ROLE = frozenset(
    """
    bind control_socket_disable errorlog forwarded_allow_ips graceful_timeout loglevel reload threads timeout
    worker_class worker_tmp_dir workers wsgi_app
    """.split()  # noqa: SIM905
)
#: Settings of the template for an app below a path, which Nginx sends in the header SCRIPT_NAME.
OF_A_PREFIX = frozenset({"forwarder_headers", "header_map"})
#: Settings that are never taken from the source's file.
NEVER_TAKEN = inspector.NEVER_TAKEN


def unknown(name: str, version: str) -> bool:
    """Return whether Gunicorn ``version`` ignores this name; with an empty version, whether every version does."""
    if name not in SETTINGS:
        return True
    mine = numbers(version)
    until = _UNTIL.get(name)
    return bool(mine) and (mine < numbers(SETTINGS[name]) or (until is not None and mine >= numbers(until)))


def takes_prefix(version: str) -> bool:
    """Return whether Gunicorn ``version`` takes an app's path from Nginx; empty means an unknown version.

    22.0 drops all headers with underscores, and no setting changes that; older versions accept all.
    """
    return not version or not numbers(SETTINGS["header_map"]) <= numbers(version) < numbers(
        SETTINGS["forwarder_headers"]
    )


def meant(name: str) -> str:
    """Return the setting that is most similar to a misspelt name, or an empty text."""
    folded = re.sub(r"\W+", "_", name).lower()
    if folded in SETTINGS:
        return folded
    begun = [setting for setting in SETTINGS if setting.startswith(f"{folded}_")]
    if len(begun) == 1:
        return begun[0]
    return next(iter(difflib.get_close_matches(folded, SETTINGS, n=1, cutoff=0.75)), "")


def overridden_settings(names: Iterable[str], settings: Collection[str], prefix: str) -> list[str]:
    """Return the settings of a source's gunicorn.conf.py that the role overrides.

    Args:
        names: the names that it sets, see :mod:`.gunicorn_file`.
        settings: the names in flask_app_gunicorn_settings.
        prefix: flask_app_url_prefix.
    """
    ours = OF_THE_ROLE | NEVER_TAKEN | {*settings} | (OF_A_PREFIX if prefix else frozenset())
    return [name for name in names if name in SETTINGS and name in ours]
