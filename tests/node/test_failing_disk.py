"""Any disk call may fail while a node fetches or shares: the call raises an error.

It does not hang, no wrong byte is stored or sent, and the same fetch can be resumed.
tests/storage tests failures of the store alone.
"""

import threading
from collections.abc import Callable
from errno import EIO, ENOSPC
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, PeerLeft
from shoal.errors import NotFoundError, StoreError, UnfinishedError
from shoal.node.node import Node
from shoal.storage.disk.disk import Disk
from tests.helpers.faulty.crashes import fail_at, no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, holding_of, make_holding

ROOT = Path("/disk")
TARGET = ROOT / "target"
CHUNK = 16_384
COUNT = 8
DATA = Random(3).randbytes(COUNT * CHUNK - 99)
FILES = [("a/one", 30_000, False), ("a/two", 0, True), ("b", 50_000, False)]
FILES.append(("c", len(DATA) - 80_000, True))


class OneAtATime:
    """Serialize the calls that the threads of a node make to a faulty disk."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)
        if not callable(method):
            return method

        def call(*args: Any, **more: Any) -> Any:
            with self._lock:
                return method(*args, **more)

        return call


def shared_by_threads(disk: FaultyDisk) -> Disk:
    return cast(Disk, OneAtATime(disk))


def make_file() -> Holding:
    return make_holding(DATA)


def make_folder() -> Holding:
    """Return a share of several files that share chunks."""

    def chunk(index: int) -> bytes:
        return DATA[index * CHUNK : (index + 1) * CHUNK]

    digests = b"".join(chunk_digest(chunk(index)) for index in range(COUNT))
    manifest = build_manifest("folder", len(DATA), CHUNK, digests, FILES)
    return holding_of(manifest, chunk)


async def fetch(disk: FaultyDisk, holder: Holder, seed: int) -> None:
    """Fetch to `disk` from a peer that has everything."""
    settings, rng = here([holder.address]), Random(seed)
    async with Node(settings, disk=shared_by_threads(disk), rng=rng) as node:
        await node.fetch(holder.holding.link, TARGET, timeout=10)


def whole(disk: FaultyDisk) -> bytes | None:
    """Return the bytes of the target, or of all of its files."""
    files = disk.files(TARGET)
    if not files:
        return disk.contents(TARGET)
    assert len(files) == len(FILES)
    return b"".join(files[path] for path, _, _ in FILES)


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (make_file, ENOSPC),
        (make_folder, EIO),
        pytest.param(make_file, EIO, marks=pytest.mark.long),
        pytest.param(make_folder, ENOSPC, marks=pytest.mark.long),
    ],
)
async def test_a_download_survives_the_failure_of_any_call(
    make: Callable[[], Holding], number: int
) -> None:
    async with Holder(make()) as holder:
        for call in range(1, 500):
            disk = FaultyDisk(ROOT)
            fail_at(disk, call, number)
            try:
                await fetch(disk, holder, call)
            except StoreError:
                pass
            is_over = disk.calls < call
            disk.fault = no_fault
            if disk.contents(TARGET) is None and not disk.files(TARGET):
                disk.lose_process()
                await fetch(disk, holder, call)
            assert whole(disk) == DATA
            if is_over:
                return
    raise AssertionError("a download takes more calls than this test tries")


async def test_a_share_survives_the_failure_of_any_call(tmp_path: Path) -> None:
    """A chunk that cannot be read is not sent; each chunk that is sent is right."""
    for call in range(1, 200):
        disk = FaultyDisk(ROOT)
        fd = disk.open_write(ROOT / "source")
        disk.pwrite(fd, [DATA], 0)
        disk.close(fd)
        fail_at(disk, call, EIO)
        async with Node(here(), disk=shared_by_threads(disk), rng=Random(1)) as node:
            try:
                share = await node.share(ROOT / "source", chunk_size=CHUNK, public=True)
            except StoreError:
                continue
            peer = Address("127.0.0.1", share.port)
            await fetch_from(peer, share.link, tmp_path / f"out-{call}")
        if disk.calls < call:
            return
    raise AssertionError("a share takes more calls than this test tries")


async def fetch_from(peer: Address, link: Link, out: Path) -> None:
    """Fetch from one peer until it sends nothing more."""
    events: list[DownloadEvent] = []
    is_whole = True
    async with Node(here([peer]), rng=Random(1)) as node:
        try:
            await node.fetch(link, out, timeout=1, on_progress=events.append)
        except (NotFoundError, UnfinishedError):
            is_whole = False
    assert read(out) == (DATA if is_whole else None)
    assert not [e for e in events if isinstance(e, PeerLeft) and e.is_banned]


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
