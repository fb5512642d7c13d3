# SPDX-License-Identifier: GPL-3.0-or-later
"""The release protocol, a file a verb. Each looks at the host and repairs it.

The order is the promise: docs/explanation/protocol.md says which it is, and why.
"""
