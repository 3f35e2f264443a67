"""What the commands that only look at a share have in common."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.cli.options import SECONDS, option
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.cli.output import Output
    from shoal.core.names.link import Link
    from shoal.node.node import Node

__all__ = ["looking", "only_link", "timeout_option"]

F = TypeVar("F", bound=Callable[..., Any])


def timeout_option(function: F) -> F:
    """Give a command `--timeout`."""
    return option(
        "--timeout",
        type=SECONDS,
        metavar="S",
        help="Give up after so many seconds without an answer; for ever by default.",
    )(function)


def only_link(text: str) -> "Link":
    """Read a link; raises `UsageError` for an open channel."""
    from shoal.core.names.link import Link, parse_share

    share = parse_share(text)
    if not isinstance(share, Link):
        raise UsageError(
            "This command needs a link; an open channel does not say what is in it. "
            "Fetch it with shoal get."
        )
    return share


@asynccontextmanager
async def looking(
    options: dict[str, Any],
) -> "AsyncIterator[tuple[Node, Output]]":
    """Give a node and where its words go."""
    from shoal.cli.options import settings_from
    from shoal.cli.output import Output
    from shoal.node.node import Node

    output = Output.from_options(options)
    settings = settings_from(options)
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        yield node, output
