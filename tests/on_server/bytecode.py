# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test server: keep the bytecode of what Ansible's modules import.

A module arrives as a zip file, and Python keeps no bytecode for zip files (PEP 273). So each task would compile some
eighty files again, which costs more processor time than most tasks do. Python imports this file at each start, through
a .pth file that molecule/shared/prepare.yml writes. The cache key is a hash of the source, so changed files are
compiled again.
"""

from __future__ import annotations

import _imp
import contextlib
import marshal
import os
import sys
import zipimport
from types import CodeType

PLACE = f"/var/cache/greenlight-bytecode/{sys.implementation.cache_tag}"


def _kept(pathname: str, source: bytes) -> CodeType:
    path = f"{PLACE}/{_imp.source_hash(0, source).hex()}-{len(source)}"
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        code: CodeType = marshal.load(stream)
        return code
    code = _compile(pathname, source)
    unfinished = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        with open(unfinished, "wb") as stream:
            marshal.dump(code, stream)
        os.replace(unfinished, path)
    return code


if os.geteuid() == 0:
    os.makedirs(PLACE, exist_ok=True)
    _compile = zipimport._compile_source  # type: ignore[attr-defined]
    zipimport._compile_source = _kept  # type: ignore[attr-defined]
