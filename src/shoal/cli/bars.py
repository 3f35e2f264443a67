"""The bar of a download or share: drawn on a terminal, or as lines in a log."""

import os
import sys
import time

from shoal.cli.output import Bar, Output
from shoal.core.report.units import format_size

__all__ = ["make_bar"]

_CANNOT_MOVE = ("dumb", "unknown")  # terminals that cannot redraw a line
LINE_PERIOD = 10.0  # seconds between lines where there is no terminal


class LineBar(Bar):
    """A plain line every `LINE_PERIOD`, for logs and pipes."""

    def __init__(self, title: str, output: Output) -> None:
        self._title = title
        self._output = output
        self._last = time.monotonic()

    def update(self, done: int, size: int, note: str) -> None:
        """Write a line if the last one is `LINE_PERIOD` old."""
        if time.monotonic() - self._last >= LINE_PERIOD:
            self._last = time.monotonic()
            share = 100 * done // size if size else 100
            self._output.say(f"{self._title}: {share} % of {format_size(size)}, {note}")


def make_bar(output: Output, title: str, color: str) -> Bar:
    """Return a bar for a terminal, for a log or for nothing, by standard error."""
    if not output.shows_progress:
        return Bar()
    if sys.stderr.isatty() and os.environ.get("TERM") not in _CANNOT_MOVE:
        from shoal.cli.terminalbar import TerminalBar

        return TerminalBar(title, color)
    return LineBar(title, output)
