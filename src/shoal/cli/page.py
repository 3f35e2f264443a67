"""The page and `/metrics` of commands that share or download: `--http`, `--metrics`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from shoal.cli.output import Output
    from shoal.core.names.http_endpoint import HttpEndpoint
    from shoal.core.names.link import Link
    from shoal.node.node import Node

__all__ = ["ShowOnPage", "open_page", "warn_of_http"]

ShowOnPage: TypeAlias = "Callable[[Link], None]"
"""Show on the page a share that the node shares or fetches."""


@asynccontextmanager
async def open_page(
    node: "Node", output: "Output", options: dict[str, Any]
) -> AsyncIterator[ShowOnPage]:
    """Serve the page that the options ask for, if any, until the end of the block.

    Raises `NetworkError`.
    """
    if options["http"] is None and not options["metrics"]:
        yield lambda link: None
        return
    # Imported here, because it imports aiohttp, which takes long.
    from shoal.core.names.http_endpoint import HttpEndpoint
    from shoal.gateway.server import Gateway

    where = options["http"] or HttpEndpoint("", 0)
    async with Gateway(
        node,
        (),
        endpoint=where,
        with_metrics=options["metrics"],
        on_problem=output.problem,
    ) as gateway:
        output.event("page", url=gateway.url, port=gateway.port)
        output.say(f"Page: {gateway.url}")
        warn_of_http(where, output)
        yield gateway.add


def warn_of_http(where: "HttpEndpoint", output: "Output") -> None:
    """Warn if other machines can reach the page."""
    if not where.is_loopback:
        output.warn(
            "Other machines can reach this address, and HTTP is not encrypted: "
            "others on the network can read what you read."
        )
