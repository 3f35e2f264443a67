"""What `share` and `get --seed` do while others fetch: tell what goes out, and wait."""

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shoal.cli.output import Output
    from shoal.node.node import Node

__all__ = ["Shared", "go_on_sharing"]

PERIOD = 1.0  # seconds between looks at what was given, and at what does not work


class Shared(Protocol):
    """Know how much was given to others."""

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were given."""
        ...


async def go_on_sharing(node: "Node", output: "Output", shared: Shared) -> None:
    """Say what does not work, and to programs what is given, until cancelled."""
    told = 0
    while True:
        await asyncio.sleep(PERIOD)
        for problem in node.problems():
            output.problem(problem)
        if shared.uploaded != told:
            told = shared.uploaded
            output.event("progress", uploaded=told)
