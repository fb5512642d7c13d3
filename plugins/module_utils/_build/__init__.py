# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source to files on the host: check, fetch and unpack it, and build its venv."""
