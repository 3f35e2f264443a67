"""A bar on a terminal, drawn with rich.

It is a separate module because importing rich takes long, and only a terminal
needs it.
"""

from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Column

from shoal.cli.output import Bar, printable

__all__ = ["TerminalBar"]

WIDE = 60  # characters; a narrower terminal has no room for the sizes
TITLE_WIDTH = 30  # characters of a title at most


class TerminalBar(Bar):
    """A bar on a terminal, wiped when it is closed."""

    def __init__(self, title: str, color: str) -> None:
        """Draw an empty bar named `title`; `color` is auto, always or never."""
        console = Console(
            stderr=True,
            force_terminal=True if color == "always" else None,
            no_color={"always": False, "never": True}.get(color),
        )
        self._bar = _Bar(console)
        self._task = self._bar.add_task(printable(title), total=None, note="")
        self._bar.start()

    def update(self, done: int, size: int, note: str) -> None:
        """Redraw the bar."""
        with suppress(OSError):  # the terminal was closed
            self._bar.update(self._task, completed=done, total=size, note=note)

    def close(self) -> None:
        """Wipe the bar."""
        with suppress(OSError):
            self._bar.stop()


class _Bar(Progress):
    """A progress display that fits into one line of a terminal of any width."""

    def __init__(self, console: Console) -> None:
        self._terminal = console  # needed before there is a `self.console`
        super().__init__(console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        is_wide = self._terminal.width >= WIDE
        self.columns = _WIDE_COLUMNS if is_wide else _NARROW_COLUMNS
        yield from super().get_renderables()


def _text(form: str, width: int | None = None) -> TextColumn:
    """Return a column of plain text that is never wrapped."""
    column = Column(no_wrap=True, overflow="ellipsis", max_width=width)
    return TextColumn(form, markup=False, table_column=column)


_WIDE_COLUMNS = (
    _text("{task.description}", TITLE_WIDTH),
    BarColumn(),
    DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
    _text("{task.fields[note]}"),
)
_NARROW_COLUMNS = (
    BarColumn(bar_width=None, table_column=Column(ratio=1)),
    _text("{task.percentage:>3.0f} %"),
    _text("{task.fields[note]}"),
)
