"""Sealed shares, as a node offers and fetches them.

Each function does one thing with the services of a node; what goes on afterwards,
as seeding does, ends with them.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from msgspec import Struct

from shoal.config.options import FetchOptions, ShareOptions
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, Hashing, Notice, ShareEvent
from shoal.origin.readers import check_origin
from shoal.resources import Services
from shoal.swarm.build_share import Made, make_share
from shoal.swarm.member import Membership, open_port
from shoal.swarm.target import SealedTarget, verify_target

__all__ = [
    "FetchResult",
    "SealedShare",
    "fetch_sealed",
    "share_sealed",
    "verify_sealed",
]

DRAIN_TIME = 10.0  # seconds given to those who still wait for a chunk of ours
HASHING_PERIOD = 0.1  # seconds between two reports of how far hashing is


class SealedShare:
    """A sealed share that a node is in the swarm of until it is closed."""

    def __init__(self, manifest: Manifest, membership: Membership) -> None:
        self.manifest = manifest
        """What is shared."""
        self.link = membership.link
        """What others pass to `get`, as `str`."""
        self.port = membership.port
        """TCP port that it is reached at."""
        self._membership = membership

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were given to others."""
        return self._membership.swarm.uploaded

    async def shared(self) -> None:
        """Wait until some peer has everything."""
        await self._membership.swarm.shared.wait()

    async def leave(self) -> None:
        """Give what was asked for, then leave the swarm; idempotent."""
        await self._membership.swarm.drain(DRAIN_TIME)
        await self._membership.aclose()


class FetchResult(Struct, frozen=True):
    """Say what a fetch that succeeded has made."""

    path: Path
    """The file or folder."""
    manifest: Manifest
    """What the share says of itself."""
    share: SealedShare | None
    """With `seed`, the share that goes on; it ends with the node."""


async def share_sealed(
    services: Services,
    path: Path,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
) -> SealedShare:
    """Hash what is at `path` and be in its swarm from now on.

    Raises `VerificationError` when one of the origins has something else.
    """
    port = await open_port(services)
    loop = asyncio.get_running_loop()
    on_hashed = _on_loop(loop, on_progress)

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(services.on_notice, Notice(text))

    def make(stopped: Callable[[], bool]) -> Made:
        return make_share(
            path,
            options,
            disk=services.disk,
            home=services.home,
            on_hashed=on_hashed,
            stopped=stopped,
            warn=warn,
        )

    made = await services.in_stoppable_thread(make, lambda made: made.source.close())
    services.own_source(made.source)
    for url in options.origins:
        await check_origin(url, made.manifest, services.settings)
    link = Link(made.manifest.id, origins=options.origins)
    member = Membership(services, link, port, on_event=on_progress)
    member.swarm.serve(made.manifest, made.source)
    await services.owned.enter_async_context(member)
    member.hold(made.manifest, made.source)
    return SealedShare(made.manifest, member)


async def fetch_sealed(
    services: Services,
    link: Link,
    options: FetchOptions,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> FetchResult:
    """Fetch a share; with `seed`, stay in its swarm."""
    target = SealedTarget(link, options, services.disk)
    await services.in_thread(target.check_early)
    port = await open_port(services)
    member = Membership(services, link, port, timeout=timeout, on_event=on_event)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(member)
        manifest = await member.swarm.load(target.first_pages)
        pages = await services.in_thread(partial(target.choose, manifest))
        await member.swarm.load(lambda m: pages)
        store = await services.in_stoppable_thread(
            partial(target.open, manifest), lambda store: store.close()
        )
        stack.push_async_callback(services.in_thread, store.close)
        # Nobody is given anything from a store that is closed.
        stack.push_async_callback(member.aclose)
        member.hold(manifest, store)
        await member.swarm.fetch(store, target.wanted, target.lasting)
        await services.in_thread(store.finish)
        share = SealedShare(manifest, member)
        if not options.seed:
            await share.leave()
            return FetchResult(target.path, manifest, None)
        source = await services.in_thread(partial(target.open_finished, manifest))
        services.own_source(source)
        await member.swarm.read_from(source)
        member.hold(manifest, source)
        await services.in_thread(store.close)
        services.owned.push_async_exit(stack.pop_all())
        return FetchResult(target.path, manifest, share)


async def verify_sealed(
    services: Services, link: Link, path: Path, timeout: float | None
) -> Manifest:
    """Verify what is at `path`; raises `VerificationError` when it is not the share."""
    async with Membership(
        services, link, await open_port(services), timeout=timeout
    ) as member:
        manifest = await member.swarm.load(lambda m: range(m.page_count))
    store = await services.in_stoppable_thread(
        partial(verify_target, path, manifest, services.disk),
        lambda store: store.close(),
    )
    store.close()
    return manifest


def _on_loop(
    loop: asyncio.AbstractEventLoop, on_progress: Callable[[ShareEvent], None]
) -> Callable[[int, int], None]:
    """Return what tells, from a thread, how many bytes of how many are hashed."""
    told = 0.0

    def on_hashed(done: int, size: int) -> None:
        nonlocal told
        now = loop.time()
        if done == size or now - told >= HASHING_PERIOD:
            told = now
            loop.call_soon_threadsafe(on_progress, Hashing(done, size))

    return on_hashed
