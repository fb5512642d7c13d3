# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared code of the actions: variables, the lock, and messages for failures on a host."""
