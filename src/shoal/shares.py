"""Sealed shares, as a node offers and fetches them.

Each function does one thing with the services of a node; what goes on afterwards,
as seeding does, ends with them.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from shoal.core.manifest import Manifest
from shoal.core.sealed_link import Link
from shoal.making import Made, make_share
from shoal.membership import Membership
from shoal.options import FetchOptions, ShareOptions
from shoal.progress import DownloadEvent, Notice
from shoal.sealed_port import SealedPort
from shoal.sealed_target import SealedTarget, verify_target
from shoal.services import Services
from shoal.storage.transient import TransientStore

__all__ = [
    "SealedShare",
    "fetch_sealed",
    "load_manifest",
    "read_sealed",
    "share_sealed",
    "verify_sealed",
]

DRAIN_TIME = 10.0  # seconds given to those who still wait for a chunk of ours
READ_AHEAD = 16 * 1024 * 1024  # bytes fetched before their reader asks for them


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


async def share_sealed(
    services: Services,
    path: Path,
    options: ShareOptions,
    on_hashed: Callable[[int, int], None],
    on_event: Callable[[DownloadEvent], None],
) -> SealedShare:
    """Hash what is at `path` and be in its swarm from now on."""
    port = await _port(services)
    made: Made = await services.in_thread(
        partial(
            make_share,
            path,
            options,
            disk=services.disk,
            home=services.home,
            on_hashed=on_hashed,
            stopped=lambda: services.is_stopped,
            warn=lambda text: services.on_notice(Notice(text)),
        )
    )
    services.owned.callback(made.source.close)
    member = Membership(services, Link(made.manifest.id), port, on_event=on_event)
    member.swarm.serve(made.manifest, made.source)
    await services.owned.enter_async_context(member)
    return SealedShare(made.manifest, member)


async def fetch_sealed(
    services: Services,
    link: Link,
    options: FetchOptions,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> tuple[Path, SealedShare | None]:
    """Fetch a share; with `seed`, stay in its swarm.

    Returns where it is now and, with `seed`, the share.
    """
    target = SealedTarget(link, options, services.disk)
    await services.in_thread(target.check_early)
    port = await _port(services)
    member = Membership(services, link, port, timeout=timeout, on_event=on_event)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(member)
        manifest = await member.swarm.load(lambda m: range(m.page_count))
        store = await services.in_thread(
            partial(target.open, manifest, lambda: services.is_stopped)
        )
        stack.push_async_callback(services.in_thread, store.close)
        # Nobody is given anything from a store that is closed.
        stack.push_async_callback(member.aclose)
        await member.swarm.fetch(store, target.wanted)
        await services.in_thread(store.finish)
        share = SealedShare(manifest, member)
        if not options.seed:
            await share.leave()
            return target.path, None
        source = await services.in_thread(partial(target.open_finished, manifest))
        services.owned.callback(source.close)
        await member.swarm.read_from(source)
        await services.in_thread(store.close)
        services.owned.push_async_exit(stack.pop_all())
        return target.path, share


async def load_manifest(
    services: Services,
    link: Link,
    timeout: float | None,
    *,
    with_files: bool = True,
) -> Manifest:
    """Fetch what a share says of itself, with its list of files or without."""
    async with Membership(
        services, link, await _port(services), timeout=timeout
    ) as member:
        return await member.swarm.load(lambda m: m.file_pages if with_files else ())


async def verify_sealed(
    services: Services, link: Link, path: Path, timeout: float | None
) -> Manifest:
    """Verify what is at `path`; raises `VerificationError` when it is not the share."""
    async with Membership(
        services, link, await _port(services), timeout=timeout
    ) as member:
        manifest = await member.swarm.load(lambda m: range(m.page_count))
    store = await services.in_thread(
        partial(
            verify_target,
            path,
            manifest,
            services.disk,
            lambda: services.is_stopped,
        )
    )
    store.close()
    return manifest


async def read_sealed(
    services: Services,
    link: Link,
    where: Callable[[Manifest], tuple[int, int]],
    timeout: float | None,
) -> AsyncGenerator[bytes, None]:
    """Yield bytes of a share in order, each as soon as it is verified.

    `where` returns the first byte and the end of what is wanted, once the files are
    known. Only the chunks and pages that hold it are fetched.
    """
    async with Membership(
        services, link, await _port(services), timeout=timeout
    ) as member:
        manifest = await member.swarm.load(lambda m: m.file_pages)
        first, end = where(manifest)
        chunks = manifest.chunks
        indexes = chunks.covering(first, end)
        pages = sorted({manifest.page_of(index) for index in indexes})
        await member.swarm.load(lambda m: pages)
        store = TransientStore(chunks)
        ahead = max(2, READ_AHEAD // chunks.chunk_size)
        try:
            member.swarm.begin(store, indexes[:ahead], gives=False)
            for place, index in enumerate(indexes):
                await member.swarm.until_verified(index)
                data = store.take(index)
                member.swarm.want(indexes[place + ahead : place + ahead + 1])
                start = chunks.offset(index)
                yield data[max(first - start, 0) : end - start]
        finally:
            await member.swarm.stop()


async def _port(services: Services) -> SealedPort:
    """Return the node's one port for sealed shares; opens it at first."""
    if services.sealed_port is None:
        port = await SealedPort.open(services.networks.hosts(), services.settings.port)
        services.sealed_port = port
        services.owned.push_async_callback(port.aclose)
    return services.sealed_port
