# SPDX-License-Identifier: GPL-3.0-or-later
"""The code blocks of a page of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A code block: its language and its text."""

    language: str
    text: str

    @property
    def path(self) -> str:
        """Return the file that the block names in its first line."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def content(self) -> str:
        """Return what the block puts into that file."""
        return self.text.partition("\n")[2]

    @property
    def is_on_server(self) -> bool:
        """Return whether its commands are typed on the server instead of on the reader's machine."""
        return self.text.startswith("# on the server\n")


def code_blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in order. Those inside lists lose their indent."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page, re.MULTILINE | re.DOTALL)
    return [Block(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]
