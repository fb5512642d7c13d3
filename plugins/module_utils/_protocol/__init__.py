# SPDX-License-Identifier: GPL-3.0-or-later
"""The release protocol, one file per verb. Each checks the host and repairs it.

The order of the verbs is what we guarantee: docs/explanation/protocol.md explains it.
"""
