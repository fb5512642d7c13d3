# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are secrets, or should be: how they are judged and compared without being told."""
