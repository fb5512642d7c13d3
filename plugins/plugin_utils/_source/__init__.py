# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source says before anything runs: its Python, its settings, its lock, its files such as .env."""
