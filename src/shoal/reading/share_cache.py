"""What this node reads of shares, for everyone in it who does.

A `Reading` is in the swarm of one share for all who read it, and keeps what was read
lately. `Readings` has one for each link, and keeps it for a while after the last
reader has gone: whoever looks at a list of files opens one of them next.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.schedule.readahead import AHEAD_LIMIT
from shoal.errors import ShoalError, StoreError
from shoal.reading.memory_writer import PromptWriter
from shoal.resources import Services
from shoal.storage.chunk_cache import CACHE_SIZE, ChunkCache
from shoal.storage.disk.disk import Data
from shoal.swarm.member import Membership, open_port
from shoal.swarm.swarm import SealedSwarm

__all__ = ["Place", "Reading", "Readings"]

LINGER = 30.0  # seconds in the swarm after the last reader has gone


class Place:
    """Say what one reader wants: the chunk it waits for, and those after it."""

    def __init__(self) -> None:
        self.wants = range(0)
        """Indexes of chunks."""
        self.at: int | None = None
        """The chunk that it waits for, or read last; None at first."""


class Reading:
    """Read one share."""

    def __init__(self, services: Services, link: Link) -> None:
        """Ask nobody yet."""
        self.link = link
        self.users = 0
        """How many read it; `Readings` counts."""
        self._services = services
        self._member: Membership | None = None
        self._cache: ChunkCache | None = None
        self._places: set[Place] = set()
        self._joining = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time

    async def aclose(self) -> None:
        """Leave the swarm; idempotent."""
        if self._member is not None:
            self._member.swarm.on_error(_closed())
            await self._member.swarm.stop()
            await self._member.aclose()

    # What the share is.

    async def load(
        self, numbers: Callable[[Manifest], Iterable[int]], timeout: float | None
    ) -> Manifest:
        """Return the manifest once the pages that `numbers` names are known.

        Raises `NotFoundError` when that takes more than `timeout` seconds.
        """
        holding = self._services.holdings.get(self.link.id)
        if holding is not None:
            return holding.manifest
        swarm = await self._join()
        async with _patience(swarm, timeout):
            return await swarm.load(numbers)

    async def _join(self) -> SealedSwarm:
        async with self._joining:
            if self._services.is_stopped:
                raise _closed()
            if self._member is None:
                port = await open_port(self._services)
                member = Membership(self._services, self.link, port, yields=True)
                self._member = await member.__aenter__()
            return self._member.swarm

    @property
    def manifest(self) -> Manifest | None:
        """Return what is known of the share, with all of its pages or some."""
        holding = self._services.holdings.get(self.link.id)
        if holding is not None:
            return holding.manifest
        return self.swarm.manifest if self.swarm is not None else None

    @property
    def swarm(self) -> SealedSwarm | None:
        """Return who is asked; None before anybody is."""
        return self._member.swarm if self._member is not None else None

    # What is in it.

    @property
    def have(self) -> Bitfield | None:
        """Return which chunks are in memory; None before the first is read."""
        return self._cache.have if self._cache is not None else None

    @property
    def ahead_limit(self) -> int:
        """Return how many bytes one reader may want, so that all fit in the cache."""
        return min(AHEAD_LIMIT, CACHE_SIZE // 2 // max(len(self._places), 1))

    @property
    def positions(self) -> frozenset[int]:
        """Return which chunks readers wait for, or read last."""
        return frozenset(p.at for p in self._places if p.at is not None)

    def enter(self) -> Place:
        """Return the place of a new reader."""
        place = Place()
        self._places.add(place)
        return place

    def leave(self, place: Place) -> None:
        """Forget a reader; what only it wanted is not fetched any more."""
        self._places.discard(place)
        wants, place.wants = place.wants, range(0)
        self._unwant(wants)

    async def chunk(self, place: Place, wants: range, timeout: float | None) -> Data:
        """Return the first chunk that a reader wants now, fetch the rest as well.

        Raises `NotFoundError` or `VerificationError` when nobody gives it within
        `timeout` seconds.
        """
        index = place.at = wants.start
        if self._cache is not None:
            data = self._cache.look(index)
            if data is not None:
                self._move(place, wants)
                return data
        if self.link.id in self._services.holdings:
            data = await self._held(index)
            if data is not None:
                return data
        begun = self._clock()
        cache, swarm = self._cache, self.swarm
        if cache is None or swarm is None or self._services.is_stopped:
            cache, swarm = await self._begin(timeout)
        cache.pin(index)
        try:
            fetching = self._fetch(swarm, cache, place, wants)
            if timeout is None:
                await fetching
            else:
                async with _patience(swarm, timeout):
                    await fetching
            data = cache.look(index)
            assert data is not None
            self._services.tally.waits.add(self._clock() - begun)
            return data
        finally:
            cache.unpin(index)

    async def _fetch(
        self, swarm: SealedSwarm, cache: ChunkCache, place: Place, wants: range
    ) -> None:
        """Wait for the first chunk that a reader wants; have the others fetched."""
        index = wants.start
        manifest = swarm.manifest
        assert manifest is not None
        if len(wants) > 1 or not manifest.hash_table.has(index):
            await self._know(swarm, wants)
        swarm.want_first(index)
        self._move(place, wants, index)
        cache.make_room(index)  # while the request is on its way
        await swarm.until_verified(index)

    async def _held(self, index: int) -> Data | None:
        """Return a chunk that another part of this node has."""
        holding = self._services.holdings.get(self.link.id)
        if holding is None or index not in holding.store.have:
            return None
        try:
            data = holding.store.get_now(index)
            if data is None:
                read = partial(holding.store.get, index)
                data = await self._services.in_thread(read)
        except (KeyError, StoreError):
            return None
        return data

    async def _begin(self, timeout: float | None) -> tuple[ChunkCache, SealedSwarm]:
        """Return what keeps chunks and where they come from."""
        swarm = await self._join()
        if self._cache is None:
            async with _patience(swarm, timeout):
                manifest = await swarm.load(lambda m: ())
            # Somebody else may have begun meanwhile.
            if self._cache is None:
                self._cache = ChunkCache(manifest.chunks, swarm.forget)
                swarm.begin(self._cache, (), gives=False, make_writer=PromptWriter)
        return self._cache, swarm

    async def _know(self, swarm: SealedSwarm, wants: range) -> None:
        """Wait for the hash of the first chunk; have those of the others fetched."""
        manifest = swarm.manifest
        assert manifest is not None
        first, last = manifest.page_of(wants[0]), manifest.page_of(wants[-1])
        if last != first:
            swarm.learn(range(first, last + 1))
        if manifest.page(first) is None:
            await swarm.load(lambda m: (first,))

    def _move(self, place: Place, wants: range, asked: int | None = None) -> None:
        """Note what a reader wants now, `asked` being asked for already.

        What it wanted before is dropped.
        """
        before, place.wants = place.wants, wants
        if before == wants or self._member is None or self._cache is None:
            return
        have = self._cache.have
        gone = [index for index in _minus(before, wants) if index not in have]
        if gone:
            self._unwant(gone)
        fresh = [
            index
            for index in _minus(wants, before)
            if index != asked and index not in have
        ]
        if fresh:
            swarm = self._member.swarm
            manifest = swarm.manifest
            assert manifest is not None
            known = [index for index in fresh if manifest.hash_table.has(index)]
            if known:
                swarm.want(known)

    def _unwant(self, indexes: Iterable[int]) -> None:
        """Drop chunks that no reader wants."""
        cache = self._cache
        if cache is None or self._member is None:
            return
        unwanted = [
            index
            for index in indexes
            if index not in cache.have
            and not cache.is_pinned(index)
            and not any(index in place.wants for place in self._places)
        ]
        if unwanted:
            self._member.swarm.unwant(unwanted)


class Readings:
    """Have one `Reading` for each link."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open: dict[Link, Reading] = {}
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def enter(self, link: Link) -> Reading:
        """Return what reads a share, to be left again."""
        timer = self._idle.pop(link, None)
        if timer is not None:
            timer.cancel()
        reading = self._open.get(link)
        if reading is None:
            reading = self._open[link] = Reading(self._services, link)
        reading.users += 1
        return reading

    def positions(self, share_id: bytes) -> frozenset[int]:
        """Return which chunks of a share readers wait for, or read last."""
        mine = [r.positions for r in self._open.values() if r.link.id == share_id]
        return frozenset().union(*mine)

    def leave(self, reading: Reading) -> None:
        """Note that a reader has gone."""
        reading.users -= 1
        if not reading.users and self._open.get(reading.link) is reading:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(LINGER, self._end, reading.link)
            self._idle[reading.link] = timer

    async def aclose(self) -> None:
        """Leave every swarm; idempotent."""
        for timer in self._idle.values():
            timer.cancel()
        for link in list(self._open):
            self._end(link)
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, link: Link) -> None:
        self._idle.pop(link, None)
        task = asyncio.get_running_loop().create_task(self._open.pop(link).aclose())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


@asynccontextmanager
async def _patience(swarm: SealedSwarm, timeout: float | None) -> AsyncIterator[None]:
    """Raise what is to blame when the block takes more than `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        assert timeout is not None
        raise swarm.why_nothing_came(timeout) from None


def _closed() -> ShoalError:
    return ShoalError("The node that reads this share is closed; open another one.")


def _minus(some: range, others: range) -> Iterable[int]:
    """Return what is in `some` and not in `others`, ascending."""
    if some.stop <= others.start or others.stop <= some.start:
        return some
    before = range(some.start, min(others.start, some.stop))
    return chain(before, range(max(others.stop, some.start), some.stop))
