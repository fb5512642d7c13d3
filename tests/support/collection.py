# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the collection importable from the checkout, under its installed name.

Ansible's own loader does it, as in a play. It also finds the collections of site-packages, but the checkout is first.
"""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

_AnsibleCollectionFinder(paths=[str(Path(__file__).resolve().parents[2] / "collections")])._install()
