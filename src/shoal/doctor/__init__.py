"""Check what works on this machine, and say how to fix what does not.

`network` and `nat` check the network, and `local` the rest of this machine; each check
returns findings, and `examine` runs all checks. They leave nothing changed, and each
ends after `TIMEOUT` even if a call to the system hangs.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeAlias

from shoal.config.settings import Settings
from shoal.doctor import local, nat, network
from shoal.doctor.finding import Finding, State, failed

__all__ = ["Finding", "State", "examine"]

TIMEOUT = 12.0  # seconds for each check

_Check: TypeAlias = Callable[[], Coroutine[None, None, list[Finding]]]


async def examine(settings: Settings, folder: Path) -> AsyncIterator[Finding]:
    """Check this machine, its network as `settings` allow, and the disk of `folder`."""
    checks: dict[str, _Check] = {
        "listening": partial(network.check_listening, settings),
        "ipv6": partial(network.check_ipv6, settings),
        "router": partial(network.check_router, settings),
        "relays": partial(network.check_relays, settings),
        "peers": partial(network.check_peers, settings),
        "multicast": partial(network.check_multicast, settings),
        "dht": partial(network.check_dht, settings),
        "nat": partial(nat.check_nat, settings),
        "disk": partial(_in_thread, partial(local.check_disk, folder)),
        "home": partial(_in_thread, local.check_home),
        "machine": partial(_in_thread, local.check_machine),
    }
    for name, check in checks.items():
        try:
            async with asyncio.timeout(TIMEOUT):
                findings = await check()
        except TimeoutError:
            findings = [
                failed(
                    name,
                    f"The check did not end within {TIMEOUT:.0f} s.",
                    "A call to the system hangs; check network file systems and DNS.",
                )
            ]
        for each in findings:
            yield each


async def _in_thread(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a check in a daemon thread, which can hang without keeping the process."""
    result: Future[list[Finding]] = Future()
    result.set_running_or_notify_cancel()  # if the check ends too late, nothing fails

    def work() -> None:
        try:
            result.set_result(list(check()))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(result)
