"""`shoal link`: print the link of a file or folder without sharing it."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from shoal.cli.options import Command, check_places, fields_of
from shoal.cli.output import root_fields
from shoal.errors import UsageError

__all__ = ["link"]


@click.command(cls=Command)
@click.argument("places", type=click.Path(readable=False), metavar="PATH...", nargs=-1)
def link(places: tuple[str, ...], **options: Any) -> Coroutine[None, None, None]:
    """Print the link that shoal share PATH prints, and share nothing.

    With the same options, the same files have the same link.

    \b
    shoal link photos/
    """
    # Before the event loop runs: the message for a missing PATH names the command.
    check_places(places)
    if "-" in places:
        raise UsageError(
            "Standard input has a link only while it is shared: shoal share - --name "
            "NAME. A file with the name - is ./-."
        )
    return _link(places, options)


async def _link(places: tuple[str, ...], options: dict[str, Any]) -> None:
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node
    from shoal.config.arguments import ShareOptions

    async with open_node(options, has_line=True) as (node, output):
        with Reporter(output, Path(places[0]).name) as reporter:
            chosen = fields_of(ShareOptions, options)
            found, manifest = await node.link(
                places, on_progress=reporter.on_event, **chosen
            )
        root = manifest.root
        output.result(
            str(found),
            event="complete",
            link=str(found),
            **root_fields(root),
        )
