# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules, one family a file; see :mod:`..rule`."""
