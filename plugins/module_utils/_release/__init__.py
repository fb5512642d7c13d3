# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release consists of, its marks and history, and what all releases of an app share."""
