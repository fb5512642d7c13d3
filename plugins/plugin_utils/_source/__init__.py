# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a source without running it: its Python, its settings, its lock, its files such as .env."""
