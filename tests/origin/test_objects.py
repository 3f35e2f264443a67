"""File systems of fsspec are used by one thread each, and made anew after errors."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from shoal.errors import PeerError
from shoal.origin.objects import ObjectReader
from shoal.origin.parts import OriginFileError, Part

DATA = bytes(range(256)) * 64


class Fragile(AbstractFileSystem):
    """A file system that no two threads may use, and no one after an error."""

    protocol = "fragile"
    cachable = False
    made: ClassVar[list["Fragile"]] = []
    fails: ClassVar[int] = 0
    """How many of the next calls fail."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.threads = {threading.get_ident()}
        self.is_broken = False
        self.made.append(self)

    def _use(self) -> None:
        self.threads.add(threading.get_ident())
        assert not self.is_broken, "it is used after an error"
        if Fragile.fails:
            Fragile.fails -= 1
            self.is_broken = True
            raise OSError("the connection broke\nin the middle")

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        self._use()
        if path.endswith("none"):
            raise FileNotFoundError(path)
        return {"name": path, "size": len(DATA), "type": "file"}

    def cat_file(
        self, path: str, start: int = 0, end: int = 0, **options: Any
    ) -> bytes:
        self._use()
        return DATA[start:end]


@pytest.fixture(autouse=True)
def _fragile() -> Iterator[None]:
    """Register the file system."""
    fsspec.register_implementation("fragile", Fragile, clobber=True)  # type: ignore[no-untyped-call]
    Fragile.made.clear()
    Fragile.fails = 0
    yield
    Fragile.made.clear()


async def read(reader: ObjectReader, first: int, path: str = "a") -> bytes:
    part = Part(path, "x", first, 1000, len(DATA))
    async with aclosing(reader.read(part)) as blocks:
        (block,) = [each async for each in blocks]
    assert block.offset == first
    return block.data


async def test_each_file_system_is_used_by_one_thread() -> None:
    reader = ObjectReader("fragile://host/")
    for _ in range(3):
        found = await asyncio.gather(*(read(reader, n * 1000) for n in range(4)))
        assert found == [DATA[n * 1000 : (n + 1) * 1000] for n in range(4)]
    await reader.aclose()
    assert len(Fragile.made) == 4
    assert [len(each.threads) for each in Fragile.made] == [1] * 4
    threads = set().union(*(each.threads for each in Fragile.made))
    assert len(threads) == 4
    assert threading.get_ident() not in threads


async def test_a_file_system_that_broke_is_made_anew() -> None:
    reader = ObjectReader("fragile://host/")
    for _ in range(2):
        Fragile.fails = 1
        with pytest.raises(PeerError, match="^OSError: the connection broke$"):
            await read(reader, 0)
        assert await read(reader, 0) == DATA[:1000]
    await reader.aclose()
    assert len(Fragile.made) == 3


async def test_a_missing_file_breaks_nothing() -> None:
    reader = ObjectReader("fragile://host/")
    with pytest.raises(OriginFileError, match="no none"):
        await read(reader, 0, "none")
    assert await read(reader, 0) == DATA[:1000]
    await reader.aclose()
    assert len(Fragile.made) == 1


async def test_a_read_that_is_cancelled_leaves_its_file_system_alone() -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(self: Fragile) -> None:
        entered.set()
        assert leave.wait(20)

    reader = ObjectReader("fragile://host/")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fragile, "_use", wait)
        reading = asyncio.create_task(read(reader, 0))
        await asyncio.to_thread(entered.wait, 20)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await read(reader, 0) == DATA[:1000]
    leave.set()
    await reader.aclose()
    assert len(Fragile.made) == 2


async def test_arguments_that_a_url_does_not_have_are_named() -> None:
    reader = ObjectReader("github://folder/file")
    with pytest.raises(
        PeerError, match="github:// also needs org and repo; set FSSPEC_GITHUB_ORG"
    ):
        await read(reader, 0)
    await reader.aclose()
