# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions share: variables, the lock, and the message for whatever happens on a host."""
