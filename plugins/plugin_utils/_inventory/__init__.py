# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories as files: who sets which variable where."""
