# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the variables, the source and the inventories. Nothing here contacts a host."""
