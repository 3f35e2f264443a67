"""Share, fetch and verify sealed shares on a node.

Each function uses the `Registry` of a node. A share that stays in its swarm after the
call ends with the node.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from msgspec import Struct

from shoal.config.arguments import FetchOptions, ShareOptions
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, Hashing, Notice, ShareEvent
from shoal.origin.readers import check_origin
from shoal.swarm.build_share import Built, build_share
from shoal.swarm.member import Member
from shoal.swarm.registry import Registry
from shoal.swarm.target import Target, verify_target

__all__ = [
    "FetchResult",
    "SealedShare",
    "fetch_sealed",
    "share_sealed",
    "verify_sealed",
]

DRAIN_TIME = 10.0  # seconds to send peers the chunks that they still wait for
HASHING_PERIOD = 0.1  # seconds between two reports of how far hashing is


class SealedShare:
    """A sealed share whose swarm the node is in until it closes."""

    def __init__(self, manifest: Manifest, member: Member) -> None:
        self.manifest = manifest
        """The description of the share."""
        self.link = member.link
        """The link that other machines pass to `get`, as `str`."""
        self.port = member.port
        """TCP port that this node is reached at."""
        self._member = member

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent to peers."""
        return self._member.swarm.uploaded

    async def shared(self) -> None:
        """Wait until a peer has everything; raise the error if the swarm fails."""
        await self._member.swarm.until_shared()

    async def until_left(self) -> None:
        """Wait until the node leaves this share; raise the error if the swarm fails."""
        await self._member.until_left()

    async def leave(self) -> None:
        """Send the chunks that peers wait for, then leave the swarm; idempotent."""
        await self._member.swarm.drain(DRAIN_TIME)
        await self._member.aclose()


class FetchResult(Struct, frozen=True):
    """The result of a fetch."""

    path: Path
    """The file or folder."""
    manifest: Manifest
    """The description of the share."""
    share: SealedShare | None
    """With `seed`, the share that is served from now on; it ends with the node."""


async def share_sealed(
    registry: Registry,
    path: Path,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
) -> SealedShare:
    """Hash the file or folder at `path` and serve it from now on.

    Raises `VerificationError` if one of the origins has other bytes.
    """
    resources, port = registry.resources, await registry.port()
    loop = asyncio.get_running_loop()
    on_hashed = _on_loop(loop, on_progress)

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(resources.on_notice, Notice(text))

    def build(stopped: Callable[[], bool]) -> Built:
        return build_share(
            path,
            options,
            disk=resources.disk,
            home=resources.home,
            on_hashed=on_hashed,
            stopped=stopped,
            warn=warn,
        )

    built = await resources.in_stoppable_thread(
        build, lambda built: built.source.close()
    )
    resources.own_source(built.source)
    for url in options.origins:
        await check_origin(url, built.manifest, resources.settings)
    link = Link(built.manifest.id, origins=options.origins)
    member = Member(registry, link, port, on_event=on_progress)
    member.swarm.serve(built.manifest, built.source)
    await resources.owned.enter_async_context(member)
    member.hold(built.manifest, built.source)
    return SealedShare(built.manifest, member)


async def fetch_sealed(
    registry: Registry,
    link: Link,
    options: FetchOptions,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> FetchResult:
    """Fetch a share; with `seed`, stay in its swarm."""
    resources = registry.resources
    target = Target(link, options, resources.disk)
    await resources.in_thread(target.check_early)
    port = await registry.port()
    member = Member(registry, link, port, timeout=timeout, on_event=on_event)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(member)
        manifest = await member.swarm.load(target.first_pages)
        pages = await resources.in_thread(partial(target.choose, manifest))
        await member.swarm.load(lambda m: pages)
        store = await resources.in_stoppable_thread(
            partial(target.open, manifest), lambda store: store.close()
        )
        stack.push_async_callback(resources.in_thread, store.close)
        # Leave the swarm before its store is closed.
        stack.push_async_callback(member.aclose)
        member.hold(manifest, store)
        await member.swarm.fetch(store, target.wanted, target.kept)
        await resources.in_thread(store.finish)
        share = SealedShare(manifest, member)
        if not options.seed:
            await share.leave()
            return FetchResult(target.path, manifest, None)
        source = await resources.in_thread(partial(target.open_finished, manifest))
        resources.own_source(source)
        await member.swarm.read_from(source)
        member.hold(manifest, source)
        await resources.in_thread(store.close)
        resources.owned.push_async_exit(stack.pop_all())
        return FetchResult(target.path, manifest, share)


async def verify_sealed(
    registry: Registry, link: Link, path: Path, timeout: float | None
) -> Manifest:
    """Verify the file or folder at `path` against a link.

    Raises `VerificationError` if it is not the share.
    """
    resources, port = registry.resources, await registry.port()
    async with Member(registry, link, port, timeout=timeout) as member:
        manifest = await member.swarm.load(lambda m: range(m.page_count))
    store = await resources.in_stoppable_thread(
        partial(verify_target, path, manifest, resources.disk),
        lambda store: store.close(),
    )
    store.close()
    return manifest


def _on_loop(
    loop: asyncio.AbstractEventLoop, on_progress: Callable[[ShareEvent], None]
) -> Callable[[int, int], None]:
    """Return a function that reports, from a thread, how many bytes are hashed."""
    reported = 0.0

    def on_hashed(done: int, size: int) -> None:
        nonlocal reported
        now = loop.time()
        if done == size or now - reported >= HASHING_PERIOD:
            reported = now
            loop.call_soon_threadsafe(on_progress, Hashing(done, size))

    return on_hashed
