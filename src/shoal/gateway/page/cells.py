"""The chunk map: a bounded number of cells, each a chunk or a range of them; pure.

A cell is one character, so that a map is a string and what has changed in it is a few
short ones. Each state has a shape of its own, as colours do not tell everybody apart.
"""

from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct

from shoal.core.manifest.chunks import Bitfield

__all__ = ["COLUMNS", "MAX_CELLS", "STATES", "State", "changes", "draw", "map_cells"]

MAX_CELLS = 1_200
COLUMNS = 60  # cells in a row
STEP = 10  # units of the drawing from one cell to the next


class State(Struct, frozen=True):
    """Say what a cell may be, and how that looks."""

    code: str
    """The character that stands for it."""
    label: str
    """What it means."""
    shape: str
    """An SVG path within 10 by 10 units, from its upper left corner."""


MISSING, SOME, ASKED, HERE, READ = "01234"

STATES = (
    State(HERE, "here", "m1 1h8v8h-8z"),
    State(SOME, "partly here", "m1 5h8v4h-8z"),
    State(ASKED, "on its way", "m1 1h8v8h-8zm2 2v4h4v-4z"),
    State(READ, "being read", "h10v10h-10zm5 2l-3 3 3 3 3-3z"),
    State(MISSING, "missing", "m3.5 3.5h3v3h-3z"),
)


def map_cells(
    count: int,
    have: Bitfield | None,
    asked: Iterable[int],
    reading: Iterable[int],
) -> str:
    """Return the cells of a share of `count` chunks, one character each.

    Of the chunks in a cell the one that somebody reads decides, then one that is on
    its way, then how many are here.
    """
    if not count:
        return ""
    width = -(-count // MAX_CELLS)
    cells = [
        _state(have, first, min(first + width, count))
        for first in range(0, count, width)
    ]
    for code, indexes in ((ASKED, asked), (READ, reading)):
        for index in indexes:
            cells[index // width] = code
    return "".join(cells)


def _state(have: Bitfield | None, first: int, end: int) -> str:
    number = have.number_in(first, end) if have is not None else 0
    if not number:
        return MISSING
    return HERE if number == end - first else SOME


def changes(before: str, after: str) -> list[tuple[int, str]]:
    """Return where `after` differs from `before`, and what stands there then.

    Another length is another map: all of it is new.
    """
    if len(before) != len(after):
        return [(0, after)] if after else []
    differ = (i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    runs = groupby(enumerate(differ), key=lambda pair: pair[1] - pair[0])
    found = []
    for _, run in runs:
        indexes = [index for _, index in run]
        found.append((indexes[0], after[indexes[0] : indexes[-1] + 1]))
    return found


def draw(cells: str, code: str) -> str:
    """Return the SVG path of all cells in one state."""
    shape = next(state.shape for state in STATES if state.code == code)
    return "".join(
        f"M{i % COLUMNS * STEP} {i // COLUMNS * STEP}{shape}"
        for i, cell in enumerate(cells)
        if cell == code
    )
