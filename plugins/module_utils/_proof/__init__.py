# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before a release has traffic, and what is said where it doesn't."""
