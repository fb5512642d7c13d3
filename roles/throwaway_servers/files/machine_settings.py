# SPDX-License-Identifier: GPL-3.0-or-later
"""Print this machine's settings that a throwaway server needs to reach package archives and registries, as JSON.

Proxy, CA bundle, pip, uv and apt. A path or a file:// URL of this machine means nothing inside a server and is left
out.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

# Where the server finds the machine's CA bundle: not a standard path, or update-ca-certificates would break inside.
CA_BUNDLE_ON_SERVER = "/etc/ssl/greenlight-host-ca.crt"
CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
# Settings that are passed unchanged: they hold no path and no address of this machine.
PLAIN_VARIABLES = (
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST",
)
# Settings of the machine's apt to copy to the server.
APT_OPTIONS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::https::Verify-Peer",
    "Acquire::https::Verify-Host",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Retries",
    "Acquire::http::Timeout",
    "Acquire::https::Timeout",
)
DEBIAN = "http://deb.debian.org/debian"
DEBIAN_SECURITY = "http://deb.debian.org/debian-security"


def run(*command: str) -> str:
    """Return a command's output, or nothing if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return result.stdout if result.returncode == 0 else ""


def from_inside(address: str) -> str:
    """Replace this machine's loopback in an address with the machine's name as a server sees it."""
    return re.sub(r"(?<=[/@])(localhost|127\.0\.0\.1|\[::1\])(?=[:/]|$)", "host.containers.internal", address)


def web_addresses(value: str) -> list[str]:
    """Return the http and https URLs in a list in pip's format."""
    return [from_inside(word) for word in value.split() if urlsplit(word).scheme in ("http", "https")]


def pip_settings() -> dict[str, str]:
    """Return pip's settings for a user of this machine, from files and then from the environment."""
    settings: dict[str, str] = {}
    lines = run(sys.executable, "-m", "pip", "config", "list").splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", "download", ":env:"):
            settings[key.lower().replace("_", "-")] = str(ast.literal_eval(value))
    return settings


def python_indexes() -> dict[str, str]:
    """Return the package indexes for pip and uv."""
    pip = pip_settings()
    index = web_addresses(pip.get("index-url", ""))
    extra = web_addresses(pip.get("extra-index-url", ""))
    uv_default = web_addresses(os.environ.get("UV_DEFAULT_INDEX", os.environ.get("UV_INDEX_URL", "")))
    uv_extra = [
        # uv allows a name for an index: name=https://...
        from_inside(word)
        for word in os.environ.get("UV_INDEX", os.environ.get("UV_EXTRA_INDEX_URL", "")).split()
        if re.match(r"([\w.-]+=)?https?://", word)
    ]
    values = {
        "PIP_INDEX_URL": index[:1],
        "PIP_EXTRA_INDEX_URL": extra,
        "PIP_TRUSTED_HOST": pip.get("trusted-host", "").split(),
        "UV_DEFAULT_INDEX": uv_default or index[:1],
        "UV_INDEX": uv_extra or extra,
    }
    return {name: " ".join(words) for name, words in values.items() if words}


def proxies() -> dict[str, str]:
    """Return the proxy variables in both spellings, because programs differ in which one they read."""
    found: dict[str, str] = {}
    for name in PROXY_VARIABLES:
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value:
            found[name] = found[name.upper()] = from_inside(value)
    return found


def ca_bundle() -> str:
    """Return the path of this machine's CA bundle, with certificates that an administrator added."""
    named = [os.environ.get(name, "") for name in CA_VARIABLES]
    return next((str(Path(path).resolve()) for path in (*named, *CA_BUNDLES) if path and Path(path).is_file()), "")


def os_release() -> dict[str, str]:
    """Return the fields of this machine's os-release."""
    path = Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}


def archives() -> dict[str, str]:
    """Return the Debian archives that this machine's apt uses, else Debian's own."""
    found = {"mirror": DEBIAN, "security": DEBIAN_SECURITY}
    release = os_release()
    if release.get("ID") != "debian":
        return found
    targets = [
        line.split("|")
        for line in run(
            "apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"
        ).splitlines()
    ]
    main = [(site.rstrip("/"), suite) for site, suite, component in targets if component == "main"]
    # A server can't reach a mirror on this machine's loopback or in a directory.
    main = [(site, suite) for site, suite in main if web_addresses(site) == [site]]
    suite = release.get("VERSION_CODENAME", "stable")
    # A vendor's archive may have a "bookworm main" too. Only Debian's has "-updates" or is called debian.
    for site, name in main:
        if name == f"{suite}-updates" or (name == suite and urlsplit(site).path.endswith("/debian")):
            found["mirror"] = site
            break
    for site, name in main:
        if name == f"{suite}-security":
            found["security"] = site
            break
    return found


def apt_options() -> list[str]:
    """Return this machine's apt settings as lines of apt.conf."""
    lines = run("apt-config", "dump", "--format", '%F "%v";%n', *APT_OPTIONS).splitlines()
    return [line for line in lines if not line.endswith(' "";')]


def main() -> None:
    """Collect everything and print it."""
    bundle = ca_bundle()
    environment = proxies() | python_indexes()
    environment |= {name: os.environ[name] for name in PLAIN_VARIABLES if os.environ.get(name)}
    if bundle:
        environment |= dict.fromkeys(CA_VARIABLES, CA_BUNDLE_ON_SERVER)
    # /etc/environment has one line per variable, so values with line breaks are left out.
    environment = {name: value for name, value in sorted(environment.items()) if not re.search(r"[\n\"]", value)}
    options = apt_options()
    options_on_server = [from_inside(line) for line in options]
    if bundle:
        options_on_server.append(f'Acquire::https::CAInfo "{CA_BUNDLE_ON_SERVER}";')
    json.dump(
        {
            "environment": environment,
            "ca_bundle": bundle,
            "ca_bundle_on_server": CA_BUNDLE_ON_SERVER,
            "apt_options": options,
            "apt_options_on_server": options_on_server,
            **archives(),
        },
        sys.stdout,
        indent=2,
    )


if __name__ == "__main__":
    main()
