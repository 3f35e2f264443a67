"""Name the pages of a manifest; pure.

A manifest has two trees of pages: the hashes of the chunks, and the files of a folder.
docs/protocol.md, "Manifest pages". The root record has the hashes at the top of each
tree, so every page can be verified when it arrives, and a peer that sends a wrong page
costs that page and no more.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

__all__ = [
    "FILES",
    "HASHES",
    "MALFORMED",
    "PAGE_SIZE",
    "PageKey",
    "Table",
]

PAGE_SIZE = 64 * 1024  # bytes
Table: TypeAlias = Literal["files", "hashes"]
"""One of the two tables of a manifest."""
HASHES: Final = "hashes"
"""The table of the hashes of the chunks."""
FILES: Final = "files"
"""The table of the files of a folder."""

MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""Everything that msgspec raises for bytes that do not fit."""


class PageKey(NamedTuple):
    """Name one page of a manifest."""

    table: Table
    level: int
    """0 for a leaf; a page of level n has the hashes of pages of level n - 1."""
    number: int
    """Of hashes, the number of the page in its level. Of files, the number of the first
    file in or below the page."""
