"""`shoal get -i FILE`: download many links with one node, several at a time."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.cli.download import facts_of, get_open, get_sealed
from shoal.cli.options import check_input
from shoal.cli.output import Line, Output
from shoal.cli.page import ShowOnPage, open_page
from shoal.cli.status import Status
from shoal.cli.wanted import Wanted
from shoal.core.report.units import format_count, format_size
from shoal.errors import (
    ShoalError,
    StoreError,
    TargetExistsError,
    UnfinishedError,
    UsageError,
)

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.core.names.link import Link
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["get_many", "read_links"]

AT_ONCE = 8  # downloads
MAX_SIZE = 16 << 20  # bytes of the file with the links
MAX_LINKS = 10_000  # as many as a node has shares


def read_links(place: str) -> dict[str, Wanted]:
    """Return the links and codes in a file, or on standard input if `place` is `-`.

    Each has a line of its own; empty lines and those that begin with `#` are skipped.
    Raises `StoreError`, or `UsageError` if there is no link, there are too many, or a
    line is no link.
    """
    name = "standard input" if place == "-" else place
    if place == "-":
        check_input()
    try:
        with open(0 if place == "-" else place, "rb", closefd=place != "-") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise StoreError(
            f"{name} cannot be read ({error.strerror}); name a file with links."
        ) from None
    if len(data) > MAX_SIZE:
        raise UsageError(
            f"{name} is larger than {format_size(MAX_SIZE)}; name a file with one link "
            "per line, or split it."
        )
    lines: dict[str, int] = {}  # the text of each link, and the number of its line
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        text = line.strip()
        if text and text[0] != "#":
            lines.setdefault(text, number)
    if not lines:
        raise UsageError(f"There is no link in {name}; write one per line.")
    if len(lines) > MAX_LINKS:
        raise UsageError(
            f"There are more than {MAX_LINKS:,} links in {name}; split them."
        )
    return {text: _read_line(text, name, number) for text, number in lines.items()}


def _read_line(text: str, name: str, number: int) -> Wanted:
    """Return what a line names; raise `UsageError` with its number."""
    where = f"Line {number:,} of {name}"
    if text == "-":  # on a command line, it stands for standard input
        raise UsageError(f"{where} is not a link; correct it.")
    try:
        return Wanted([text])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


async def get_many(wanted: dict[str, Wanted], options: dict[str, Any]) -> None:
    """Download all links, and report the failures of some when the others are done.

    Raises `UnfinishedError` if any failed.
    """
    from shoal.cli.instructions import say_how_to_get
    from shoal.cli.runner import open_node
    from shoal.cli.serving import report_until_cancelled

    stays = options["seed"] or options["seed_for"] is not None
    async with (
        open_node(options, has_line=True) as (node, output),
        open_page(node, output, options) as show,
    ):
        batch = _Batch(node, output, options, show, len(wanted), stays)
        async with asyncio.TaskGroup() as tasks:
            for text, each in wanted.items():
                tasks.create_task(batch.get(text, each))
        if batch.served:
            what = format_count(len(batch.served), "share")
            output.say(f"Sharing {what}; press Ctrl-C to stop.")
            say_how_to_get(node, output, batch.served)
            try:
                async with asyncio.timeout(options["seed_for"]):
                    await report_until_cancelled(
                        node, output, batch.served, what, batch.link_of
                    )
            except TimeoutError:
                output.say("The time of --seed-for is over.")
                await node.aclose()
        batch.end()


class _Batch:
    """Download some links at a time with one node."""

    def __init__(
        self,
        node: "Node",
        output: Output,
        options: dict[str, Any],
        show: ShowOnPage,
        count: int,
        stays: bool,
    ) -> None:
        self.served: list[OpenShare | SealedShare] = []
        """What is shared from now on, if the downloads stay."""
        self._node = node
        self._output = output
        # A target that exists is verified, so the command can be run again.
        self._options = options | {"seed": True, "path": None}
        self._show = show
        self._count = count
        self._stays = stays
        self._texts: dict[int, str] = {}  # of the links, by what serves them
        self._claimed: dict[str, bytes] = {}  # the ids of shares, by the target
        self._done = 0
        self._failed = 0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, text: str, wanted: Wanted) -> None:
        """Download one link; report an error and return."""
        async with self._turns:
            output = self._output.about(link=text)
            output.line = _Part(self)
            try:
                target, served = await self._get(wanted, output)
            except ShoalError as error:
                self._failed += 1
                self._output.warn(f"{text[:40]}: {error}")
                output.event("failed", code=error.exit_code, message=str(error))
                return
            self._done += 1
            facts = facts_of(target) if output.as_json else {}
            output.result(str(target), event="downloaded", **facts)
            if served is not None:
                self.served.append(served)
                self._texts[id(served)] = text

    async def _get(
        self, wanted: Wanted, output: Output
    ) -> "tuple[Path, OpenShare | SealedShare | None]":
        from shoal.core.names.channel_id import Channel

        share = await wanted.find(self._node, output)
        if self._options["overwrite"] and not isinstance(share, Channel):
            await self._claim(share)
        if isinstance(share, Channel):
            options = self._options | {"seed": self._stays}
            return await get_open(self._node, share, output, options)
        target, served = await get_sealed(
            self._node, share, output, self._options, self._show
        )
        if served is not None and not self._stays:
            await served.leave()
            served = None
        return target, served

    async def _claim(self, link: "Link") -> None:
        """Raise `TargetExistsError` if another link of the file has the same target.

        With `-f`, the later one would replace the file of the earlier.
        """
        manifest = await self._node.manifest(link, with_files=False)
        name = manifest.root.name
        if self._claimed.setdefault(name, link.id) != link.id:
            raise TargetExistsError(
                f"Another of the links also has the name {name}; download one of them "
                "with -o OUT."
            )

    def link_of(self, share: "SealedShare") -> str:
        """Return the link or code in the file that a share comes from."""
        return self._texts[id(share)]

    @property
    def line(self) -> Line:
        """Return the line of the whole batch."""
        return self._output.line

    def show(self, status: Status) -> None:
        """Show what one of the downloads is doing."""
        title = f"{self._done} of {self._count} done: {status.title}"
        self._output.line.show(status._replace(title=title))

    def end(self) -> None:
        """Write the last line; raise `UnfinishedError` if a link failed."""
        if self._failed:
            raise UnfinishedError(
                f"Of {format_count(self._count, 'link')}, {self._failed:,} could not "
                "be downloaded; run the same command again to resume."
            )
        self._output.event("complete", links=self._count)


class _Part(Line):
    """The line of one download, which is shown as that of the batch."""

    def __init__(self, batch: _Batch) -> None:
        self._batch = batch

    def show(self, status: Status) -> None:
        """Show what the download is doing."""
        self._batch.show(status)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line of the batch while something else is written."""
        with self._batch.line.hidden():
            yield
