# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a host is not as the inventory says. Nothing here writes."""
