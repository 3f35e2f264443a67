"""A bar on a terminal, drawn with rich.

It is apart from `progress` because only who watches a terminal pays for rich.
"""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Column

from shoal.cli.output import printable

__all__ = ["TerminalBar"]

WIDE = 60  # characters; on less there is no room for how much of how much
TITLE_WIDTH = 30  # characters of a title at most


class TerminalBar:
    """Draw one bar, which goes when it is closed."""

    def __init__(self, title: str, color: str) -> None:
        """Draw nothing yet known of `title`; `color` is auto, always or never."""
        console = Console(
            stderr=True,
            force_terminal=True if color == "always" else None,
            no_color={"always": False, "never": True}.get(color),
        )
        self._bar = _Bar(console)
        self._task = self._bar.add_task(printable(title), total=None, note="")
        self._bar.start()

    def update(self, done: int, size: int, note: str) -> None:
        """Redraw."""
        self._bar.update(self._task, completed=done, total=size, note=note)

    def close(self) -> None:
        """Wipe the bar."""
        self._bar.stop()


class _Bar(Progress):
    """Fit into one line of a terminal, however wide it is at the moment."""

    def __init__(self, console: Console) -> None:
        self._terminal = console  # needed before there is a `self.console`
        super().__init__(console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        is_wide = self._terminal.width >= WIDE
        self.columns = _WIDE_COLUMNS if is_wide else _NARROW_COLUMNS
        yield from super().get_renderables()


def _text(form: str, width: int | None = None) -> TextColumn:
    """Return a column of text that is taken as it is, and never wrapped."""
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
