# SPDX-License-Identifier: GPL-3.0-or-later
"""How users reach an app: Nginx with its certificates."""
