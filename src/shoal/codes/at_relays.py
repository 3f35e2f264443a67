"""Meet the other end of a code at relays, where the user names some.

A sender waits there from the beginning, as it cannot know whether receivers reach it; a
receiver only if it has not got the link by then. docs/protocol.md, "Codes at a relay".
"""

import asyncio
from collections.abc import Awaitable, Callable

from shoal.core.names.address import Address
from shoal.core.report.events import Notice
from shoal.errors import PeerError, RelayError
from shoal.resources import Resources

__all__ = ["RECEIVERS", "wait_at_relays"]

REST = (1.0, 8.0)  # seconds until the second attempt, and until later ones at most
RECEIVERS = b"receivers"
"""The name that all receivers have at a relay, so that it joins no two of them."""


async def wait_at_relays(
    resources: Resources, meet: Callable[[Address], Awaitable[object]]
) -> None:
    """Call `meet` with each relay of the user, again and again until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for relay in resources.settings.relays:
            tasks.create_task(_wait_at(relay, resources, meet))


async def _wait_at(
    relay: Address,
    resources: Resources,
    meet: Callable[[Address], Awaitable[object]],
) -> None:
    rest, most = REST
    while True:
        try:
            await meet(relay)
            rest = REST[0]
            continue
        except RelayError as error:
            resources.on_notice(
                Notice(f"The relay {relay} cannot be used: {error}. Trying again.")
            )
        except PeerError:
            pass  # a stranger, or a node that has answered already
        await asyncio.sleep(resources.rng.uniform(REST[0], rest))
        rest = min(2 * rest, most)
