"""Fetch sealed shares on a node.

A fetch uses the node's `Registry`: what another fetch or share of the node has of the
same share is copied, and the catalogue remembers what was fetched.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from shoal.config.arguments import FetchOptions
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, Notice
from shoal.errors import StoreError
from shoal.resources import Resources
from shoal.storage.shared.globs import patterns_ignored
from shoal.storage.store import DownloadStore
from shoal.swarm.copies import Holding
from shoal.swarm.member import Member, Registry
from shoal.swarm.share import DRAIN_TIME, SealedShare, become_share
from shoal.swarm.swarm import Swarm
from shoal.swarm.target import Target

__all__ = ["FetchResult", "fetch_sealed"]

KEEP_PERIOD = 1.0  # seconds after which pages that have arrived are kept


class FetchResult(Struct, frozen=True):
    """The result of a fetch."""

    path: Path
    """The file or folder."""
    manifest: Manifest
    """The description of the share."""
    share: SealedShare | None
    """With `seed`, the share that is served from now on; it ends with the node."""


async def fetch_sealed(
    registry: Registry,
    link: Link,
    options: FetchOptions,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> FetchResult:
    """Fetch a share; with `seed`, stay in its swarm.

    A fetch of a share that this node serves copies what it can from there, and so does
    a fetch that waited for another one of the same share. Raises `ShoalError`
    if the node closes meanwhile.
    """
    resources = registry.resources
    async with (
        resources.call(),
        registry.turn(link.id) as turn,
        AsyncExitStack() as always,
        AsyncExitStack() as stack,  # not left if the share is served afterwards
    ):
        target = Target(link, options, resources.disk)
        await resources.in_thread(target.check_early)
        port = await registry.port()
        serving = registry.holdings.get(link.id)
        holding = serving
        if holding is None and turn.open_result is not None:
            holding = await resources.in_thread(
                turn.open_result, lambda opened: opened.store.close()
            )
            always.push_async_callback(resources.in_thread, holding.store.close)
        member = Member(
            registry,
            link,
            port,
            timeout=timeout,
            on_event=on_event,
            yields=serving is not None,
            is_counted=options.seed,
        )
        known = await resources.in_thread(
            partial(target.find_known, resources.catalogue)
        )
        if holding is not None:
            member.swarm.know(holding.manifest)
        elif known is not None:
            member.swarm.know(known)
        always.push_async_callback(resources.in_thread, target.close)
        await stack.enter_async_context(member)
        result = await _fetch(registry, member, target, options.seed, holding, stack)
        turn.open_result = lambda: Holding(
            result.manifest, target.open_finished(result.manifest)
        )
        return result


async def _fetch(
    registry: Registry,
    member: Member,
    target: Target,
    seed: bool,
    holding: Holding | None,
    stack: AsyncExitStack,
) -> FetchResult:
    """Fetch with `member`, which `stack` leaves unless it serves from now on.

    The chunks in `holding`, which this node has already, are copied first.
    """
    resources, swarm = registry.resources, member.swarm
    manifest = await swarm.load(target.first_pages)
    # A hostile list of files is refused as a whole before anything is written.
    await resources.in_thread(partial(target.choose, manifest))
    if target.has_patterns and not manifest.root.is_folder:
        resources.on_notice(Notice(patterns_ignored()))
    await resources.in_stoppable_thread(
        lambda stopped: target.begin(manifest), lambda begun: target.close()
    )
    await _load_kept(resources, swarm, target)
    swarm.report_checking()
    store = await resources.in_stoppable_thread(
        partial(target.open, manifest), lambda store: store.close()
    )
    stack.push_async_callback(resources.in_thread, store.close)
    # Leave the swarm before its store is closed.
    stack.push_async_callback(member.aclose)
    if holding is not None:
        await resources.in_stoppable_thread(
            partial(_copy_chunks, holding, store, target.wanted)
        )
    member.hold(manifest, store)
    remember = partial(registry.remember, member.link, target.path, manifest)
    # Meanwhile, because flushing takes longer than to fetch a small file.
    noting = asyncio.ensure_future(remember(target.made(is_complete=False)))
    try:
        await swarm.fetch(store, target.wanted, target.kept, target.size)
        await resources.in_thread(store.finish)
    finally:
        await noting
    await remember(target.made(is_complete=True))
    if target.is_whole:
        swarm.finish()
    if not seed:
        await swarm.drain(DRAIN_TIME)
        return FetchResult(target.path, manifest, None)
    return await _keep_serving(registry, member, target, manifest, store, stack)


async def _keep_serving(
    registry: Registry,
    member: Member,
    target: Target,
    manifest: Manifest,
    store: DownloadStore,
    stack: AsyncExitStack,
) -> FetchResult:
    """Serve the finished files from now on, as a share of the node."""
    resources = registry.resources
    source = await resources.in_thread(
        partial(target.open_finished, manifest), lambda opened: opened.close()
    )
    release = resources.own_source(source)
    await member.swarm.read_from(source)
    served = registry.served.get(member.link.id)
    if served is not None:
        await member.aclose()
        release()
        return FetchResult(target.path, manifest, SealedShare(registry, served))
    member.take_over()
    member.hold(manifest, source)
    share = become_share(registry, member, manifest, release)
    stack.pop_all()
    await resources.in_thread(store.close)
    await registry.note_served(manifest.id, target.path)
    return FetchResult(target.path, manifest, share)


def _copy_chunks(
    holding: Holding,
    store: DownloadStore,
    wanted: Iterable[int] | None,
    stopped: Callable[[], bool],
) -> None:
    """Copy the verified chunks of `holding` that `store` is missing; blocks."""
    hashes = holding.manifest.hash_table
    for index in store.have.missing() if wanted is None else list(wanted):
        if stopped():
            return
        if index in store.have or index not in holding.store.have:
            continue
        try:
            data = holding.store.get(index)
        except (KeyError, StoreError):
            continue  # a peer may have it
        if hashes.verifies(index, data):
            store.put(index, data)
        if store.is_behind:
            store.commit()


async def _load_kept(resources: Resources, swarm: Swarm, target: Target) -> None:
    """Load pages of the manifest, and keep each on the disk soon after it arrived."""
    manifest = swarm.manifest
    assert manifest is not None
    is_complete = False
    while not is_complete:
        # `load_some` waits for several pages, which the peers may not have.
        with suppress(TimeoutError):
            async with asyncio.timeout(KEEP_PERIOD):
                is_complete = await swarm.load_some(target.pages)
        await resources.in_thread(partial(target.keep, manifest))
