# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before a release gets traffic, and what to report if it doesn't."""
