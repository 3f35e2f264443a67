"""The commands that change what this user has shared and fetched: forget, clean."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command
from shoal.cli.output import Output, printable
from shoal.core.report.units import format_size
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.catalogue_entry import Entry
    from shoal.storage.disk.disk import Disk
    from shoal.storage.download.leftover import Leftover

__all__ = ["clean", "forget"]


@click.command(cls=Command)
@click.argument("what", metavar="LINK|PATH")
def forget(what: str, **options: Any) -> None:
    """Remove a share from the list, by its LINK or PATH; its files stay.

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
        raise ShoalError(
            "No share in the list has this link or path; copy one from shoal list."
        )
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

    A download that is running is left alone. With --remove, the data of the others is
    removed, so those downloads start over when you run them again.

    \b
    shoal clean
    shoal clean --remove
    """
    from shoal.storage.download.leftover import is_in_use, remove_leftover
    from shoal.swarm.copies import is_there

    catalogue, disk, output = _open(options)
    count = size = 0
    for entry in catalogue.entries():
        leftover = _leftover(entry, disk)
        if leftover is None and is_there(entry, disk):
            if entry.made.is_forgotten:
                catalogue.remove(entry)  # nothing is left to remove
            continue
        if is_in_use(entry.path, entry.link.identity, disk):
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
    if not count:
        output.say("There is no unfinished download.")
    output.event("complete", downloads=count, size=size)


def _open(options: dict[str, Any]) -> "tuple[Catalogue, Disk, Output]":
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.disk.disk import Disk
    from shoal.storage.home import user_home

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
