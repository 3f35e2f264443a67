"""`shoal link`: print the link of a file or folder without sharing it."""

from pathlib import Path
from typing import Any

import click

from shoal.cli.options import Command, fields_of
from shoal.errors import UsageError

__all__ = ["link"]


@click.command(cls=Command)
@click.argument("place", type=click.Path(readable=False), metavar="PATH")
async def link(place: str, **options: Any) -> None:
    """Print the link that shoal share PATH prints, and share nothing.

    With the same options, the same files have the same link.

    \b
    shoal link photos/
    """
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node
    from shoal.config.arguments import ShareOptions

    if not place:
        raise UsageError("PATH is empty; name a file or folder.")
    path = Path(place)
    async with open_node(options, has_line=True) as (node, output):
        with Reporter(output, path.name) as reporter:
            chosen = fields_of(ShareOptions, options)
            found, manifest = await node.link(
                path, on_progress=reporter.on_event, **chosen
            )
        root = manifest.root
        output.result(
            str(found),
            event="complete",
            link=str(found),
            name=root.name,
            size=root.size,
            chunk_size=root.chunk_size,
            files=root.file_count,
        )
