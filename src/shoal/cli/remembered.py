"""The commands for what this user has shared and fetched: list, seed, forget, clean."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command
from shoal.cli.output import Output, printable
from shoal.core.report.units import format_count, format_size
from shoal.errors import NetworkError, ShoalError

if TYPE_CHECKING:
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.catalogue_entry import Entry
    from shoal.storage.disk.disk import Disk
    from shoal.storage.download.leftover import Leftover
    from shoal.swarm.operations import SealedShare

__all__ = ["clean", "forget", "list_", "seed"]


@click.command("list", cls=Command)
def list_(**options: Any) -> None:
    """List what you have shared and downloaded.

    Each line has the size, how much of it is there, the name, the path and
    the link. A selection is a copy of only the files that --include and --exclude
    selected.

    \b
    shoal list
    shoal list --json
    """
    catalogue, disk, output = _open(options)
    entries = [each for each in catalogue.entries() if not each.made.is_forgotten]
    for entry, is_shared in zip(entries, catalogue.is_served(entries), strict=True):
        root = entry.manifest.root
        state, done, selected = _state(entry, disk)
        word = state
        if state in ("unfinished", "selection"):
            word = f"{100 * done // max(root.size, 1)} %"
            word += " (selection)" if entry.is_selection else ""
        word += ", shared" if is_shared else ""
        place, name = printable(str(entry.path)), printable(root.name)
        output.result(
            f"{format_size(root.size):>10}  {word:<16}  {name}  {place}  {entry.link}",
            event="copy",
            name=root.name,
            path=str(entry.path),
            size=root.size,
            state=state,
            done=done,
            selected=selected,
            shared=is_shared,
            link=str(entry.link),
        )
    output.event("complete", copies=len(entries))
    _report(catalogue, output)


def _state(entry: "Entry", disk: "Disk") -> tuple[str, int, int]:
    """Return the state of a copy, and how many bytes are there and were selected."""
    root = entry.manifest.root
    leftover = _leftover(entry, disk)
    selected = root.size
    chosen = entry.chosen
    if chosen is not None:
        selected = sum(chosen[place].size for place in chosen.selected)
    if leftover is None and disk.state_at(entry.path, follow=True) is not None:
        return ("selection" if selected < root.size else "complete"), selected, selected
    if entry.made.is_complete:
        return "missing", 0, selected
    return "unfinished", 0 if leftover is None else leftover.done, selected


@click.command(cls=Command)
async def seed(**options: Any) -> None:
    """Share again, in one process, all that you have shared and downloaded.

    Only copies that are complete and have not changed are shared. No source needs to
    be reachable. Unchanged files that were hashed before are not read again.

    \b
    shoal seed
    shoal seed --port 4001 --limit-up 50M
    """
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node
    from shoal.cli.serving import report_until_cancelled
    from shoal.swarm.copies import is_there

    catalogue, disk, _ = _open(options)
    async with open_node(options, has_line=True) as (node, output):
        shares: list[SealedShare] = []
        for entry in catalogue.entries():
            if entry.made.is_forgotten or not is_there(entry, disk):
                continue
            try:
                with Reporter(output, entry.path.name) as reporter:
                    share = await node.seed(entry, on_progress=reporter.on_event)
            except NetworkError:
                raise  # the port: no other copy can be shared either
            except ShoalError as error:
                output.problem(str(error))  # several entries may have one path
                continue
            shares.append(share)
            root = entry.manifest.root
            output.result(
                str(entry.path),
                event="start",
                link=str(entry.link),
                path=str(entry.path),
                port=share.port,
                name=root.name,
                size=root.size,
                chunk_size=root.chunk_size,
                files=share.manifest.root.file_count,
                verified=True,
            )
        _report(catalogue, output)
        if not shares:
            raise ShoalError(
                "There is no complete copy to share; shoal list shows what you have."
            )
        port, what = shares[0].port, format_count(len(shares), "share")
        output.say(f"Sharing {len(shares)} on port {port}; press Ctrl-C to stop.")
        await report_until_cancelled(node, output, shares, what)


@click.command(cls=Command)
@click.argument("what", metavar="LINK|PATH")
def forget(what: str, **options: Any) -> None:
    """Take a share out of the list, by its LINK or PATH; its files stay.

    The partial data of an unfinished download stays, too, until shoal clean removes it.

    \b
    shoal forget photos/
    """
    from shoal.core.names.link import parse_link
    from shoal.core.names.link_text import has_link_form

    catalogue, disk, output = _open(options)
    if has_link_form(what):
        entries = catalogue.find(parse_link(what).id)
    else:
        entries = catalogue.at(Path(what))
    entries = [each for each in entries if not each.made.is_forgotten]
    _report(catalogue, output)
    if not entries:
        raise ShoalError("Nothing with this link or path is listed by shoal list.")
    for entry in entries:
        leftover = _leftover(entry, disk)
        if leftover is None:
            catalogue.remove(entry)
            rest = "its files are unchanged."
        else:
            catalogue.forget(entry)
            rest = (
                f"{format_size(leftover.size)} of the unfinished download remain until "
                "shoal clean --remove."
            )
        output.say(f"{entry.path} is no longer listed; {rest}")
    output.event("complete", copies=len(entries))


@click.command(cls=Command)
def clean(**options: Any) -> None:
    """List unfinished downloads and the space that they use, or remove them.

    A download that is running is left alone. With --remove, they are removed and start
    from nothing when they are run again.

    \b
    shoal clean
    shoal clean --remove
    """
    from shoal.storage.download.leftover import remove_leftover
    from shoal.swarm.copies import is_there

    catalogue, disk, output = _open(options)
    count = size = 0
    for entry in catalogue.entries():
        leftover = _leftover(entry, disk)
        if leftover is None and is_there(entry, disk):
            if entry.made.is_forgotten:
                catalogue.remove(entry)  # nothing is left to remove
            continue
        if leftover is not None and leftover.is_in_use:
            continue
        used = 0 if leftover is None else leftover.size
        if options["remove"]:
            remove_leftover(entry.path, entry.link.identity, disk)
            catalogue.remove(entry)
        count, size = count + 1, size + used
        output.result(
            f"{format_size(used):>10}  {printable(str(entry.path))}",
            event="unfinished",
            path=str(entry.path),
            size=used,
            done=0 if leftover is None else leftover.done,
            removed=bool(options["remove"]),
        )
    _report(catalogue, output)
    if count and not options["remove"]:
        output.say(f"{format_size(size)}; shoal clean --remove removes them.")
    output.event("complete", downloads=count, size=size)


def _open(options: dict[str, Any]) -> "tuple[Catalogue, Disk, Output]":
    from shoal.storage.catalogue import Catalogue, user_home
    from shoal.storage.disk.disk import Disk

    disk = Disk()
    return Catalogue.of_home(user_home(), disk), disk, Output.from_options(options)


def _leftover(entry: "Entry", disk: "Disk") -> "Leftover | None":
    from shoal.storage.download.leftover import find_leftover

    if entry.made.is_complete:
        return None
    return find_leftover(entry.path, entry.link.identity, disk)


def _report(catalogue: "Catalogue", output: Output) -> None:
    """Warn of the entries that could not be read."""
    for problem in catalogue.problems:
        output.problem(problem)
