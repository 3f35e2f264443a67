"""Meet the other end of a code at relays, where the user names some.

A sender waits there from the beginning, as it cannot know whether receivers reach it; a
receiver only if it has not got the link by then. docs/protocol.md, "Codes at a relay".
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from shoal.core.names.address import Address
from shoal.resources import Resources
from shoal.transport.sealed.relay import meet_again

__all__ = ["RECEIVERS", "wait_at_relays"]

REST = (1.0, 8.0)  # seconds until the second attempt, and until later ones at most
RECEIVERS = b"receivers"
"""The name that all receivers have at a relay, so that it joins no two of them."""


async def wait_at_relays(
    resources: Resources, meet: Callable[[Address], Awaitable[bool]]
) -> None:
    """Call `meet` with each relay of the user, again and again until cancelled.

    It returns True once it has met the other end.
    """
    async with asyncio.TaskGroup() as tasks:
        for relay in resources.settings.relays:
            again = meet_again(
                relay, partial(meet, relay), REST, resources.rng, resources.on_notice
            )
            tasks.create_task(again)
