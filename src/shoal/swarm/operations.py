"""Share, fetch and verify sealed shares on a node.

Each function uses the `Registry` of a node. A share that stays in its swarm after the
call ends with the node.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from msgspec import Struct

from shoal.config.arguments import FetchOptions, ShareOptions
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, Hashing, Notice, ShareEvent
from shoal.errors import StoreError
from shoal.origin.readers import check_answers, check_origin
from shoal.resources import Resources
from shoal.storage.catalogue import Entry, Made
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import DownloadStore
from shoal.swarm.build_share import Built, build_share, first_file
from shoal.swarm.member import Holding, Member, Registry, ServedShare
from shoal.swarm.swarm import Swarm
from shoal.swarm.target import Target, verify_target

__all__ = [
    "FetchResult",
    "SealedShare",
    "fetch_sealed",
    "serve_share",
    "share_sealed",
    "verify_sealed",
]

DRAIN_TIME = 10.0  # seconds to send peers the chunks that they still wait for
HASHING_PERIOD = 0.1  # seconds between two reports of how far hashing is


class SealedShare:
    """A sealed share whose swarm the node is in until it is left or the node closes.

    Sharing the same content twice gives two objects for one membership in the swarm,
    which ends when both are left.
    """

    def __init__(self, registry: Registry, served: ServedShare) -> None:
        """Stand for a share that the node serves."""
        self.manifest = served.manifest
        """The description of the share."""
        self.link = served.member.link
        """The link that other machines pass to `get`, as `str`."""
        self.port = served.member.port
        """TCP port that this node is reached at."""
        self._registry = registry
        self._served = served
        self._is_left = False
        served.handles += 1

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent to peers."""
        return self._served.member.swarm.uploaded

    async def shared(self) -> None:
        """Wait until a peer has everything; raise the error if the swarm fails."""
        await self._served.member.swarm.until_shared()

    async def until_left(self) -> None:
        """Wait until the node leaves this share; raise the error if the swarm fails."""
        await self._served.member.until_left()

    async def leave(self) -> None:
        """Send the chunks that peers wait for, then leave the swarm; idempotent.

        The files are closed, unless another object stands for the same share.
        """
        if self._is_left:
            return
        self._is_left = True
        self._served.handles -= 1
        if not self._served.handles:
            self._registry.served.pop(self.link.id, None)
            # From now on the same share can start again.
            self._served.member.give_way()
            await self._registry.note_served(self.link.id, None)
            await self._served.member.swarm.drain(DRAIN_TIME)
            await self._served.close()


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

    Raises `VerificationError` if one of the origins has other bytes, `ShoalError` if
    the node closes meanwhile.
    """
    resources = registry.resources
    async with resources.call():
        # What fails here fails before anything is hashed.
        (await registry.port()).check_room()
        await _check_origins(resources, path, options)
        copies: list[Entry] = []
        built = await _build(resources, path, options, on_progress, copies)
        manifest, source = built
        link = Link(manifest.id, origins=options.origins)
        if not options.origins:
            # A copy keeps the link that it was fetched with.
            link = next((each.link for each in copies if each.link.id == link.id), link)
        try:
            for url in options.origins:
                await check_origin(url, manifest, resources.settings)
        except BaseException:
            source.close()
            raise
        share = await serve_share(registry, link, manifest, source, on_progress)
        if manifest.id not in (each.link.id for each in copies):
            made = Made(
                is_shared=True,
                include=options.include,
                exclude=options.exclude,
                is_new_link=options.new_link,
            )
            await registry.remember(link, path, manifest, made)
        await registry.note_served(link.id, path)
        return share


async def _check_origins(
    resources: Resources, path: Path, options: ShareOptions
) -> None:
    """Check that each origin answers and has the first file, in its size."""
    if options.origins:
        first = await resources.in_thread(
            partial(first_file, path, options, resources.disk)
        )
        for url in options.origins:
            if first is not None:
                await check_answers(url, first, resources.settings)


async def serve_share(
    registry: Registry,
    link: Link,
    manifest: Manifest,
    source: SharedFiles,
    on_event: Callable[[ShareEvent], None] = lambda event: None,
) -> SealedShare:
    """Serve files of the user from now on, until the node leaves the share.

    If the node serves the same share already, `source` is closed.
    """
    served = registry.served.get(manifest.id)
    if served is not None:
        source.close()
        return SealedShare(registry, served)
    release = registry.resources.own_source(source)
    try:
        member = Member(registry, link, await registry.port(), on_event=on_event)
        member.swarm.serve(manifest, source)
        await member.__aenter__()
    except BaseException:
        release()
        raise
    member.hold(manifest, source)
    return _serve(registry, member, manifest, release)


async def _build(
    resources: Resources,
    path: Path,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
    copies: list[Entry],
) -> Built:
    """Hash the file or folder at `path`.

    `copies` gets the shares that were fetched to that path before.
    """
    loop = asyncio.get_running_loop()
    on_hashed = _on_loop(loop, on_progress)

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(resources.on_notice, Notice(text))

    def build(stopped: Callable[[], bool]) -> Built:
        if resources.catalogue is not None:
            found = resources.catalogue.at(path)
            copies.extend(entry for entry in found if entry.is_whole_copy)
        return build_share(
            path,
            options,
            disk=resources.disk,
            home=resources.home,
            on_hashed=on_hashed,
            stopped=stopped,
            warn=warn,
            earlier=[copy.manifest for copy in copies],
        )

    return await resources.in_stoppable_thread(build, lambda b: b.source.close())


def _serve(
    registry: Registry, member: Member, manifest: Manifest, release: Callable[[], None]
) -> SealedShare:
    """Return the first object for a share; `release` closes its files."""

    async def close() -> None:
        disown()
        await member.aclose()
        release()

    disown = registry.resources.own(member.aclose)
    served = registry.served[member.link.id] = ServedShare(manifest, member, close)
    return SealedShare(registry, served)


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
    async with resources.call(), AsyncExitStack() as stack:
        target = Target(link, options, resources.disk)
        await resources.in_thread(target.check_early)
        port = await registry.port()
        turn = await stack.enter_async_context(registry.turn(link.id))
        serving = registry.holdings.get(link.id)
        holding = serving
        if holding is None and turn.open_result is not None:
            holding = await resources.in_thread(turn.open_result)
            stack.push_async_callback(resources.in_thread, holding.store.close)
        member = Member(
            registry,
            link,
            port,
            timeout=timeout,
            on_event=on_event,
            yields=serving is not None,
        )
        known = await resources.in_thread(
            partial(target.find_known, resources.catalogue)
        )
        if holding is not None:
            member.swarm.know(holding.manifest)
        elif known is not None:
            member.swarm.know(known)
        stack.push_async_callback(resources.in_thread, target.close)
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
    # A hostile list of files is refused as a whole before anything is written.
    manifest = await swarm.load(lambda m: m.file_pages)
    await resources.in_thread(lambda: manifest.files)
    await resources.in_stoppable_thread(
        lambda stopped: target.begin(manifest), lambda begun: target.close()
    )
    await _load_kept(resources, swarm, target, target.first_pages(manifest))
    pages = await resources.in_thread(partial(target.choose, manifest))
    await _load_kept(resources, swarm, target, pages)
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
        await swarm.fetch(store, target.wanted, target.kept)
        await resources.in_thread(store.finish)
    finally:
        await noting
    await remember(target.made(is_complete=True))
    if not seed:
        await swarm.drain(DRAIN_TIME)
        return FetchResult(target.path, manifest, None)
    source = await resources.in_thread(partial(target.open_finished, manifest))
    release = resources.own_source(source)
    await swarm.read_from(source)
    served = registry.served.get(member.link.id)
    if served is not None:
        await member.aclose()
        release()
        return FetchResult(target.path, manifest, SealedShare(registry, served))
    member.take_over()
    member.hold(manifest, source)
    share = _serve(registry, member, manifest, release)
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


async def _load_kept(
    resources: Resources, swarm: Swarm, target: Target, pages: Iterable[int]
) -> None:
    """Load pages of the manifest, and keep each on the disk when it has arrived."""
    manifest, numbers = swarm.manifest, list(pages)
    assert manifest is not None
    while not await swarm.load_some(numbers):
        await resources.in_thread(partial(target.keep, manifest))
    await resources.in_thread(partial(target.keep, manifest))


async def _load_all(registry: Registry, link: Link, timeout: float | None) -> Manifest:
    """Return the whole manifest of a share, from its peers."""
    port = await registry.port()
    async with Member(registry, link, port, timeout=timeout, yields=True) as member:
        return await member.swarm.load(lambda m: range(m.page_count))


async def verify_sealed(
    registry: Registry, link: Link, path: Path, timeout: float | None
) -> Manifest:
    """Verify the file or folder at `path` against a link.

    Raises `VerificationError` if it is not the share.
    """
    resources = registry.resources
    async with resources.call():
        manifest = await registry.remembered(link.id, lambda m: range(m.page_count))
        if manifest is None:
            manifest = await _load_all(registry, link, timeout)
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
