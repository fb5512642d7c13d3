# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source to files on the host: checking, fetching and unpacking it, and building its venv."""
