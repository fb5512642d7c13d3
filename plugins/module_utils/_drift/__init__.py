# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host differs from the inventory. Nothing here writes."""
