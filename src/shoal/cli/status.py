"""What a live line shows, fitted into any width; pure.

The facts of a `Status` are in the order in which they stand. Where there is no room for
all of them, the most important stay.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from shoal.cli.output import printable

__all__ = [
    "Fact",
    "Status",
    "Style",
    "cells",
    "names_of",
    "render",
    "shorten",
    "title_of",
]

MAX_PARTS = 3  # paths that a title names
WIDE = 60  # cells from which on there is room for a title and a bar
TITLE_CELLS = 30  # of a title at most
MIN_TITLE = 16  # cells of a title for which facts are left out
MIN_CUT = 8  # cells of a title that is cut; a shorter piece of it tells nothing
MIN_BAR, MAX_BAR = 8, 40  # cells


def title_of(name: str, parts: Sequence[Path] = ()) -> str:
    """Return how a share is called: its name, and some of the paths it is made of.

    Paths that are shared together have the name of their folder, like any others of it.
    """
    return f"{name} ({names_of(parts)})" if parts else name


def names_of(parts: Sequence[Path]) -> str:
    """Return the names of some of the paths that a share is made of."""
    named = ", ".join(part.name for part in parts[:MAX_PARTS])
    more = len(parts) - MAX_PARTS
    return f"{named} and {more:,} more" if more > 0 else named


class Fact(NamedTuple):
    """A few words of a status."""

    rank: int
    """1 for the most important one."""
    text: str


class Status(NamedTuple):
    """What a command is doing."""

    title: str
    """What it is about: the name of a share; may be empty."""
    facts: tuple[Fact, ...]
    fraction: float | None = None
    """How much is done, from 0 to 1; None for work that has no end."""
    is_logged: bool = True
    """Whether a log gets a line of it every few seconds, too."""

    @property
    def plain(self) -> str:
        """Return the status as a line of a log."""
        facts = ", ".join(fact.text for fact in self.facts)
        return f"{self.title}: {facts}" if self.title else facts


class Style(NamedTuple):
    """How a terminal draws a status."""

    has_color: bool = False
    is_ascii: bool = False
    """Whether its encoding lacks the characters of a bar."""


def render(status: Status, width: int, style: Style) -> str:
    """Return a status in at most `width` cells of a terminal."""
    gap = ", " if style.is_ascii else " · "
    title = printable(status.title)
    has_bar = status.fraction is not None and width >= WIDE
    bar_room = MIN_BAR + 1 if has_bar else 0
    title_room = min(cells(title), MIN_TITLE) + 2 if width >= WIDE else 0
    facts = _most_important(status.facts, width - bar_room - title_room, len(gap))
    text = gap.join(facts) if facts else shorten(status.facts[0].text, width, style)
    room = width - cells(text)
    cut = shorten(title, min(TITLE_CELLS, room - bar_room - 2), style)
    title = cut if cut == title or cells(cut) >= MIN_CUT else ""
    if title:
        title += " " if has_bar else ": "
        room -= cells(title)
    if status.fraction is None or not has_bar:
        return title + text
    return title + _bar(status.fraction, min(room - 1, MAX_BAR), style) + " " + text


def _most_important(facts: Iterable[Fact], width: int, gap: int) -> list[str]:
    """Return the texts of the most important facts that fit, in their order."""
    known = list(facts)
    chosen: set[int] = set()
    room = width + gap
    for place in sorted(range(len(known)), key=lambda place: known[place].rank):
        room -= cells(known[place].text) + gap
        if room < 0:
            break
        chosen.add(place)
    return [known[place].text for place in sorted(chosen)]


def _bar(fraction: float, width: int, style: Style) -> str:
    done = round(min(max(fraction, 0.0), 1.0) * width)
    full, empty = ("#", "-") if style.is_ascii else ("━", "─")
    if style.has_color:
        return f"\x1b[32m{full * done}\x1b[0m{empty * (width - done)}"
    return full * done + empty * (width - done)


def shorten(text: str, width: int, style: Style) -> str:
    """Return `text` in at most `width` cells, with an ellipsis if some is left out."""
    if cells(text) <= width:
        return text
    ellipsis = "..." if style.is_ascii else "…"
    if width <= len(ellipsis):
        return ""
    while cells(text) > width - len(ellipsis):
        text = text[:-1]
    return text + ellipsis


def cells(text: str) -> int:
    """Return how many cells of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
