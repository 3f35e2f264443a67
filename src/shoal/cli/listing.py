"""`shoal list`: what this user has shared and fetched, once or whenever it changes."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from shoal.cli.options import Command
from shoal.cli.output import Output, printable, size_of_terminal, writing_output
from shoal.cli.status import Style, shorten
from shoal.core.report.units import format_size

if TYPE_CHECKING:
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.catalogue_entry import Entry
    from shoal.storage.disk.disk import Disk

__all__ = ["list_"]

LOOK_PERIOD = 1.0  # seconds between two looks with --watch
_CLEAR = "\x1b[H\x1b[J"  # ECMA-48: to the first line, erase to the end
_NOTHING = "Nothing is shared or downloaded yet."
_TITLES = ("size", "there", "name", "path")


@click.command("list", cls=Command)
def list_(**options: Any) -> Coroutine[None, None, None] | None:
    """List what you have shared and downloaded.

    Each line has the size, how much of it is there, the name, the path and
    the link. A selection is a copy of only the files that --include and --exclude
    selected. With --watch, a terminal shows the list without links and keeps it
    up to date.

    \b
    shoal list
    shoal list --watch
    shoal list --json
    """
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.disk.disk import Disk
    from shoal.storage.home import user_home

    disk = Disk()
    listing = _Listing(Catalogue.of_home(user_home(), disk), disk)
    output = Output.from_options(options)
    if options["watch"]:
        return _watch(listing, output)
    copies = listing.look()
    for copy in copies:
        copy.write(output)
    if not copies:
        output.say(_NOTHING)
    output.event("complete", copies=len(copies))
    listing.report(output)
    return None


class _Copy(NamedTuple):
    """One line of the list."""

    name: str
    path: str
    size: int
    state: str
    done: int
    selected: int
    is_selection: bool
    is_shared: bool
    link: str

    def write(self, output: Output) -> None:
        """Write the line, or the JSON line."""
        output.result(
            f"{format_size(self.size):>10}  {self.word:<16}  {printable(self.name)}  "
            f"{printable(self.path)}  {self.link}",
            event="copy",
            name=self.name,
            path=self.path,
            size=self.size,
            state=self.state,
            done=self.done,
            selected=self.selected,
            shared=self.is_shared,
            link=self.link,
        )

    @property
    def word(self) -> str:
        """Return how much is there."""
        word = self.state
        if self.state in ("unfinished", "selection"):
            word = f"{100 * self.done // max(self.size, 1)} %"
            word += " (selection)" if self.is_selection else ""
        return word + (", shared" if self.is_shared else "")


class _Listing:
    """Look at the catalogue, and read only the entries that have changed."""

    def __init__(self, catalogue: "Catalogue", disk: "Disk") -> None:
        from shoal.storage.catalogue_watch import CatalogueWatch

        self._catalogue = catalogue
        self._disk = disk
        self._watch = CatalogueWatch(catalogue)
        self._entries: dict[str, Entry] = {}

    def look(self) -> list[_Copy]:
        """Return the present copies, the oldest first; blocks."""
        found = self._watch.look()
        self._entries |= dict(found.changed)
        for name in found.gone:
            self._entries.pop(name, None)
        entries = [e for e in self._entries.values() if not e.made.is_forgotten]
        entries.sort(key=lambda entry: (entry.time, entry.path))
        shared = self._catalogue.is_served(entries)
        return [self._copy(*each) for each in zip(entries, shared, strict=True)]

    def _copy(self, entry: "Entry", is_shared: bool) -> _Copy:
        return _Copy(
            entry.manifest.root.name,
            str(entry.path),
            entry.manifest.root.size,
            *_state(entry, self._disk),
            entry.is_selection,
            is_shared,
            str(entry.link),
        )

    def report(self, output: Output) -> None:
        """Warn of the entries that could not be read."""
        for problem in self._catalogue.problems:
            output.problem(problem)


def _state(entry: "Entry", disk: "Disk") -> tuple[str, int, int]:
    """Return the state of a copy, and how many bytes are there and were selected."""
    from shoal.storage.download.leftover import find_leftover

    root, made, selected = entry.manifest.root, entry.made, entry.manifest.root.size
    chosen = entry.chosen
    if chosen is not None:
        selected = sum(chosen[place].size for place in chosen.selected)
    leftover = None
    if not made.is_complete:
        leftover = find_leftover(entry.path, entry.link.identity, disk)
    states = disk.states_at(entry.parts or (entry.path,), follow=True)
    if leftover is None and None not in states:
        return ("selection" if selected < root.size else "complete"), selected, selected
    if made.is_complete:
        return "missing", 0, selected
    return "unfinished", 0 if leftover is None else leftover.done, selected


async def _watch(listing: _Listing, output: Output) -> None:
    """Write the list, and again whenever it changes, until cancelled."""
    shown: dict[str, _Copy] | None = None
    while True:
        found = await asyncio.to_thread(listing.look)
        copies = {f"{copy.link} {copy.path}": copy for copy in found}
        listing.report(output)
        if copies != shown:
            _show(output, copies, shown or {})
            shown = copies
        await asyncio.sleep(LOOK_PERIOD)


def _show(output: Output, new: dict[str, _Copy], old: dict[str, _Copy]) -> None:
    """Show what has changed: all on a terminal, otherwise the lines that differ."""
    if not output.as_json and sys.stdout.isatty():
        size = size_of_terminal(sys.stdout.fileno())
        lines = list(_table(new.values(), size.columns - 1))
        with writing_output():
            sys.stdout.write(_CLEAR + "\r\n".join(lines[: size.lines - 1]) + "\r\n")
            sys.stdout.flush()
        return
    for key in old.keys() - new.keys():
        output.event("unlisted", link=old[key].link, name=old[key].name)
        output.say(f"{old[key].path} is no longer in the list.")
    for key, copy in new.items():
        if old.get(key) != copy:
            copy.write(output)


def _table(copies: Iterable[_Copy], width: int) -> Sequence[str]:
    """Return the lines of a table that is at most `width` cells wide."""
    rows = [
        (format_size(c.size), c.word, printable(c.name), printable(c.path))
        for c in copies
    ]
    if not rows:
        return [_NOTHING]
    state, names = (max(len(row[i]) for row in (_TITLES, *rows)) for i in (1, 2))
    named = min(names, max(width // 3, 8))
    style = Style()
    lines = []
    for size, there, name, path in (_TITLES, *rows):
        title = f"{shorten(name, named, style):<{named}}"
        line = f"{size:>10}  {there:<{state}}  {title}  {path}"
        lines.append(shorten(line, width, style))
    return lines
