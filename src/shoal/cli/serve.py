"""`shoal serve`: serve shares over HTTP, for a browser or media player."""

import asyncio
from typing import Any

import click

from shoal.cli.options import Command
from shoal.cli.page import warn_of_http

__all__ = ["serve"]


@click.command(cls=Command)
@click.argument(
    "links", metavar="LINK...", nargs=-1, required=True, envvar="SHOAL_LINK"
)
async def serve(links: tuple[str, ...], **options: Any) -> None:
    """Serve the shares LINK... over HTTP and print the address of a page about them.

    The parts that a client reads are downloaded, verified and kept in memory for a
    while; nothing is written to the disk. Anyone who has the address can read the
    shares, so keep it as secret as the links.

    \b
    shoal serve shoal:mfrggzdf…
    shoal serve shoal:mfrggzdf… --http 127.0.0.1:8080
    mpv http://127.0.0.1:8080/TOKEN/files/0/film.mkv
    """
    from shoal.cli.runner import only_link, open_node
    from shoal.cli.serving import report_until_cancelled
    from shoal.core.names.http_endpoint import HttpEndpoint

    where = options["http"] or HttpEndpoint("", 0)
    shares = [only_link(text) for text in links]
    from shoal.gateway.server import Gateway

    async with open_node(options) as (node, output):
        async with Gateway(
            node,
            shares,
            endpoint=where,
            timeout=options["timeout"],
            use_hints=options["use_hints"],
            with_metrics=options["metrics"],
            on_problem=output.problem,
        ) as gateway:
            output.result(
                gateway.url,
                event="start",
                url=gateway.url,
                port=gateway.port,
                shares=len(gateway.shares),
            )
            warn_of_http(where, output)
            output.say("Press Ctrl-C to stop.")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(gateway.run())
                await report_until_cancelled(node, output)
