# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge and compare secret values without revealing them."""
