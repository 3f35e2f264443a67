"""Ask every look in turn, each for a while at most."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from shoal.config.settings import Settings
from shoal.doctor import disk, machine, network
from shoal.doctor.finding import Finding, failed

__all__ = ["examine"]

PATIENCE = 12.0  # seconds for each look

_Look: TypeAlias = Callable[[], Coroutine[None, None, list[Finding]]]


async def examine(settings: Settings, folder: Path) -> AsyncIterator[Finding]:
    """Look at this machine, its network as `settings` allow it, and at `folder`."""
    looks: dict[str, _Look] = {
        "listening": partial(network.look_at_listening, settings),
        "peers": partial(network.look_at_peers, settings),
        "multicast": partial(network.look_at_multicast, settings),
        "dht": partial(network.look_at_dht, settings),
        "disk": partial(_in_thread, partial(disk.look_at_disk, folder)),
        "home": partial(_in_thread, disk.look_at_home),
        "machine": partial(_in_thread, machine.look_at_machine),
    }
    for name, look in looks.items():
        try:
            async with asyncio.timeout(PATIENCE):
                findings = await look()
        except TimeoutError:
            findings = [
                failed(
                    name,
                    f"There was no answer within {PATIENCE:.0f} s.",
                    "Something hangs: a network file system, or the resolver.",
                )
            ]
        for each in findings:
            yield each


async def _in_thread(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Look in a thread that nobody waits for should it hang."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Finding]] = loop.create_future()

    def settle(found: list[Finding] | BaseException) -> None:
        if answer.done():
            return
        if isinstance(found, BaseException):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def work() -> None:
        found: list[Finding] | BaseException
        try:
            found = list(look())
        except BaseException as error:
            found = error
        loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, daemon=True).start()
    return await answer
