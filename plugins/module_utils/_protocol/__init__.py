# SPDX-License-Identifier: GPL-3.0-or-later
"""The release protocol, a file a verb. Each looks at the host and repairs it.

The order is the promise: a candidate is proved on its own socket while the live release serves; the switch is one
rename; the old release serves what it has accepted, and is only then stopped.
"""
