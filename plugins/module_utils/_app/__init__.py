# SPDX-License-Identifier: GPL-3.0-or-later
"""One app on one host: where its files are, who owns them, its lock, systemd and the sandbox."""
