"""A node sends the blocks that a peer requests, and the hashes that prove them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

import shoal
from shoal.core.crypto.hashes import BLOCK_SIZE, block_digests
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Blocks,
    Cancel,
    Hello,
    Refuse,
    SealedMessage,
    WrongChunk,
)
from shoal.storage.shared.shared_files import SharedFiles
from shoal.swarm.served_hashes import ServedHashes
from tests.helpers.fetching import here
from tests.helpers.holder import PATIENCE, Passive, make_holding
from tests.swarm.test_wrong_chunk import change_in_place

CHUNK = 1 << 20
PER_CHUNK = CHUNK // BLOCK_SIZE
COUNT = 70  # as many chunks as have their block hashes kept
DATA = bytes(range(251)) * (COUNT * CHUNK // 251)
"""The last chunk is shorter by a few bytes."""


class Reader(Passive):
    """A peer that has no chunk and requests what a test sends."""

    def answers(self) -> list[Blocks | Refuse]:
        """Return the answers of the node, in order."""
        received = self.talks[-1].received
        return [each for each in received if isinstance(each, Blocks | Refuse)]

    async def ask(self, *messages: SealedMessage) -> list[Blocks | Refuse]:
        """Send requests; return the new answers once each request has one."""
        before = len(self.answers())
        self.talks[-1].send(*messages)
        asked = sum(isinstance(each, BlockRequest) for each in messages)
        await self.until(lambda: len(self.answers()) >= before + asked)
        return self.answers()[before:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@asynccontextmanager
async def connected(file: Path) -> AsyncIterator[Reader]:
    """Share the file; yield a peer that is connected with the node."""
    async with shoal.Node(here()) as node:
        share = await node.share(file, chunk_size=CHUNK)
        reader = Reader(make_holding(b"")._replace(link=share.link))
        talk = await reader.dial(shoal.Address("127.0.0.1", share.port))
        await reader.until(lambda: any(isinstance(m, Hello) for m in talk.received))
        hello = next(m for m in talk.received if isinstance(m, Hello))
        assert hello.root is not None
        talk.send(Hello(0, hello.root, bytes(-(-COUNT // 8))))
        yield reader
        reader.end()


def blocks(index: int, first: int, count: int) -> bytes:
    start = index * CHUNK + first * BLOCK_SIZE
    return DATA[start : min(start + count * BLOCK_SIZE, (index + 1) * CHUNK)]


def chunk(index: int) -> bytes:
    return DATA[index * CHUNK : (index + 1) * CHUNK]


async def test_blocks_are_sent_as_requested_with_hashes_that_fit(file: Path) -> None:
    async with connected(file) as reader:
        requests = [
            BlockRequest(9, 3, 2, 1, True),
            BlockRequest(8, 3, 0, PER_CHUNK),
            BlockRequest(7, COUNT - 1, 0, 1, True),
            BlockRequest(6, 60, 15, 1),
        ]
        found = {m.read: m for m in await reader.ask(*requests)}
        for request in requests:
            answer = found[request.read]
            assert isinstance(answer, Blocks)
            run = request.index, request.first, request.count
            assert bytes(answer.data) == blocks(*run)
            hashes = block_digests(chunk(request.index)) if request.hashes else None
            assert answer.hashes == hashes


def list_files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def refuse_to_compute(*_: object) -> None:
    raise AssertionError("the hashes are kept")


@pytest.fixture
def kept(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for block hashes; the file can be found by its state."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    os.utime(file, (1, 1))
    # Its time of change is now, which is as recent as it gets.
    monkeypatch.setattr("shoal.storage.shared.hash_cache.RECENT_NS", 0)
    return tmp_path / "home/shoal/hashes/blocks"


async def test_block_hashes_are_kept_for_the_next_run(
    file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServedHashes, "compute", refuse_to_compute)
    for _ in range(2):
        async with connected(file) as reader:
            (answer,) = await reader.ask(BlockRequest(1, 60, 3, 1, True))
            assert isinstance(answer, Blocks)
            assert answer.hashes == block_digests(chunk(60))
        (entry,) = list_files(kept)
        assert entry.stat().st_size == len(DATA) // BLOCK_SIZE * 32 + 32


def refuse_to_read(source: SharedFiles, index: int) -> bytes:
    raise AssertionError("a whole chunk is read")


async def test_blocks_of_an_earlier_run_verify_without_their_chunk(
    file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(file):
        pass
    monkeypatch.setattr(SharedFiles, "get", refuse_to_read)
    async with connected(file) as reader:  # the hashes come from the cache
        (answer,) = await reader.ask(BlockRequest(1, 60, 3, 2, True))
        assert isinstance(answer, Blocks)
        assert bytes(answer.data) == blocks(60, 3, 2)


async def test_a_changed_block_of_an_earlier_run_is_not_sent(
    file: Path, kept: Path
) -> None:
    async with connected(file):
        pass
    async with connected(file) as reader:
        change_in_place(file, 60 * CHUNK + 3 * BLOCK_SIZE)
        (answer,) = await reader.ask(BlockRequest(1, 60, 3, 2))
        assert answer == Refuse(60, "missing", 1)


@pytest.mark.parametrize("change", ["flip", "truncate", "remove"])
async def test_kept_hashes_that_are_wrong_or_gone_are_computed_again(
    file: Path, kept: Path, change: str
) -> None:
    async with connected(file):
        (entry,) = list_files(kept)
    if change == "remove":
        entry.unlink()
    elif change == "truncate":
        os.truncate(entry, 1000)
    else:
        entry.write_bytes(bytes(each ^ 1 for each in entry.read_bytes()))
    async with connected(file) as reader:
        (answer,) = await reader.ask(BlockRequest(1, 60, 3, 1, True))
        assert isinstance(answer, Blocks)
        assert answer.hashes == block_digests(chunk(60))


async def test_a_cancelled_request_for_blocks_is_refused(file: Path) -> None:
    async with connected(file) as reader:
        asked = [BlockRequest(n, 1, 0, PER_CHUNK) for n in range(9)]
        answers = await reader.ask(*asked, Cancel(1, 8), Cancel(1, 99))
        assert {m.read for m in answers} == set(range(9))
        assert answers[-1].read == 8 or Refuse(1, "cancelled", 8) in answers


async def test_too_many_requests_for_blocks_are_refused(file: Path) -> None:
    async with connected(file) as reader:
        number = 2 * MAX_QUEUED_REQUESTS
        asked = [BlockRequest(n, n % COUNT, 0, PER_CHUNK) for n in range(number)]
        answers = await reader.ask(*asked)
        busy = [m for m in answers if isinstance(m, Refuse) and m.reason == "busy"]
        assert len(answers) == number
        assert busy


async def test_blocks_that_do_not_exist_are_refused_twice_then_the_peer_is_cut_off(
    file: Path,
) -> None:
    async with connected(file) as reader:
        for n in range(2):
            (answer,) = await reader.ask(BlockRequest(n, 1, PER_CHUNK - 1, 2))
            assert answer == Refuse(1, "missing", n)
        talk = reader.talks[-1]
        talk.send(BlockRequest(3, COUNT, 0, 1))
        await reader.until(lambda: talk.is_lost)


async def test_a_chunk_that_changed_on_the_disk_is_not_sent_in_blocks_again(
    file: Path,
) -> None:
    async with connected(file) as reader:
        change_in_place(file, 5 * CHUNK + 3 * BLOCK_SIZE)
        reader.talks[-1].send(WrongChunk(5))
        answer: object = None
        async with asyncio.timeout(PATIENCE):
            # The chunk is hashed in a thread first.
            for n in count():
                (answer,) = await reader.ask(BlockRequest(n, 5, 3, 1))
                if isinstance(answer, Refuse):
                    break
                await asyncio.sleep(0.01)
        assert answer == Refuse(5, "missing", n)
        (other,) = await reader.ask(BlockRequest(99, 6, 3, 1, True))
        assert isinstance(other, Blocks)
