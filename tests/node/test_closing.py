"""Closing a node ends everything in it; a share that is left leaves nothing behind."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
from msgspec.structs import replace

import shoal
from shoal.errors import ShoalError
from tests.helpers.fetching import here

FetchTask: TypeAlias = "asyncio.Task[shoal.FetchResult]"

CONTENT = Random(1).randbytes(300_000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@asynccontextmanager
async def waiting(
    node: shoal.Node, call: Awaitable[object]
) -> AsyncIterator["asyncio.Task[object]"]:
    """Start a call that cannot end by itself, and close the node meanwhile."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0.1)
    assert not task.done()
    yield task
    async with asyncio.timeout(20):
        await node.aclose()


async def last(generator: AsyncGenerator[object, None]) -> object:
    """Return the last value that a call yields."""
    async with aclosing(generator) as values:
        return [value async for value in values][-1]


CALLS: dict[str, Callable[[shoal.Node, str, Path], Awaitable[object]]] = {
    "fetch": lambda node, link, path: node.fetch(link, path / "out"),
    "verify": lambda node, link, path: node.verify(link, path),
    "stat": lambda node, link, path: node.stat(link),
    "fetch_chunk": lambda node, link, path: node.fetch_chunk(link, 0),
    "fetch_open": lambda node, link, path: node.fetch_open("name", path / "out"),
    "fetching": lambda node, link, path: last(node.fetching(link, path / "out")),
    "stream_open": lambda node, link, path: last(node.stream_open("name")),
}


@pytest.fixture
def link() -> str:
    """Return the link of a share that no node serves and this user does not know."""
    return str(shoal.Link(bytes(32)))


