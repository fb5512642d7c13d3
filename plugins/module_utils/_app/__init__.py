# SPDX-License-Identifier: GPL-3.0-or-later
"""One app on one host: where its files are, whose they are, its lock, systemd and the sandbox."""
