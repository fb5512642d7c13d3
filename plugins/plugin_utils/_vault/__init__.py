# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted files with an inventory's secrets."""
