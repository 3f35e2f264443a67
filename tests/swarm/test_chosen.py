"""Who fetches some files of a folder fetches no more, and promises no more."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from shoal.core.crypto.hashes import DIGEST_SIZE, chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.hash_table import HASHES_PER_PAGE
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.wire.sealed_messages import (
    Hello,
    Page,
    Refuse,
    SealedRequest,
)
from shoal.errors import UsageError
from shoal.node.node import Node
from shoal.resources import Resources
from shoal.swarm.manifest_fetcher import PAGE_TIME
from shoal.swarm.member import Member, Registry
from tests.adversary.greedy import dialling
from tests.helpers.fetching import here, sharing
from tests.helpers.holder import Chunk, Heard, Holder, Holding, Talk, holding_of
from tests.helpers.memory_net import memory_net
from tests.helpers.memory_peers import CONTENT, MANIFEST, source, talk_to
from tests.helpers.memory_store import MemoryStore
from tests.helpers.pages import file_page, hash_page

CHUNK = 16_384
LARGE = 3 * HASHES_PER_PAGE * CHUNK + 5
SMALL = 2 * CHUNK
FILES = [("a/large", LARGE, False), ("b/small", SMALL, False), ("c/none", 0, False)]


def true_chunk(index: int) -> bytes:
    """Return a chunk of nothing but zeros."""
    return bytes(min(CHUNK, LARGE + SMALL - index * CHUNK))


def make_large() -> Holding:
    """Return a folder with four pages of hashes and one that tells the files."""
    size = LARGE + SMALL
    count = -(-size // CHUNK)
    digests = chunk_digest(bytes(CHUNK)) * (count - 1)
    digests += chunk_digest(true_chunk(count - 1))
    manifest = build_manifest("folder", size, CHUNK, digests, FILES, salt=bytes(16))
    assert len(digests) == count * DIGEST_SIZE
    assert len(list(manifest.keys())) == 5
    return holding_of(manifest, true_chunk)


HOLDING = make_large()


@pytest.mark.parametrize(
    ("include", "exclude", "pages"),
    [
        ("b", (), [3]),
        ((), "a", [3]),
        ("c", (), []),
        ("a", "c", [0, 1, 2, 3]),
    ],
)
async def test_only_the_pages_of_what_is_chosen_are_fetched(
    include: str | tuple[str, ...],
    exclude: str | tuple[str, ...],
    pages: list[int],
    tmp_path: Path,
) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        fetched = await node.fetch(
            HOLDING.link,
            tmp_path / "out",
            include=include,
            exclude=exclude,
            timeout=10,
        )
        # Those that tell the files first: before, it is not known what is chosen.
        assert holder.pages_requested[0] == file_page(0)
        assert sorted(holder.pages_requested[1:]) == [*map(hash_page, pages)]
        assert fetched.manifest.page(file_page(0)) is not None


async def test_a_resume_of_chosen_files_requests_no_page_again(
    tmp_path: Path,
) -> None:
    class StopsHalfway(Holder):
        def on_request(self, talk: Talk, index: int) -> None:
            if len(self.sent) < 2:
                talk.send_chunk(index)

    out = tmp_path / "out"
    async with StopsHalfway(HOLDING) as first, Node(here([first.address])) as node:
        fetching = asyncio.create_task(node.fetch(HOLDING.link, out, include="b"))
        await first.until(lambda: len(first.requested) == 3)
        fetching.cancel()
        await asyncio.wait([fetching])
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        await node.fetch(HOLDING.link, out, include="b", timeout=10)
        assert sorted(first.pages_requested) == [file_page(0), hash_page(3)]
        assert holder.pages_requested == []
        assert 0 < len(holder.sent) < 3
    assert (out / "b" / "small").read_bytes() == bytes(SMALL)


async def test_where_nothing_is_chosen_no_page_of_hashes_is_fetched(
    tmp_path: Path,
) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        with pytest.raises(UsageError, match=r"Node\.list"):
            await node.fetch(HOLDING.link, tmp_path / "out", include="d", timeout=10)
        assert holder.pages_requested == [file_page(0)]


async def test_a_node_reads_of_what_it_did_not_choose(tmp_path: Path) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        await node.fetch(
            HOLDING.link, tmp_path / "out", include="b", seed=True, timeout=10
        )
        async with node.open(HOLDING.link, "a/large", timeout=10) as file:
            file.seek(LARGE - 3)
            assert await file.read() == bytes(3)


class Asker(Holder):
    """Have nothing, give nothing, and ask for what the test asks for."""

    @property
    def bitfield(self) -> bytes:
        return self.holding.some(())

    def on_message(self, talk: Talk, message: Heard) -> None:
        pass


def talk_with(asker: Asker, port: int) -> Talk | None:
    """Return the connection with the node that says it is at this port."""
    for talk in asker.talks:
        if any(isinstance(m, Hello) and m.port == port for m in talk.received):
            return talk
    return None


def pages_of(talk: Talk) -> dict[PageKey, bytes | None]:
    return {each.key: each.data for each in talk.received if isinstance(each, Page)}


def refused_by(talk: Talk) -> set[int | None]:
    return {each.index for each in talk.received if isinstance(each, Refuse)}


async def test_a_page_that_is_not_here_is_asked_of_another_at_once(
    tmp_path: Path,
) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        fetched = await node.fetch(
            HOLDING.link, tmp_path / "out", include="b", seed=True, timeout=10
        )
        assert fetched.share is not None
        address = holder.address._replace(port=fetched.share.port)
        with dialling(Asker(HOLDING)) as asker:
            talk = await asker.dial(address)
            files, *hashes = file_page(0), *map(hash_page, (3, 0, 1))
            talk.send(*(Page(*key) for key in (*hashes, files)))
            await asker.until(lambda: len(pages_of(talk)) == 4)
        whole, (here_too, *others) = HOLDING.pages, hashes
        given = {key: whole[key] for key in (files, here_too)}
        assert pages_of(talk) == given | dict.fromkeys(others, b"")
        # A peer that wants all of it is not delayed by requesting from this one.
        resources = Resources(here([address, holder.address]), rng=Random(1))
        registry = Registry(resources)
        port = await registry.port()
        async with asyncio.timeout(PAGE_TIME):
            async with Member(registry, HOLDING.link, port) as member:
                await member.swarm.load(Manifest.missing)
        await resources.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder whose files share chunks."""
    rng = Random(4)
    for name, size in (("a", 40_000), ("b", 70_000), ("c", 5_000), ("d", 90_000)):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / name).write_bytes(rng.randbytes(size))
    return tmp_path / "source"


