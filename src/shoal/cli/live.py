"""One line at the bottom of a terminal that shows what a command is doing.

It is drawn in one write, with the cursor at its start and without wrapping (DECAWM).
So a terminal that becomes narrower can break it, but erasing from the cursor on
(`ED 0`, ECMA-48) always removes all of it, whether or not the terminal moves the rest
of a long line into a second one. Messages and results are written above the line.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from shoal.cli.output import Line, Output, size_of_terminal
from shoal.cli.status import Status, Style, render

__all__ = [
    "LogLine",
    "TerminalLine",
    "erase_shown",
    "show_line",
]

LINE_PERIOD = 10.0  # seconds between lines where there is no terminal
RESIZE_PERIOD = 0.1  # seconds between looks at the width of the terminal
DRAW_PERIOD = 0.05  # seconds between two drawings
MIN_WIDTH = 2  # columns that are assumed at least
_CANNOT_MOVE = ("dumb", "unknown")  # terminals that cannot redraw a line
_ERASE = "\r\x1b[J"
_BEFORE, _AFTER = "\x1b[?7l" + _ERASE, "\r\x1b[?7h"
_UNICODE = "━─·…"  # what a line is drawn with


_shown: "TerminalLine | None" = None  # the line on this process's terminal


class LogLine(Line):
    """A plain line every `LINE_PERIOD`, for logs and pipes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last = time.monotonic()

    def show(self, status: Status) -> None:
        """Write a line if the last one is `LINE_PERIOD` old."""
        if status.is_logged and time.monotonic() - self._last >= LINE_PERIOD:
            self._last = time.monotonic()
            self._output.say(status.plain)


class TerminalLine(Line):
    """A line that is redrawn in place; it needs a running event loop."""

    def __init__(self, fd: int, style: Style) -> None:
        """Draw on the terminal `fd` once there is something to show."""
        self._fd = fd
        self._style = style
        self._status: Status | None = None
        self._width = 0
        self._drawn = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def show(self, status: Status) -> None:
        """Draw a status in place of the last one, now or soon."""
        global _shown
        _shown, self._status = self, status
        if time.monotonic() - self._drawn >= DRAW_PERIOD:
            self._draw()
        if self._timer is None:
            self._look_again()

    def _look_again(self) -> None:
        """Draw what is new, and fit the line into a terminal that was resized."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(RESIZE_PERIOD, self._look_again)
        self._draw()

    def _draw(self) -> None:
        if self._status is None:
            return
        with suppress(OSError):  # the terminal was closed
            width = max(size_of_terminal(self._fd).columns, MIN_WIDTH)
            text = render(self._status, width - 1, self._style)
            self._write(_BEFORE + text + _AFTER)
        self._drawn = time.monotonic()

    def _write(self, text: str) -> None:
        os.write(self._fd, text.encode(errors="replace"))

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line, and draw it again afterwards."""
        if self._status is not None:
            with suppress(OSError):
                self._write(_ERASE)
        yield
        self._draw()

    def clear(self) -> None:
        """Remove the line until `show` is called again; idempotent."""
        global _shown
        if self._timer is not None:
            self._timer.cancel()
        if self._status is not None:
            with suppress(OSError):
                self._write(_ERASE)
        self._status = self._timer = _shown = None


def erase_shown() -> None:
    """Remove the line before the process ends; may be called from any thread."""
    if _shown is not None:
        with suppress(OSError):
            os.write(2, _ERASE.encode())


def show_line(output: Output, options: dict[str, Any]) -> None:
    """Give an output its line: on a terminal, in a log or none, by standard error."""
    if not output.shows_progress:
        return
    can_move = os.environ.get("TERM") not in _CANNOT_MOVE and sys.platform != "win32"
    if not can_move or not sys.stderr.isatty():
        output.line = LogLine(output)
    else:
        output.line = TerminalLine(sys.stderr.fileno(), _style(options["color"]))


def _style(color: str) -> Style:
    has_color = color == "always" or (color == "auto" and not os.getenv("NO_COLOR"))
    try:
        _UNICODE.encode(sys.stderr.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return Style(has_color, is_ascii=True)
    return Style(has_color)
