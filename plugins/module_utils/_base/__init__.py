# SPDX-License-Identifier: GPL-3.0-or-later
"""What any program needs: files, programs, HTTP, messages. It knows neither app nor release."""
