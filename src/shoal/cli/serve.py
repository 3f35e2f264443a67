"""`shoal serve`: shares over HTTP, for a browser or a player."""

import asyncio
from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import everywhere, option, rate_option, read_link

__all__ = ["command"]

PROBLEM_PERIOD = 2.0  # seconds between looks at what does not work


@everywhere
@click.command("serve")
@click.argument(
    "links", metavar="LINK...", nargs=-1, required=True, envvar="SHOAL_LINK"
)
@option(
    "--http",
    "endpoint",
    metavar="HOST:PORT",
    help="Listen there instead of at a free port that only this machine reaches.",
)
@option(
    "--use-hints",
    is_flag=True,
    help="Ask the peers that are named in the links, too.",
)
@option(
    "--metrics",
    is_flag=True,
    help="Answer /metrics, without a token, as Prometheus asks.",
)
@timeout_option
@rate_option("down", "Fetch")
def command(links: tuple[str, ...], endpoint: str | None, **options: Any) -> None:
    """Serve the shares LINK... over HTTP and print the address of a page with them.

    What is read is fetched, verified and kept in memory for a while; nothing is
    written to the disk. Who has the address may read, so pass it on as you would
    the link.

    \b
    shoal serve shoal:mfrggzdf…
    shoal serve shoal:mfrggzdf… --http 127.0.0.1:8080
    mpv http://127.0.0.1:8080/TOKEN/files/0/film.mkv
    """
    from shoal.cli.runner import run_command

    run_command(_serve(links, endpoint, options))


async def _serve(
    texts: tuple[str, ...], endpoint: str | None, options: dict[str, Any]
) -> None:
    from shoal.gateway.hosts import HttpEndpoint, parse_endpoint

    where = HttpEndpoint("", 0) if endpoint is None else parse_endpoint(endpoint)
    links = [only_link(read_link(text)) for text in texts]
    from shoal.gateway.server import Gateway

    async with looking(options) as (node, output):
        async with Gateway(
            node,
            links,
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
            if not where.is_loopback:
                output.warn(
                    "Other machines get there, and what they read can be read on the "
                    "way: HTTP is not encrypted."
                )
            output.say("Ctrl-C ends it.")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(gateway.run())
                while True:
                    await asyncio.sleep(PROBLEM_PERIOD)
                    for problem in node.problems():
                        output.problem(problem)
