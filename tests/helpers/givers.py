"""Givers that a `Download` asks, without a network; each misbehaves in one way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from shoal.core.manifest.chunks import Chunks
from shoal.core.session.session import ChunkReceived
from shoal.transfer.download import Download
from tests.helpers.resources import make_resources
from tests.helpers.transient import TransientStore
from tests.helpers.wire import Content

__all__ = ["FakeGiver", "Fetching", "fetching"]

TICK = 0.25  # seconds between two looks at the clock


class FakeGiver:
    """Give every chunk `delay` seconds after it was asked for."""

    delay = 0.01

    def __init__(self, fetching: "Fetching") -> None:
        self.fetching = fetching
        self.asked: list[int] = []
        self.any_asked = 0
        self.cancelled: list[int] = []
        self.most = 0
        """The most requests that it owed an answer at any time."""
        self._owed = 0
        self._chosen = list(range(fetching.content.count))
        Random(5).shuffle(self._chosen)

    def request(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            self.asked.append(index)
            self._owe()
            self.on_ask(index)

    def request_any(self, number: int) -> None:
        for _ in range(number):
            self.any_asked += 1
            self._owe()
            self.on_ask_any()

    def cancel(self, indexes: Iterable[int]) -> None:
        self.cancelled += indexes

    # What it does with a request.

    def on_ask(self, index: int) -> None:
        self.later(lambda: self.give(index))

    def on_ask_any(self) -> None:
        chosen = self._chosen.pop() if self._chosen else None
        if chosen is None:
            self.later(lambda: self.refuse(None))
        else:
            self.later(lambda: self.give(chosen, was_any=True))

    def later(self, answer: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(self.delay, answer)

    def give(
        self, index: int, data: bytes | None = None, *, was_any: bool = False
    ) -> None:
        """Answer with a chunk."""
        self._owed -= 1
        if data is None:
            data = self.fetching.content.chunk(index)
        download = self.fetching.download
        download.scheduler.on_heard(self, asyncio.get_running_loop().time())
        download.on_chunk(self, ChunkReceived(index, data, None, was_any))
        download.on_answers_done(self)

    def refuse(self, index: int | None, *, is_busy: bool = False) -> None:
        """Answer with a refusal."""
        self._owed -= 1
        download = self.fetching.download
        download.scheduler.on_heard(self, asyncio.get_running_loop().time())
        now = asyncio.get_running_loop().time()
        download.scheduler.on_refused(self, index, now, is_busy=is_busy)
        download.on_answers_done(self)

    def _owe(self) -> None:
        self._owed += 1
        self.most = max(self.most, self._owed)


class Fetching:
    """A download into memory, and everything that it reports."""

    download: Download[FakeGiver]

    def __init__(self, content: Content) -> None:
        self.content = content
        self.chunks = Chunks(len(content.data), content.chunk_size)
        self.store = TransientStore(self.chunks)
        self.verified: list[tuple[FakeGiver, int]] = []
        self.lies: list[tuple[FakeGiver, int]] = []
        self.errors: list[BaseException] = []
        self.is_complete = False
        self.stalled: list[FakeGiver] = []
        self._changed = asyncio.Event()

    # What a verifier does.

    def verifies(self, index: int, data: bytes | memoryview) -> bool:
        return data == self.content.chunk(index)

    # What a watcher does.

    def on_verified(self, giver: FakeGiver, index: int, size: int) -> None:
        self.verified.append((giver, index))
        self._changed.set()

    def on_wrong_chunk(self, giver: FakeGiver, index: int) -> None:
        self.lies.append((giver, index))
        asyncio.get_running_loop().call_soon(self.download.remove, giver)
        self._changed.set()

    def on_wrong_sizes(self) -> None:
        raise AssertionError("a verifier that knows the length says so")

    def on_batch_verified(self) -> None:
        self.is_complete = self.download.is_complete
        self._changed.set()

    def on_error(self, error: BaseException) -> None:
        self.errors.append(error)
        self._changed.set()

    # What a test does.

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that is reported makes `condition` true."""
        async with asyncio.timeout(1000):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def complete(self) -> None:
        """Wait until all is there; check it."""
        await self.until(lambda: self.is_complete)
        assert not self.errors
        for index in self.download.have:
            assert self.store.get(index) == self.content.chunk(index)

    async def tick(self) -> None:
        """Look at the clock, as a swarm does."""
        while True:
            await asyncio.sleep(TICK)
            now = asyncio.get_running_loop().time()
            self.stalled += self.download.on_tick(now)


@asynccontextmanager
async def fetching(
    content: Content, *, limit_down: float | None = None, **arguments: Any
) -> AsyncIterator[Fetching]:
    """Begin a download that nobody gives anything yet."""
    made = Fetching(content)
    with ThreadPoolExecutor(1) as threads:
        made.download = Download(
            made.store,
            made,
            made,
            make_resources(threads, limit_down=limit_down),
            **arguments,
        )
        ticking = asyncio.create_task(made.tick())
        try:
            yield made
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await made.download.stop()