@pytest.mark.parametrize("is_early", [True, False])
async def test_only_what_will_stay_is_announced_and_all_of_that_is_given(
    is_early: bool, folder: Path, tmp_path: Path
) -> None:
    async with sharing(folder) as (shared, address):
        holding = holding_of(shared.manifest, lambda index: b"")
        async with Asker(holding) as asker:
            peers = [address, asker.address] if is_early else [address]
            async with Node(here(peers), rng=Random(2)) as node:
                fetched = await node.fetch(
                    shared.link, tmp_path / "out", include="b", seed=True, timeout=10
                )
                assert fetched.share is not None
                port = fetched.share.port
                if not is_early:
                    await asker.dial(address._replace(port=port))
                await asker.until(lambda: talk_with(asker, port) is not None)
                talk = talk_with(asker, port)
                assert talk is not None
                await asker.until(lambda: len(talk.announced) >= 3)
                talk.send(*map(SealedRequest, (2, 3, 4, 5, 6)))
                await asker.until(lambda: len(talk.chunks) + len(refused_by(talk)) == 5)
                # The file begins within chunk 2 and ends within chunk 6.
                assert talk.announced == {3, 4, 5}
                assert refused_by(talk) == {2, 6}


async def test_what_goes_while_it_is_seeded_is_not_announced_any_more() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        talk_to(net, seed).send(Hello(0))
        rest = MemoryStore(MANIFEST.chunks)
        for index in range(10):
            rest.put(index, CONTENT.chunk(index))
        await seed.swarm.read_from(rest)
        late = talk_to(net, seed).send(
            Hello(0, MANIFEST.root_record, bytes(5)),
            SealedRequest(3),
            SealedRequest(30),
        )
        await net.until(lambda: len(late.received) >= 3)
        (hello,) = [each for each in late.received if isinstance(each, Hello)]
        assert hello.bitfield is not None
        have = Bitfield.from_bytes(hello.bitfield, CONTENT.count)
        assert list(have) == list(range(10))
        assert [e.index for e in late.received if isinstance(e, Chunk)] == [3]
        assert [e.index for e in late.received if isinstance(e, Refuse)] == [30]
        late.send(*[SealedRequest()] * 12)
        await net.until(lambda: len(late.received) >= 15)
        given = [e.index for e in late.received if isinstance(e, Chunk)]
        assert sorted(given) == list(range(10))