@pytest.mark.parametrize("name", CALLS)
async def test_closing_ends_a_running_call_with_an_error(
    name: str, link: str, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as node:
        async with waiting(node, CALLS[name](node, link, tmp_path)) as task:
            pass
        with pytest.raises(ShoalError, match="is closed"):
            await task


@pytest.mark.parametrize("name", CALLS)
async def test_a_closed_node_refuses_every_call(
    name: str, link: str, tmp_path: Path
) -> None:
    node = shoal.Node(here())
    await node.aclose()
    async with asyncio.timeout(20):
        with pytest.raises(ShoalError, match="is closed"):
            await CALLS[name](node, link, tmp_path)


async def test_closing_ends_the_wait_for_a_peer_that_has_everything(
    file: Path,
) -> None:
    async with shoal.Node(here()) as node:
        share = await node.share(file)
        async with waiting(node, share.shared()) as task:
            pass
        with pytest.raises(ShoalError, match="left the share"):
            await task


async def test_a_cancelled_call_is_cancelled_and_not_an_error(
    link: str, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as node:
        task = asyncio.ensure_future(node.fetch(link, tmp_path / "out"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# Shares of one node.


async def test_the_same_path_shared_twice_is_one_share(
    file: Path, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as node:
        first, second = await node.share(file), await node.share(file)
        assert first.link == second.link
        await first.leave()
        async with shoal.Node(here([peer(second.port)])) as other:
            await other.fetch(second.link, tmp_path / "out", timeout=20)
        await second.leave()
        third = await node.share(file)
        assert third.link == first.link


async def test_a_share_of_this_node_can_be_fetched_without_peers(
    file: Path, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as node:
        share = await node.share(file)
        async with asyncio.timeout(20):
            result = await node.fetch(share.link, tmp_path / "out")
        assert content_of(result.path) == CONTENT
        async with shoal.Node(here([peer(share.port)])) as other:
            await other.fetch(share.link, tmp_path / "far", timeout=20)


async def test_two_fetches_of_one_link_share_the_work(
    file: Path, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as first:
        share = await first.share(file)
        async with shoal.Node(here([peer(share.port)])) as node:
            outs = [tmp_path / name for name in "abc"]
            await asyncio.gather(
                *(node.fetch(share.link, out, timeout=20) for out in outs)
            )
            assert all(content_of(out) == CONTENT for out in outs)
        assert share.uploaded < 2 * len(CONTENT)


@asynccontextmanager
async def fetching_slowly(
    file: Path, out: Path, *, seed: bool = False, also: Path | None = None
) -> AsyncIterator[tuple[shoal.Node, shoal.SealedShare | None, FetchTask]]:
    """Yield a node while it fetches from another one, its share of `also`, the fetch.

    `also` has the content of `file`, and loses it as soon as the node shares it.
    """
    async with shoal.Node(replace(here(), limit_up=200_000)) as first:
        source, own = await first.share(file), None
        async with shoal.Node(here([peer(source.port)])) as node:
            if also is not None:
                own = await node.share(also, name=file.name)
                assert own.link == source.link
                os.truncate(also, 0)
            begun = asyncio.Event()

            def note(event: object) -> None:
                if isinstance(event, shoal.Progress) and 0 < event.done < event.size:
                    begun.set()

            task = asyncio.create_task(
                node.fetch(source.link, out, seed=seed, timeout=20, on_progress=note)
            )
            async with asyncio.timeout(20):
                await begun.wait()
            yield node, own, task


@pytest.mark.parametrize("seed", [False, True])
async def test_a_share_can_start_while_it_is_fetched(
    seed: bool, file: Path, tmp_path: Path
) -> None:
    async with fetching_slowly(file, tmp_path / "out", seed=seed) as (node, _, task):
        share = await node.share(file)
        assert not task.done()
        result = await task
        assert (result.share is not None) == seed
        # The end of the fetch ends neither its serving nor the reading from it.
        async with asyncio.timeout(20):
            await node.fetch(share.link, tmp_path / "again", timeout=5)
        async with shoal.Node(here([peer(share.port)])) as other:
            await other.fetch(share.link, tmp_path / "far", timeout=20)
        assert content_of(tmp_path / "far") == CONTENT


async def test_a_copy_is_seeded_although_another_share_of_it_has_been_left(
    file: Path, tmp_path: Path
) -> None:
    also = tmp_path / "also"
    also.write_bytes(CONTENT)
    slow = fetching_slowly(file, tmp_path / "out", seed=True, also=also)
    async with slow as (node, own, task):
        assert own is not None
        await own.leave()
        result = await task
        assert result.share is not None
        async with shoal.Node(here([peer(result.share.port)])) as other:
            await other.fetch(own.link, tmp_path / "far", timeout=5)


async def test_a_share_can_start_again_while_it_is_left(
    file: Path, tmp_path: Path
) -> None:
    async with shoal.Node(replace(here(), limit_up=200_000)) as node:
        share, begun = await node.share(file), asyncio.Event()

        def note(event: object) -> None:
            if isinstance(event, shoal.Progress) and event.done:
                begun.set()

        async with shoal.Node(here([peer(share.port)])) as other:
            fetch = asyncio.create_task(
                other.fetch(share.link, tmp_path / "out", timeout=20, on_progress=note)
            )
            await begun.wait()
            leaving = asyncio.create_task(share.leave())
            await asyncio.sleep(0)
            again = await node.share(file)
            assert not leaving.done()
            await asyncio.gather(leaving, fetch)
        async with shoal.Node(here([peer(again.port)])) as other:
            await other.fetch(again.link, tmp_path / "far", timeout=20)


async def test_a_share_that_was_fetched_to_seed_can_be_fetched_again(
    file: Path, tmp_path: Path
) -> None:
    async with shoal.Node(here()) as first:
        share = await first.share(file)
        async with shoal.Node(here([peer(share.port)])) as node:
            await node.fetch(share.link, tmp_path / "a", seed=True, timeout=20)
            assert not node._registry._turns
            async with asyncio.timeout(20):
                await node.fetch(share.link, tmp_path / "b")


async def test_leaving_a_share_closes_its_files(file: Path) -> None:
    async with shoal.Node(here()) as node:
        counts = []
        for _ in range(30):
            await (await node.share(file)).leave()
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[-1] <= counts[0]
        assert len(node._resources._owned) == 2  # the port and the catalogue


async def test_a_node_offers_more_shares_than_sixty_four(tmp_path: Path) -> None:
    async with shoal.Node(here()) as node:
        for number in range(70):
            path = tmp_path / str(number)
            path.write_text(str(number))
            share = await node.share(path)
        async with shoal.Node(here([peer(share.port)])) as other:
            await other.fetch(share.link, tmp_path / "out", timeout=20)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def peer(port: int) -> shoal.Address:
    return shoal.Address("127.0.0.1", port)
